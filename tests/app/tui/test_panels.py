"""The side by side, the menu and the find bar, by keys and by mouse."""

from collections.abc import Sequence

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Offset
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input, OptionList, Static

from app.tui.screens.comparing import Compare, Side
from app.tui.screens.menu import Menu, MenuRow, shown
from app.tui.widgets.find_bar import FindBar
from app.tui.widgets.transcript import Entry, Transcript

HOSTILE = "\x1b]0;pwned\x07\u202e[bold]東京[/bold]"


class Desk(App[None]):
    """An app that opens one screen and keeps what it came back with."""

    def __init__(self, panel: Screen[object] | None = None) -> None:
        super().__init__()
        self.panel = panel
        self.results: list[object] = []

    def on_mount(self) -> None:
        if self.panel is not None:
            self.push_screen(self.panel, self.results.append)

    @property
    def page(self) -> str:
        lines = self.screen._compositor.render_strips(self.size)
        return "\n".join("".join(segment.text for segment in line) for line in lines)


def desk(panel: object) -> Desk:
    assert isinstance(panel, Screen)
    return Desk(panel)


async def click(pilot: Pilot[None], text: str) -> None:
    """Click the first place on the screen where `text` stands."""
    app = pilot.app
    assert isinstance(app, Desk)
    for y, line in enumerate(app.page.split("\n")):
        if text in line:
            await pilot.click(offset=(line.index(text), y))
            return
    pytest.fail(f"{text!r} is not on the screen:\n{app.page}")


# --- the menu ---

ROWS = (
    MenuRow("copy", "Copy", "c"),
    MenuRow("code", "Copy the code", "C", False, "no code here"),
    MenuRow("again", "Again", "r"),
    MenuRow("other", "Again by another", "R"),
    MenuRow("delete", "Delete", "d,delete"),
)


@pytest.mark.parametrize(
    ("keys", "taken"),
    [
        (["r"], "again"),
        (["R"], "other"),
        (["delete"], "delete"),
        (["enter"], "copy"),
        (["down", "enter"], "again"),
        (["up", "enter"], "delete"),
        (["escape"], None),
    ],
)
async def test_a_row_of_the_menu_is_taken_by_its_own_key_or_by_the_arrows(
    keys: Sequence[str], taken: str | None
) -> None:
    app = desk(Menu("The answer", ROWS))
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        assert app.results == [taken]


async def test_a_row_that_is_off_says_why_and_stays() -> None:
    app = desk(Menu("The answer", ROWS))
    async with app.run_test(size=(60, 18)) as pilot:
        assert "no code here" in app.page
        await pilot.press("C")
        await pilot.pause()
        assert app.results == [] and "Copy the code: no code here" in app.page
        await click(pilot, "Copy the code ")
        assert app.results == []
        await pilot.press("c")
        await pilot.pause()
        assert app.results == ["copy"]


async def test_the_menu_is_clicked_and_a_click_beside_it_closes_it() -> None:
    app = desk(Menu("The answer", ROWS))
    async with app.run_test(size=(60, 18)) as pilot:
        await click(pilot, "Again by")
        await pilot.pause()
        assert app.results == ["other"]
        app.push_screen(Menu("The answer", ROWS), app.results.append)
        await pilot.pause()
        await pilot.click(offset=(0, 0))
        await pilot.pause()
        assert app.results == ["other", None]


@pytest.mark.parametrize("at", [Offset(0, 0), Offset(59, 17), Offset(30, 9), Offset(500, 500)])
async def test_a_menu_near_a_place_is_wholly_in_sight(at: Offset) -> None:
    app = desk(Menu(HOSTILE, [*ROWS, MenuRow("long", HOSTILE * 9, "x")], at))
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.pause()
        region = app.screen.query_one("#menu").region
        assert app.screen.region.contains_region(region)
        assert app.screen.query_one(OptionList).size.height == len(ROWS) + 1
        assert "\x1b" not in app.page and "\u202e" not in app.page and "[bold]" in app.page


@pytest.mark.parametrize("width", [60, 100])
async def test_the_title_of_a_menu_is_said_whole_above_shorter_rows(width: int) -> None:
    app = desk(Menu("The paste has 151,500 characters.", [MenuRow("insert", "Put it in", "i")]))
    async with app.run_test(size=(width, 18)) as pilot:
        await pilot.pause()
        assert "The paste has 151,500 characters." in app.page


