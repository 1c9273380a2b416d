"""Which pastes are files that were dropped, and which are text."""

import shlex
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tui.dropped import MOST, files, named

PARTS = st.text(st.characters(exclude_characters="\0/", exclude_categories=("Cs",)), min_size=1, max_size=20)


def dropped(text: str) -> tuple[Path, ...]:
    return files(named(text))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("plain.txt", "two words.txt", "it's.txt", "滑动 窗口.pdf", "a%20b.txt"):
        (tmp_path / name).write_text("x")
    return tmp_path


FORMS = {
    "escaped": lambda path: "".join(f"\\{sign}" if sign in " '%" else sign for sign in str(path)),
    "quoted": lambda path: shlex.quote(str(path)),
    "doubly quoted": lambda path: f'"{path}"',
    "an address": lambda path: f"file://{quote(str(path))}",
    "an address of this host": lambda path: f"file://localhost{quote(str(path))}",
    "bare": str,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_in_every_form_that_terminals_paste(folder: Path, form: str) -> None:
    for path in folder.iterdir():
        assert dropped(FORMS[form](path)) == (path,)
        assert dropped(f" {FORMS[form](path)} \n") == (path,)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "bare"])
def test_several_files(folder: Path, form: str) -> None:
    paths = tuple(sorted(folder.iterdir()))
    assert dropped(" ".join(map(FORMS[form], paths))) == paths
    assert dropped("\n".join(map(FORMS[form], paths))) == paths


def test_bare_paths_one_a_line(folder: Path) -> None:
    paths = tuple(sorted(folder.iterdir()))
    assert dropped("\n".join(map(str, paths))) == paths


def test_what_is_not_files_alone_is_text(folder: Path) -> None:
    file = folder / "plain.txt"
    for text in (
        "",
        "plain.txt",
        f"look at {file}",
        f"{file} please",
        f"{file} {folder}/missing.txt",
        str(folder),
        "/dev/null",
        "file://elsewhere/etc/hosts",
        "file://[broken",
        "/an 'open quotation",
        "/nul\0byte",
        " ".join([str(file)] * (MOST + 1)),
        "/" + "long" * 10_000,
    ):
        assert dropped(text) == (), text[:60]


def test_the_persons_own_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert dropped("~/plain.txt") == (folder / "plain.txt",)


@given(st.lists(PARTS.filter(lambda part: part.strip() == part), min_size=1, max_size=MOST))
def test_whatever_a_file_is_called_its_quoted_path_is_read_back(names: list[str]) -> None:
    paths = [Path("/somewhere") / name for name in names]
    assert paths in named(" ".join(shlex.quote(str(path)) for path in paths))


@given(st.text())
def test_no_text_at_all_is_too_much(text: str) -> None:
    files(named(text))
