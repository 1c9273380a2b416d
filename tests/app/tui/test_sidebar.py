"""The sidebar as a person uses it: rows, signs, the cursor, the filter, keys and mouse."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.message import Message
from textual.pilot import Pilot

from app.assets import asset
from app.tui.widgets.model_rows import ModelRows
from app.tui.widgets.sidebar import ConversationList, ConversationRow, ModelRow, Sidebar, folded, matching

ROWS = (
    ConversationRow(1, "Bread with little yeast", "Today", writing=True),
    ConversationRow(2, "散歩の計画", "Today", temporary=True),
    ConversationRow(3, "[b]Explain\x1b[31m KV caches", "Yesterday"),
    ConversationRow(4, "A name for a grey cat", "3 March", pinned=True),
)
MODELS = (
    ModelRow("/one", "starter", "loaded", "93.8 MiB", True),
    ModelRow("/two", "larger", "loading", "43 %", False),
    ModelRow("/three", "damaged", "problem", "4.0 GiB", False),
)


class Room(App[None]):
    """A page with nothing but the sidebar, which remembers what was posted."""

    CSS_PATH = asset("styles/sidebar.tcss")

    def __init__(self, rows: Sequence[ConversationRow], current: int | None) -> None:
        super().__init__()
        self.sidebar = Sidebar(rows, current)
        self.posted: list[Message] = []

    def compose(self) -> ComposeResult:
        yield self.sidebar

    @property
    def page(self) -> list[str]:
        return ["".join(segment.text for segment in line) for line in self.screen._compositor.render_strips(self.size)]

    @property
    def asked(self) -> list[tuple[str, object]]:
        return [(type(one).__name__, getattr(one, "key", None)) for one in self.posted]

    def line(self, text: str) -> str:
        """The one line of the page that has `text`, without the sidebar's edges."""
        (found,) = [line for line in self.page if text in line]
        return found.strip()


Opener = Callable[..., AbstractAsyncContextManager[tuple[Room, Pilot[None]]]]


@pytest.fixture
def room() -> Opener:
    @asynccontextmanager
    async def opened(
        rows: Sequence[ConversationRow] = ROWS, current: int | None = 1, size: tuple[int, int] = (60, 24)
    ) -> AsyncIterator[tuple[Room, Pilot[None]]]:
        app = Room(rows, current)

        def heard(message: Message) -> None:
            if isinstance(message, (Sidebar.ModelChosen, Sidebar.AddModel, Sidebar._OnConversation)) and (
                message not in app.posted
            ):
                app.posted.append(message)

        async with app.run_test(size=size, message_hook=heard) as pilot:
            app.sidebar.show_models(MODELS)
            app.sidebar.focus_conversations()
            await pilot.pause()
            yield app, pilot

    return opened


async def test_pinned_ones_stand_on_top_and_every_state_has_a_sign(room: Opener) -> None:
    async with room() as (app, _):
        lines = [line.strip() for line in app.page if line.strip()]
        below = lines[lines.index("Conversations") + 1 :]
        assert [line for line in below if line in ("Pinned", "Today", "Yesterday")] == ["Pinned", "Today", "Yesterday"]
        assert below[0] == "Pinned" and below[1].startswith("A name for") and below[1].endswith("◆")
        assert app.line("Bread").startswith("▸") and "✎" in app.line("Bread")
        assert app.line("散歩").endswith("not stored")
        assert app.line("starter").startswith("▸● starter") and app.line("starter").endswith("93.8 MiB")
        assert "◌ larger" in app.line("larger") and app.line("larger").endswith("43 %")
        assert app.line("damaged").startswith("! damaged")


async def test_what_is_written_in_a_title_is_neither_markup_nor_a_command(room: Opener) -> None:
    async with room() as (app, _):
        assert "[b]Explain[31m KV caches" in app.line("Explain")
        assert not any("\x1b" in line for line in app.page)


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        ("enter", "ConversationChosen"),
        ("r", "RenameAsked"),
        ("p", "PinAsked"),
        ("m", "MenuAsked"),
        ("d", "DeleteAsked"),
        ("delete", "DeleteAsked"),
        ("backspace", "DeleteAsked"),
    ],
)
async def test_each_key_asks_for_the_conversation_under_the_cursor(room: Opener, key: str, asked: str) -> None:
    async with room() as (app, pilot):
        await pilot.press("down", key)
        assert app.asked == [(asked, 2)]


async def test_the_cursor_enters_on_the_conversation_in_view_and_skips_headings(room: Opener) -> None:
    async with room(current=2) as (app, pilot):
        listed = app.query_one(ConversationList)
        assert listed.under_cursor() == "2"
        await pilot.press("down")
        assert listed.under_cursor() == "3"
        await pilot.press("down", "down")
        assert listed.under_cursor() == "3"
        await pilot.press("home", "up")
        assert listed.under_cursor() == "4"


