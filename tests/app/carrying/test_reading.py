"""Files that conversations are read from: recognised by what is in them, refused in one sentence."""

import os
import zipfile
from pathlib import Path

import pytest

from app.carrying import reading, render
from app.carrying.reading import read
from app.carrying.tale import Format, Tale
from app.errors import QuietlyError
from tests.app.carrying.tales import answer, question, tale

TOLD = tale(question("Why?\n\nTell me."), answer("So.", "hm"))
CHATGPT = b"""[{"title": "Light", "create_time": 1.5, "current_node": "a", "mapping": {"a": {"message":
    {"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["Why?"]}}, "parent": null}}}]"""
DEEP = b"[" * 100_000


def put(folder: Path, told: Tale, format: Format, name: str) -> Path:
    path = folder / name
    path.write_text(render(told, format), encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("format", ["markdown", "json"])
def test_the_format_is_found_out_whatever_the_name_says(tmp_path: Path, format: Format) -> None:
    assert list(read(put(tmp_path, TOLD, format, "a.html"))) == [TOLD]


def test_line_ends_of_another_system_and_its_mark_at_the_start_do_no_harm(tmp_path: Path) -> None:
    path = put(tmp_path, TOLD, "markdown", "a.md")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert list(read(path)) == [TOLD]


def test_a_folder_is_read_with_the_folders_below_it(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    other = tale(question("Other"))
    put(tmp_path, TOLD, "markdown", "b.md")
    put(tmp_path / "below", other, "json", "a.json")
    put(tmp_path, TOLD, "json", ".hidden.json")
    for name, content in {
        "notes.md": "# Notes",
        "table.csv": "a,b",
        "picture.png": "\x89PNG",
        "list.json": "[1]",
    }.items():
        (tmp_path / name).write_text(content)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "round").symlink_to(tmp_path)
    assert list(read(tmp_path)) == [TOLD, other]


def test_of_a_folder_the_others_are_read_before_what_is_damaged_is_named(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text('{"format": "quietly conversation", ')
    put(tmp_path, TOLD, "json", "c.json")
    found = read(tmp_path)
    assert next(found) == TOLD
    with pytest.raises(
        QuietlyError, match=r"a\.json .*, and 1 more files cannot be read either; the others were read\."
    ):
        next(found)


def test_a_folder_without_any_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(QuietlyError, match="has no conversations in it"):
        list(read(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"words",
        b"---\ntitle: Notes\n---\n\n# Notes\n",
        b"---",
        b"{}",
        b"[]",
        b"[1, 2]",
        b'"text"',
        b'{"format": "other"}',
        b"\xff\xfe\x00",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_what_is_no_export_is_said_with_what_would_be(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(QuietlyError, match=r"a\.json is no export that can be read here; those of Quietly can"):
        list(read(path))


@pytest.mark.parametrize(
    "content",
    [b'{"format": "quietly conversation"', DEEP, b'{"mapping": ' + DEEP, b'{"\xff": 1}', b"[{]"],
    ids=["truncated", "deep", "deep within", "no text", "broken"],
)
def test_what_is_no_whole_json_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(QuietlyError, match=r"a\.json is no whole JSON"):
        list(read(path))


def test_what_is_not_there_or_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(QuietlyError, match=r"gone\.md cannot be read \(No such file or directory\)"):
        list(read(tmp_path / "gone.md"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(QuietlyError, match="pipe is no export"):
        list(read(tmp_path / "pipe"))


@pytest.mark.usefixtures("stranger")
def test_what_one_may_not_read_is_said() -> None:
    with pytest.raises(QuietlyError, match="shadow cannot be read"):
        list(read(Path("/etc/shadow")))


def test_what_is_too_large_is_said_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.write(b"[")
        file.truncate(reading.LARGEST + 1)
    with pytest.raises(QuietlyError, match=r"a\.json has 512 MiB of conversations, and up to 512 MiB are read at once"):
        list(read(path))


# --- archives ---------------------------------------------------------------------------------------------


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


def test_an_archive_is_read_for_its_conversations_alone(tmp_path: Path) -> None:
    members = {"chat.html": b"<html>", "export/conversations.json": CHATGPT, "user.json": b"{}"}
    (tmp_path / "conversations.json").write_bytes(CHATGPT)
    plain = list(read(tmp_path / "conversations.json"))
    assert [told.conversation.title for told in plain] == ["Light"]
    assert list(read(archive(tmp_path / "export.zip", members))) == plain


def test_an_archive_of_something_else_is_no_export(tmp_path: Path) -> None:
    with pytest.raises(QuietlyError, match=r"a\.zip is no export"):
        list(read(archive(tmp_path / "a.zip", {"photo.png": b"\x89PNG"})))


def test_an_archive_that_unpacks_into_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST", 1 << 20)
    path = archive(tmp_path / "a.zip", {"conversations.json": bytes((1 << 20) + 1)})
    assert path.stat().st_size < 10_000
    with pytest.raises(QuietlyError, match=r"a\.zip has 1 MiB of conversations, and up to 1 MiB"):
        list(read(path))


@pytest.mark.parametrize("spoilt", [slice(0, 60), slice(40, None)])
def test_a_damaged_archive_is_one_sentence(tmp_path: Path, spoilt: slice) -> None:
    path = archive(tmp_path / "a.zip", {"conversations.json": CHATGPT * 50})
    path.write_bytes(b"PK\x03\x04" + path.read_bytes()[spoilt])
    with pytest.raises(QuietlyError, match=r"a\.zip is damaged or locked"):
        list(read(path))


def test_an_archive_that_lies_about_its_size_is_damaged(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"conversations.json": bytes(100_000)})
    path.write_bytes(path.read_bytes().replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(QuietlyError, match=r"a\.zip is damaged"):
        list(read(path))
