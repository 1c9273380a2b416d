"""Picking a file: typed, completed, walked to by keys and mouse, in folders of every kind."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from app.errors import QuietlyError
from app.tui.folders import entries, fitting
from app.tui.screens.picking import PickFile
from tests.waiting import until_shown

NOTHING = Path("nothing was picked yet")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("papers/old", "source", ".hidden"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("papers/one.pdf", "papers/two.pdf", "papers/old/three.pdf", "read me.txt", "README.md", ".secret"):
        (tmp_path / file).write_text("x")
    return tmp_path


class Picker:
    def __init__(self, app: App[None], pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot
        self.picked: Path | None = NOTHING

    async def until(self, true: Callable[[], object]) -> None:
        await until_shown(self.pilot, true)

    async def shows(self, *rows: str) -> None:
        await self.until(lambda: self.rows == list(rows))

    async def type(self, text: str) -> None:
        path = self.app.screen.query_one(Input)
        path.insert_text_at_cursor(text)
        await self.pilot.pause()

    @property
    def rows(self) -> list[str]:
        return [str(option.prompt) for option in self.app.screen.query_one(OptionList).options]

    @property
    def line(self) -> str:
        return self.app.screen.query_one(Input).value

    @property
    def said(self) -> str:
        return str(self.app.screen.query_one("#said", Static).render())


@asynccontextmanager
async def opened(start: Path, size: tuple[int, int] = (100, 30)) -> AsyncIterator[Picker]:
    app: App[None] = App()
    async with app.run_test(size=size) as pilot:
        picker = Picker(app, pilot)

        def picked(path: Path | None) -> None:
            picker.picked = path

        app.push_screen(PickFile(start), picked)
        await pilot.pause()
        await picker.until(lambda: picker.said != "Reading…")
        yield picker


async def test_folders_come_first_and_hidden_ones_when_asked_for(tree: Path) -> None:
    async with opened(tree) as picker:
        assert picker.line == "~/"
        await picker.shows("../", "papers/", "source/", "read me.txt", "README.md")
        await picker.type(".")
        await picker.shows(".hidden/", ".secret", "read me.txt", "README.md")


async def test_a_file_is_typed_and_taken(tree: Path) -> None:
    async with opened(tree) as picker:
        await picker.type("papers/tw")
        await picker.pilot.press("enter")
        await picker.until(lambda: picker.picked == tree / "papers" / "two.pdf")


async def test_what_a_name_begins_with_comes_before_what_it_holds(tree: Path) -> None:
    async with opened(tree) as picker:
        await picker.type("me")
        await picker.shows("read me.txt", "README.md")
        await picker.type("zzz")
        await picker.shows()
        assert "Nothing" in picker.said
        await picker.pilot.press("enter")
        assert picker.picked == NOTHING


async def test_enter_opens_a_folder_backspace_leaves_it_and_escape_leaves_all(tree: Path) -> None:
    async with opened(tree) as picker:
        await picker.pilot.press("enter")
        await picker.shows("../", "old/", "one.pdf", "two.pdf")
        assert picker.line == "~/papers/"
        await picker.pilot.press("backspace")
        await picker.shows("../", "papers/", "source/", "read me.txt", "README.md")
        await picker.pilot.press("backspace")
        await picker.until(lambda: picker.line == f"{tree.parent}/")
        await picker.pilot.press("escape")
        await picker.until(lambda: picker.picked is None)


async def test_tab_writes_out_what_is_highlighted(tree: Path) -> None:
    async with opened(tree) as picker:
        await picker.type("pa")
        await picker.pilot.press("tab")
        await picker.shows("../", "old/", "one.pdf", "two.pdf")
        await picker.pilot.press("down", "tab")
        assert picker.line == "~/papers/one.pdf"
        await picker.pilot.press("enter")
        await picker.until(lambda: picker.picked == tree / "papers" / "one.pdf")


async def test_the_mouse_alone_is_enough(tree: Path) -> None:
    async with opened(tree / "papers" / "old", size=(60, 18)) as picker:
        await picker.shows("../", "three.pdf")
        await picker.pilot.click(OptionList, offset=(4, 0))
        await picker.shows("../", "old/", "one.pdf", "two.pdf")
        await picker.pilot.click(OptionList, offset=(4, 3))
        await picker.until(lambda: picker.picked == tree / "papers" / "two.pdf")


async def test_names_are_shown_safely_and_files_of_any_name_are_taken(tree: Path) -> None:
    odd = os.fsdecode(os.fsencode(tree / "source") + b"/a\x1b[31m\xff\nb")
    Path(odd).mkdir()
    (Path(odd) / "in\x1bside.txt").write_text("x")
    async with opened(tree / "source") as picker:
        await picker.until(lambda: len(picker.rows) == 2)
        assert "\x1b" not in "".join(picker.rows)
        await picker.pilot.press("enter")
        await picker.shows("../", "inside.txt")
        assert "\x1b" not in picker.line and "\n" not in picker.line
        await picker.pilot.press("enter")
        await picker.until(lambda: picker.picked == Path(odd) / "in\x1bside.txt")


async def test_folders_that_cannot_be_read_say_so(tree: Path) -> None:
    async with opened(tree) as picker:
        await picker.type("missing/")
        await picker.until(lambda: "no such file" in picker.said)
        assert picker.rows == ["../"]


async def test_links_in_a_circle_and_pipes_are_left_out(tree: Path) -> None:
    (tree / "source" / "again").symlink_to(tree / "source", target_is_directory=True)
    (tree / "source" / "itself").symlink_to(tree / "source" / "itself")
    (tree / "source" / "gone").symlink_to(tree / "nowhere")
    os.mkfifo(tree / "source" / "pipe")
    async with opened(tree / "source") as picker:
        await picker.shows("../", "again/")
        await picker.pilot.press("enter", "enter", "enter")
        await picker.until(lambda: picker.line == "~/source/again/again/again/")


async def test_a_folder_of_many_files_shows_the_first_and_finds_the_rest(tree: Path) -> None:
    for number in range(3000):
        (tree / "source" / f"file {number:04}.txt").touch()
    async with opened(tree / "source") as picker:
        await picker.until(lambda: len(picker.rows) > 1)
        assert len(picker.rows) <= 501 and "2,500 more" in picker.said
        await picker.type("2999")
        await picker.shows("file 2999.txt")


def test_a_folder_is_matched_by_any_part_of_a_name_in_any_case(tree: Path) -> None:
    found = entries(tree)
    assert [entry.name for entry in fitting(found, "READ")] == ["read me.txt", "README.md"]
    assert [entry.name for entry in fitting(found, "PER")] == ["papers"]
    assert not fitting(found, "secret")


def test_a_file_is_no_folder(tree: Path) -> None:
    with pytest.raises(QuietlyError, match=r"README.md cannot be opened \(not a directory\)"):
        entries(tree / "README.md")
