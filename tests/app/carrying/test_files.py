"""Files of exports: names that are safe everywhere, whole or not there, nobody else's."""

import re
import stat
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.carrying import files
from app.carrying.files import Folder, file_name
from app.errors import QuietlyError


@given(st.text(st.characters(codec=None, categories=None), max_size=300), st.integers(1, 1000))
@example("../../etc/passwd", 1)
@example("CON", 1)
@example("nul.txt", 1)
@example("." * 300, 2)
@example("東" * 300, 12)
@example("a" * 192 + "\u200d😀", 1)
def test_a_file_name_is_safe_everywhere(title: str, number: int) -> None:
    name = file_name(title, ".md", number)
    name.encode()
    assert len(name.encode()) <= files.NAME_BYTES
    assert name.endswith(".md")
    assert not re.search(r'[/\\:*?"<>|\x00-\x1f\x7f-\x9f]', name)
    assert not name.startswith((".", " ", "-"))
    assert unicodedata.normalize("NFC", name) == name
    stem = name.removesuffix(".md")
    assert stem == stem.rstrip(" .")
    assert stem
    assert name.split(".")[0].upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT1"}


def test_a_file_name_is_the_title_where_that_can_be() -> None:
    assert file_name("Why is the sky blue", ".md") == "Why is the sky blue.md"
    assert file_name("a/b: c?", ".json") == "a b c.json"
    assert file_name("東京で学习", ".md", 2) == "東京で学习 2.md"
    assert file_name("cafe\u0301", ".md") == "caf\u00e9.md"
    assert file_name(" \n/", ".html") == "Conversation.html"


def test_an_export_never_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "Light.md").write_text("mine")
    folder = Folder(tmp_path)
    written = [folder.write("Light", ".md", text) for text in ("one", "two")]
    written.append(Folder(tmp_path).write("Light", ".md", "three"))
    assert [(path.name, path.read_text()) for path in written] == [
        ("Light 2.md", "one"),
        ("Light 3.md", "two"),
        ("Light 4.md", "three"),
    ]
    assert (tmp_path / "Light.md").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 4


def test_an_export_is_its_owner_s_alone(tmp_path: Path) -> None:
    written = Folder(tmp_path).write("Light", ".md", "words")
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "Light.md").symlink_to(tmp_path / "elsewhere.md")
    assert Folder(tmp_path).write("Light", ".md", "words").name == "Light 2.md"
    assert not (tmp_path / "elsewhere.md").exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(QuietlyError, match=r"nowhere/Light\.md cannot be created because its folder is missing"):
        Folder(tmp_path / "nowhere").write("Light", ".md", "words")


@pytest.mark.usefixtures("stranger")
def test_a_folder_of_someone_else_is_named() -> None:
    with pytest.raises(QuietlyError, match="belong to you and are writable"):
        Folder(Path("/etc")).write("Light", ".md", "words")


def test_a_full_disk_leaves_no_half_of_a_file(tmp_path: Path, full_disk: Callable[[int], None]) -> None:
    full_disk(1000)
    with pytest.raises(QuietlyError, match="because the disk is full; free some space"):
        Folder(tmp_path).write("Light", ".md", "x" * 100_000)
    full_disk(100_000_000)  # what pytest writes may go to a file as well
    assert list(tmp_path.iterdir()) == []