async def test_the_cursor_stays_on_its_row_when_rows_are_told_anew(room: Opener) -> None:
    async with room(current=2) as (app, pilot):
        listed = app.query_one(ConversationList)
        app.sidebar.show_conversations([ConversationRow(9, "A new one", "Today"), *ROWS], 2)
        await pilot.pause()
        assert listed.under_cursor() == "2"
        app.sidebar.show_conversations([row for row in ROWS if row.key != 2], 1)
        await pilot.pause()
        assert listed.under_cursor() == "3", "the one that took its place"
        app.sidebar.show_conversations([], None)
        await pilot.pause()
        assert any("Nothing yet" in line for line in app.page)


async def test_clicks_open_and_the_other_button_or_the_rows_end_ask_for_everything(room: Opener) -> None:
    async with room() as (app, pilot):
        listed = app.query_one(ConversationList)
        at = next(index for index, row in enumerate(listed._rows) if row.key == "2")
        await pilot.click(listed, offset=(6, at))
        await pilot.click(listed, offset=(6, at), button=3)
        await pilot.hover(listed, offset=(6, at))
        assert app.line("散歩").endswith("⋯")
        await pilot.click(listed, offset=(listed.content_size.width, at))
        await pilot.click(listed, offset=(6, 0))
        assert app.asked == [("ConversationChosen", 2), ("MenuAsked", 2), ("MenuAsked", 2)]


async def test_models_are_chosen_and_the_last_row_adds_another(room: Opener) -> None:
    async with room() as (app, pilot):
        app.sidebar.focus_models()
        await pilot.pause()
        assert isinstance(app.focused, ModelRows)
        await pilot.press("down", "enter", "end", "enter")
        assert app.asked == [("ModelChosen", "/two"), ("AddModel", None)]


async def test_the_filter_takes_what_is_typed_behind_its_key_and_opens_a_match(room: Opener) -> None:
    async with room() as (app, pilot):
        await pilot.press("slash", *"rED", "backspace", "backspace", "backspace", *"EX")
        await pilot.pause()
        assert [row.key for row in app.query_one(ConversationList)._rows] == [None, "3"]
        await pilot.press("enter")
        assert app.asked == [("ConversationChosen", 3)]
        await pilot.pause()
        assert len(app.query_one(ConversationList)._rows) == 7, "opening one ends the filter"


async def test_arrows_walk_the_matches_and_escape_shows_all_again(room: Opener) -> None:
    async with room() as (app, pilot):
        listed = app.query_one(ConversationList)
        await pilot.press("slash", "a")
        await pilot.pause()
        first = listed.under_cursor()
        await pilot.press("down")
        await pilot.pause()
        assert listed.under_cursor() != first and any("⋯" in line for line in app.page)
        await pilot.press("escape")
        await pilot.pause()
        assert app.focused is listed and len(listed._rows) == 7
        assert not any("Find by title" in line for line in app.page)


async def test_where_nothing_matches_it_says_so_and_a_slash_is_a_letter(room: Opener) -> None:
    async with room() as (app, pilot):
        await pilot.press("slash", "slash", "z")
        await pilot.pause()
        assert any("No title matches" in line for line in app.page)
        assert any("/z" in line for line in app.page)
        await pilot.press("enter")
        assert app.asked == []


async def test_a_thousand_conversations_are_told_within_one_frame(room: Opener) -> None:
    many = [ConversationRow(key, f"Conversation {key} 散歩", f"Day {key // 7}") for key in range(1000)]
    async with room(many, 500) as (app, pilot):
        # The best of a few: other work on the machine is not what is asked about.
        took = []
        for _ in range(5):
            begun = time.perf_counter()
            app.sidebar.show_conversations(many, 500)
            took.append(time.perf_counter() - begun)
        assert min(took) < 0.016
        await pilot.press("end")
        assert app.query_one(ConversationList).under_cursor() == "999"
        assert any("Conversation 999" in line for line in app.page)


titles = st.text(st.sampled_from("aAbB sßéÉe\u0301散歩Ａ/\x1b\u202e[]"), max_size=12)


@given(st.lists(titles, max_size=8), titles)
def test_the_filter_finds_exactly_the_titles_that_contain_it(given_titles: list[str], query: str) -> None:
    rows = [ConversationRow(key, title, "Today") for key, title in enumerate(given_titles)]
    found = {row.key for row in matching(rows, query)}
    assert found == {row.key for row in rows if folded(query.strip()) in folded(row.title)}


@given(st.text(st.sampled_from("abcXYZ 0散歩計画"), min_size=1, max_size=20), st.data())
def test_any_piece_of_a_title_finds_it_in_any_case(title: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(title) - 1))
    piece = title[start : data.draw(st.integers(start + 1, len(title)))]
    row = ConversationRow(1, title, "Today")
    assert matching([row], piece.swapcase()) == [row]


def test_width_and_composition_of_letters_make_no_difference() -> None:
    assert folded("Ｑｗｅｎ") == folded("qwen") and folded("E\u0301tude") == folded("étude")