async def test_a_menu_longer_than_the_terminal_scrolls() -> None:
    rows = [MenuRow(str(number), f"Row {number}") for number in range(40)]
    app = desk(Menu("Many", rows))
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.press("end")
        await pilot.pause()
        assert "Row 39" in app.page
        await pilot.press("enter")
        assert app.results == ["39"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [("e", "E"), ("R", "Shift+R"), ("ctrl+x,f2", "Ctrl+X"), ("delete", "Del"), ("shift+tab", "Shift+Tab"), ("", "")],
)
def test_keys_read_as_people_say_them(keys: str, said: str) -> None:
    assert shown(keys) == said


# --- side by side ---

SIDES = (Side(11, "starter"), Side(12, "larger"))


def answer(key: int, text: str, note: str = "") -> Entry:
    return Entry(key, "assistant", "model", text, note=note)


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        (["1"], 11),
        (["2"], 12),
        (["enter"], 11),
        (["tab", "enter"], 12),
        (["tab", "tab", "enter"], 11),
        (["shift+tab", "enter"], 12),
        (["3", "escape"], None),
    ],
)
@pytest.mark.parametrize("width", [60, 120])
async def test_one_of_the_sides_is_kept(width: int, keys: Sequence[str], kept: int | None) -> None:
    app = desk(Compare("Which?", SIDES))
    async with app.run_test(size=(width, 20)) as pilot:
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        assert app.results == [kept]


async def test_both_sides_stream_and_end_in_sight_of_each_other() -> None:
    panel = Compare(f"Which? {HOSTILE}", SIDES)
    app = desk(panel)
    async with app.run_test(size=(120, 20)) as pilot:
        panel.stream(11, "First\n\n- a point", "", "writing · 34.1 tok/s")
        panel.stream(12, "", "thoughts of its own", "reading the prompt 3 of 9")
        panel.stream(99, "nobody's", "", "writing")
        await pilot.pause()
        assert "• a point" in app.page and "34.1 tok/s" in app.page
        assert "reading the prompt 3 of 9" in app.page and "thoughts of its own" in app.page
        panel.finish(11, answer(11, "First, whole"), "12.3 tok/s")
        panel.finish(12, answer(12, HOSTILE, "stopped"), "")
        panel.stream(11, "too late", "", "writing")
        await pilot.pause()
        assert "First, whole" in app.page and "12.3 tok/s" in app.page and "stopped" in app.page
        assert "too late" not in app.page and "nobody's" not in app.page
        assert "\x1b" not in app.page and "\u202e" not in app.page


async def test_what_comes_before_the_first_frame_is_shown() -> None:
    panel = Compare("Which?", SIDES)
    panel.stream(11, "Early", "", "writing")
    panel.finish(12, answer(12, "Earlier"), "")
    app = desk(panel)
    async with app.run_test(size=(120, 20)) as pilot:
        await pilot.pause()
        assert "Early" in app.page and "Earlier" in app.page


async def test_a_narrow_terminal_shows_one_side_and_the_names_of_all() -> None:
    panel = Compare("Which?", SIDES)
    app = desk(panel)
    async with app.run_test(size=(60, 18)) as pilot:
        panel.finish(11, answer(11, "The words of one"), "")
        panel.finish(12, answer(12, "The words of two"), "")
        await pilot.pause()
        assert "The words of one" in app.page and "The words of two" not in app.page
        assert "2 larger" in app.page
        await click(pilot, "2 larger")
        await pilot.pause()
        assert "The words of two" in app.page and "The words of one" not in app.page
        await click(pilot, "Keep this one")
        await pilot.pause()
        assert app.results == [12]


async def test_a_click_looks_at_a_side_and_its_words_are_copied() -> None:
    panel = Compare("Which?", SIDES)
    app = desk(panel)
    async with app.run_test(size=(120, 20)) as pilot:
        panel.finish(12, answer(12, "**Two** 東京"), "")
        await pilot.press("c")
        assert app.clipboard == ""
        await pilot.click(panel.query(Transcript).last())
        await pilot.pause()
        await pilot.press("c")
        assert app.clipboard == "**Two** 東京"
        await click(pilot, "Keep this one (1)")
        await pilot.pause()
        assert app.results == [11]


