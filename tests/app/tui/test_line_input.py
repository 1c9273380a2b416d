"""Every line to type into: what is pasted is safe, one line, and cut with a word where it is too long."""

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.app import App, ComposeResult
from textual.events import Paste
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from app.chat.search import Found
from app.chat.store import Store
from app.chat.text import visible
from app.tui.driver import PasteParser
from app.tui.screens.asking import AskLine
from app.tui.screens.begin import BeginScreen
from app.tui.screens.inspecting import InspectScreen
from app.tui.screens.picking import PickFile
from app.tui.screens.searching import Looked, SearchScreen
from app.tui.screens.tokens import TokensScreen
from app.tui.widgets.find_bar import FindBar
from app.tui.widgets.line_input import LineInput
from tests.app.tui.conftest import Opener
from tests.app.tui.desk import Desk
from tests.app.tui.test_tokens_screen import Engines, Model
from tests.app.tui.window import FakeLibrary, converse
from tests.checkpoints import speaking_checkpoint
from tests.waiting import until_shown

HOSTILE = "ab\u202eevil\u202c\u200bcd\x1b[31m\x9b\x07\ufeff"
CLEAN = "abevilcd[31m"
FULL = "This line is full: it takes 20 characters, and what is more was left out."


class Line(App[None]):
    """A window with nothing in it but a line."""

    def __init__(self, value: str = "", longest: int = 20) -> None:
        super().__init__()
        self._value, self._longest = value, longest

    def compose(self) -> ComposeResult:
        yield LineInput(self._value, max_length=self._longest, select_on_focus=False)

    @property
    def line(self) -> LineInput:
        return self.query_one(LineInput)

    @property
    def said(self) -> list[str]:
        return [notice.message for notice in self._notifications]


async def paste(pilot: Pilot[None], line: Input, text: str) -> None:
    line.post_message(Paste(text))
    await pilot.pause()


async def send(pilot: Pilot[None], text: str) -> None:
    """What a terminal sends, through the parser that the window reads it with."""
    for event in PasteParser().feed(text):
        pilot.app.post_message(event)
        await pilot.pause()


@pytest.mark.parametrize(
    ("pasted", "stands"),
    [
        (HOSTILE, CLEAN),
        ("one\r\ntwo\rthree\nfour", "one two three four"),
        ("\n\n  one\t\ttwo \u2028 three  \n", "one two three"),
        ("  as  it  is ", "  as  it  is "),
        ("\n\t\u200b", ""),
        ("שלום مرحبا नमस्ते 東京", "שלום مرحبا नमस्ते 東京"),
        ("می\u200cخواهم 👩\u200d🚀 ❤\ufe0f", "می\u200cخواهم 👩\u200d🚀 ❤\ufe0f"),
    ],
)
async def test_what_is_pasted_is_one_safe_line(pasted: str, stands: str) -> None:
    app = Line(longest=0)
    async with app.run_test() as pilot:
        await paste(pilot, app.line, pasted)
        assert (app.line.value, app.line.cursor_position) == (stands, len(stands))
        app.line.clear()
        app._clipboard = pasted
        app.line.action_paste()
        assert (app.line.value, app.said) == (stands, [])


async def test_a_paste_takes_the_place_of_what_is_selected() -> None:
    app = Line("one and three")
    async with app.run_test() as pilot:
        app.line.cursor_position = 7
        await pilot.press(*["shift+left"] * 3)
        await paste(pilot, app.line, "two\n")
        assert (app.line.value, app.line.cursor_position, app.said) == ("one two three", 7, [])


async def test_of_a_paste_that_is_too_long_the_beginning_is_taken_and_it_is_said_once() -> None:
    app = Line("ab")
    async with app.run_test() as pilot:
        app.line.cursor_position = 1
        await paste(pilot, app.line, "x" * 1_500)
        assert (app.line.value, app.line.cursor_position) == (f"a{'x' * 18}b", 19)
        assert app.said == [FULL]
        await pilot.press(*"more")
        assert app.said == [FULL] and len(app.line.value) == 20
        await paste(pilot, app.line, "again")
        assert app.said == [FULL] * 2 and "again" not in app.line.value