async def test_all_that_is_still_being_written_is_stopped_once() -> None:
    stopped: list[str] = []
    panel = Compare("Which?", SIDES, lambda: stopped.append("all"))
    app = desk(panel)
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.press("s")
        assert stopped == ["all"] and "s stop" in app.page
        panel.finish(11, answer(11, "one", "stopped"), "")
        panel.finish(12, answer(12, "two", "stopped"), "")
        await pilot.press("s")
        assert stopped == ["all"] and "s stop" not in app.page


async def test_the_menu_of_a_side_keeps_it() -> None:
    panel = Compare("Which?", SIDES)
    app = desk(panel)
    async with app.run_test(size=(120, 20)) as pilot:
        panel.finish(11, answer(11, "one"), "")
        panel.post_message(Transcript.MenuRequested(12))
        await pilot.pause()
        assert isinstance(app.screen, Menu) and "it is empty" in app.page
        await pilot.press("2")
        await pilot.pause()
        assert app.results == [12]


async def test_a_link_of_a_side_is_opened_only_after_a_question() -> None:
    panel = Compare("Which?", SIDES)
    app = desk(panel)
    async with app.run_test(size=(120, 20)) as pilot:
        panel.post_message(Transcript.LinkRequested("https://example.org/page"))
        await pilot.pause()
        assert app.screen is not panel and "https://example.org/page" in app.page
        await pilot.press("escape")
        assert app.screen is panel
        panel.post_message(Transcript.LinkRequested("javascript:alert(1)"))
        await pilot.pause()
        assert app.screen is panel
        assert "is not opened" in "".join(notice.message for notice in app._notifications)


# --- the find bar ---


class Finder(App[None]):
    """A page of words and the bar; it answers as a transcript would and keeps what was posted."""

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[str | int] = []

    def compose(self) -> ComposeResult:
        yield Static("words")
        yield FindBar()

    @property
    def bar(self) -> FindBar:
        return self.query_one(FindBar)

    @property
    def said(self) -> str:
        return str(self.bar.query_one(".find-count", Static).render())

    def on_find_bar_changed(self, event: FindBar.Changed) -> None:
        self.posted.append(event.query)
        self.bar.show(*((3, 1017) if event.query.startswith("w") else (0, 0)))

    def on_find_bar_step(self, event: FindBar.Step) -> None:
        self.posted.append(event.step)

    def on_find_bar_closed(self) -> None:
        self.posted.append("closed")


@pytest.mark.parametrize("size", [(60, 18), (200, 50)])
async def test_what_is_typed_is_looked_for_and_stepped_through(size: tuple[int, int]) -> None:
    app = Finder()
    async with app.run_test(size=size) as pilot:
        assert not app.bar.is_open
        app.bar.open()
        await pilot.press("w", "o")
        await pilot.pause()
        assert app.posted == ["w", "wo"] and app.said == "3 of 1,017"
        app.posted.clear()
        await pilot.press("enter", "down", "ctrl+g", "up", "shift+enter")
        assert app.posted == [1, 1, 1, -1, -1]
        await pilot.press("escape")
        assert app.posted[-1] == "closed" and not app.bar.is_open


async def test_the_bar_opens_with_the_last_words_selected() -> None:
    app = Finder()
    async with app.run_test(size=(100, 30)) as pilot:
        app.bar.open()
        await pilot.press("w", "escape")
        app.bar.open()
        await pilot.pause()
        assert app.posted[-1] == "w"
        app.bar.open()
        await pilot.press("x")
        await pilot.pause()
        assert app.bar.query_one(Input).value == "x" and app.said == "nothing found"
        await pilot.press("backspace")
        await pilot.pause()
        assert app.posted[-1] == "" and app.said == ""
        app.posted.clear()
        await pilot.press("enter", "down")
        assert app.posted == []


async def test_the_signs_of_the_bar_are_clicked() -> None:
    app = Finder()
    async with app.run_test(size=(100, 30)) as pilot:
        app.bar.open()
        await pilot.press("w")
        await pilot.pause()
        app.posted.clear()
        before, after, close = app.bar.query(".sign")
        for sign in (before, after, close):
            await pilot.click(sign)
        assert app.posted == [-1, 1, "closed"]


async def test_what_is_pasted_into_the_bar_is_one_safe_line() -> None:
    from textual.events import Paste

    app = Finder()
    async with app.run_test(size=(100, 30)) as pilot:
        app.bar.open()
        await pilot.pause()
        app.bar.query_one(Input).post_message(Paste("w\x1b[31m\nx\u202e"))
        await pilot.pause()
        assert app.posted[-1] == "w[31m x"