async def test_who_types_on_in_a_full_line_is_told_once_until_there_was_room() -> None:
    app = Line("x" * 20)
    async with app.run_test() as pilot:
        await pilot.press(*"abc")
        assert app.said == [FULL]
        await pilot.press("backspace", "y")
        assert app.said == [FULL] and app.line.value == f"{'x' * 19}y"
        await pilot.press("z")
        assert app.said == [FULL] * 2


async def test_a_cut_leaves_no_joiner_at_the_end() -> None:
    app = Line(longest=6)
    async with app.run_test() as pilot:
        await paste(pilot, app.line, "abcd👩\u200d🚀")
        assert app.line.value == "abcd👩"


@pytest.mark.parametrize("typed", ["👩\u200d🚀", "می\u200cخواهم", "שלום", "東京"])
async def test_every_script_and_what_is_joined_can_be_typed(typed: str) -> None:
    app = Line()
    async with app.run_test() as pilot:
        await send(pilot, typed)
        assert app.line.value == typed


async def test_what_the_program_puts_there_is_as_safe_and_as_short() -> None:
    app = Line(f"{HOSTILE}\n{'x' * 100}")
    async with app.run_test() as pilot:
        assert app.line.value == f"{CLEAN} {'x' * 7}"
        await pilot.press("backspace")
        assert (app.line.value, app.said) == (f"{CLEAN} {'x' * 6}", [])


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speaking_checkpoint(tmp_path_factory.mktemp("speaking") / "speaking")


SCREENS: dict[str, Callable[[Path], Screen[object]]] = {
    "asking": lambda _: AskLine("A name", ""),
    "searching": lambda _: SearchScreen([], lambda _: Looked(Found(), 0), lambda: None, str),
    "tokens": lambda model: TokensScreen(Engines(), Model("speaking", model)),
    "inspecting": lambda model: InspectScreen(model),
    "picking": lambda model: PickFile(model),
}


@pytest.mark.parametrize("name", SCREENS)
async def test_no_line_of_a_screen_lets_a_control_character_through(name: str, speaking: Path) -> None:
    app = Desk(SCREENS[name](speaking))
    async with app.run_test(size=(100, 30)) as pilot:
        await until_shown(pilot, lambda: app.screen is app.opened)
        for line in app.opened.query(Input):
            line.clear()
            await paste(pilot, line, HOSTILE)
            assert line.value == CLEAN
        assert visible(app.page) == app.page


async def test_a_title_that_is_too_long_is_cut_and_it_is_said(opened: Opener, store: Store) -> None:
    conversation = converse(store, "A heron", "Yes.")
    async with opened() as window:
        await window.command("/rename")
        await window.until(lambda: isinstance(window.app.screen, AskLine))
        await window.pilot.press("ctrl+u")
        await paste(window.pilot, window.app.screen.query_one(Input), "x" * 1_500)
        assert "This line is full: it takes 200 characters" in window.notices
        await window.pilot.press("enter")
        await window.until(lambda: store.conversation(conversation).title == "x" * 200)


async def test_what_is_found_in_the_page_is_cut_too(opened: Opener, store: Store) -> None:
    converse(store, "A heron 👩\u200d🚀", "Yes.")
    async with opened() as window:
        await window.pilot.press("ctrl+f")
        line = window.app.chat.query_one(FindBar).query_one(Input)
        await window.until(lambda: window.app.focused is line)
        await paste(window.pilot, line, "x" * 1_500)
        assert line.value == "x" * 200 and "This line is full" in window.notices
        line.clear()
        await send(window.pilot, "👩\u200d🚀")
        await window.until(lambda: "1 of 1" in window.page)


async def test_a_folder_that_is_pasted_is_one_safe_line(opened: Opener) -> None:
    async with opened(FakeLibrary()) as window:
        await window.until(lambda: isinstance(window.app.screen, BeginScreen))
        line = window.app.screen.query_one(Input)
        await paste(window.pilot, line, f"~/{HOSTILE}\n")
        assert line.value == f"~/{CLEAN}"
