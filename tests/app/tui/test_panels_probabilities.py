"""The probability panel: walking an answer token by token, and what else could have stood there."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from textual.app import App
from textual.pilot import Pilot

from app.chat.text import visible
from app.engine.protocol import Candidate, SamplingOptions
from app.errors import QuietlyError
from app.spelling import spelled
from app.tui.markdown.rows import cells
from app.tui.screens import probabilities
from app.tui.screens.probabilities import (
    Candidates,
    Choice,
    Panel,
    Pieces,
    Probabilities,
    bar,
    filters,
    lay,
    percent,
)
from tests.waiting import until_shown

PIECES = ("The", " capital", " of", " France", " is", " Paris", ".", "\n\n", "首都", "は", "東京", "")
SIZES = [(60, 18), (100, 30), (200, 50)]


def panel(chosen: int = 5) -> Panel:
    """Six candidates; the filters kept the first two."""
    found = [
        Candidate(5, " Paris", 0.612, 0.8),
        Candidate(6, "\n", 0.153, 0.2),
        Candidate(7, "", 0.03, 0),
        Candidate(8, "\u202e\x1b[31m", 0.02, 0),
        Candidate(9, "東京の首都", 0.0001, 0),
        Candidate(10, "[bold]x" * 20, 0.000001, 0),
    ]
    return Panel(chosen, found, 2, 0.765, "temperature 0.8 · top-k 40", 49152)


class Engine:
    """Answers what is asked when the test lets it, and keeps what became of each question."""

    def __init__(self, held: bool = False) -> None:
        self.asked: list[int] = []
        self.cancelled: list[int] = []
        self.failing: dict[int, QuietlyError] = {}
        self.go = asyncio.Event()
        if not held:
            self.go.set()

    async def ask(self, position: int, progress: Callable[[int, int], None]) -> Panel:
        self.asked.append(position)
        progress(120, 800)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(position)
            raise
        if position in self.failing:
            raise self.failing[position]
        return panel()


class Desk(App[None]):
    """An app with the panel open over it."""

    def __init__(self, engine: Engine, pieces: Sequence[str] = PIECES, at: int = 0) -> None:
        super().__init__()
        self.engine = engine
        self.results: list[Choice | None] = []
        self.panel = Probabilities(pieces, engine.ask, at=at)

    def on_mount(self) -> None:
        self.push_screen(self.panel, self.results.append)

    @property
    def page(self) -> str:
        lines = self.screen._compositor.render_strips(self.size)
        return "\n".join("".join(segment.text for segment in line) for line in lines)

    @property
    def position(self) -> int:
        return self.panel.query_one(Pieces).position

    def row(self, text: str) -> str:
        """The first row of the screen that holds `text`."""
        return next(line for line in self.page.split("\n") if text in line)


async def found(pilot: Pilot[None]) -> None:
    """Wait until candidates are listed."""
    await until_shown(pilot, lambda: pilot.app.screen.query_one(Candidates).option_count)
    await pilot.pause()


@pytest.mark.parametrize("size", SIZES)
async def test_the_candidates_of_a_place_say_what_the_filters_did(size: tuple[int, int]) -> None:
    app = Desk(Engine(), at=5)
    async with app.run_test(size=size) as pilot:
        await found(pilot)
        page = " ".join(app.page.replace("│", " ").split())
        assert "token 6 of 12 ␣Paris" in page
        assert "temperature 0.8 · top-k 40 kept 2 of" in page and "76.5 % of the mass" in page
        row = app.row("1 ● ␣Paris")
        assert "61.2 %" in row and "kept 80.0 %" in row and "█" in row
        assert "kept 20.0 %" in app.row("2   ↵") and "cut" in app.row("3   ∅")
        await pilot.press("tab", "end")
        await pilot.pause()
        assert "‹202E›‹001B›" in app.page and "\x1b" not in app.page and "\u202e" not in app.page
        assert "[bold]x" in app.page and "<0.001 %" in app.page


@pytest.mark.parametrize("size", SIZES)
async def test_every_row_of_the_candidates_is_one_row(size: tuple[int, int]) -> None:
    app = Desk(Engine())
    async with app.run_test(size=size) as pilot:
        await found(pilot)
        candidates = app.panel.query_one(Candidates)
        assert candidates.virtual_size.height == len(panel().candidates)
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert candidates.virtual_size.height == len(panel().candidates)


@pytest.mark.parametrize(
    ("keys", "position"),
    [
        (["right", "right"], 2),
        (["right", "left", "left"], 0),
        (["end"], 11),
        (["end", "right"], 11),
        (["end", "home"], 0),
        (["down"], 7),
        (["down", "down"], 8),
        (["end", "up", "up"], 1),
        (["pagedown"], 8),
    ],
)
async def test_the_cursor_walks_tokens_and_rows(keys: Sequence[str], position: int) -> None:
    app = Desk(Engine())
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        assert app.position == position


async def test_a_click_puts_the_cursor_on_a_token() -> None:
    app = Desk(Engine())
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.click(Pieces, offset=(6, 0))
        assert app.position == 1
        await pilot.click(Pieces, offset=(90, 0))
        assert app.position == 7  # what stands at the end of that row
        await pilot.click(Pieces, offset=(5, 2))
        assert app.position == 9


@pytest.mark.parametrize(
    ("keys", "choice"),
    [
        (["tab", "down", "enter"], Choice(3, 6, "\n")),
        (["enter", "enter"], Choice(3, 5, " Paris")),
        (["tab", "end", "up", "enter"], Choice(3, 9, "東京の首都")),
        (["tab", "escape"], None),
        (["escape"], None),
    ],
)
async def test_a_candidate_is_taken_by_keys(keys: Sequence[str], choice: Choice | None) -> None:
    app = Desk(Engine(), at=3)
    async with app.run_test(size=(60, 18)) as pilot:
        await found(pilot)
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        assert app.results == [choice]


async def test_a_candidate_is_taken_by_a_click() -> None:
    app = Desk(Engine(), at=3)
    async with app.run_test(size=(100, 30)) as pilot:
        await found(pilot)
        await pilot.click(Candidates, offset=(8, 1))
        await pilot.pause()
        assert app.results == [Choice(3, 6, "\n")]


async def test_it_says_how_far_it_has_read_and_stays_usable() -> None:
    engine = Engine(held=True)
    app = Desk(engine)
    async with app.run_test(size=(60, 18)) as pilot:
        await until_shown(pilot, lambda: "reading 120 of 800" in app.page)
        await pilot.press("tab", "enter", "right")
        await pilot.pause()
        assert app.position == 1 and app.results == []
        await pilot.press("escape")
        await pilot.pause()
        assert app.results == [None]


async def test_moving_on_cancels_the_request_and_asks_only_where_the_cursor_rests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine(held=True)
    app = Desk(engine)
    async with app.run_test(size=(60, 18)) as pilot:
        await until_shown(pilot, lambda: engine.asked == [0])
        with monkeypatch.context() as hurried:
            hurried.setattr(probabilities, "PAUSE", 3600)  # however slow this machine is, the cursor does not rest
            await pilot.press("right", "right", "right")
        await pilot.press("right")
        await until_shown(pilot, lambda: len(engine.asked) == 2)
        assert engine.asked == [0, 4] and engine.cancelled == [0]
        engine.go.set()
        await found(pilot)


async def test_leaving_cancels_the_request() -> None:
    engine = Engine(held=True)
    app = Desk(engine)
    async with app.run_test(size=(60, 18)) as pilot:
        await until_shown(pilot, lambda: engine.asked)
        await pilot.press("escape")
        await until_shown(pilot, lambda: engine.cancelled == [0])


async def test_a_place_that_is_known_is_not_asked_about_again() -> None:
    engine = Engine()
    app = Desk(engine)
    async with app.run_test(size=(60, 18)) as pilot:
        await found(pilot)
        await pilot.press("right")
        await found(pilot)
        await pilot.press("left")
        await pilot.pause()
        assert app.panel.query_one(Candidates).option_count and engine.asked == [0, 1]


async def test_the_answer_is_walked_from_the_candidates_too() -> None:
    app = Desk(Engine())
    async with app.run_test(size=(60, 18)) as pilot:
        await found(pilot)
        await pilot.press("tab", "right", "right", "left")
        await pilot.pause()
        assert app.position == 1 and app.panel.query_one(Candidates).has_focus


async def test_what_cannot_be_done_is_said_inside_and_may_be_tried_again() -> None:
    engine = Engine()
    engine.failing[0] = QuietlyError("The model starter is gone\x1b[31m; choose another one.")
    app = Desk(engine)
    async with app.run_test(size=(100, 30)) as pilot:
        await until_shown(pilot, lambda: "The model starter is gone[31m; choose another one." in app.page)
        engine.failing.clear()
        await pilot.press("enter")
        await found(pilot)
        assert engine.asked == [0, 0]


async def test_an_answer_without_tokens_is_said() -> None:
    engine = Engine()
    app = Desk(engine, ())
    async with app.run_test(size=(60, 18)) as pilot:
        for key in ("right", "down", "end", "pagedown", "enter", "tab", "enter"):
            await pilot.press(key)
        await pilot.pause()
        assert "are not known" in app.page and engine.asked == []


async def test_the_cursor_stays_in_sight_in_a_long_answer() -> None:
    pieces = [f" word{number}" if number % 9 else "\n" for number in range(5000)]
    app = Desk(Engine(), pieces)
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.press("end")
        await pilot.pause()
        assert "word4999" in app.page
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert "word4999" in app.page and app.position == 4999


HOSTILE = st.sampled_from(" \n\r\t\x1b\u202e\u0301\u200d\ufe0f東aé\u2028")
TEXTS = st.one_of(st.text(max_size=8), st.text(HOSTILE, max_size=8), st.just(""), st.sampled_from([" word", "ing"]))


@given(st.lists(TEXTS, max_size=30), st.integers(8, 40))
def test_every_token_has_a_cell_of_its_own_and_no_row_is_too_wide(pieces: list[str], width: int) -> None:
    rows = lay(pieces, width)
    for row in rows:
        used = 0
        for run in row:
            assert run.start == used and cells(run.text) > 0
            used += cells(run.text)
        assert used <= width
    walked = [run.piece for row in rows for run in row]
    assert walked == sorted(walked) and set(walked) == set(range(len(pieces)))


@given(TEXTS)
@example("🏻")
@example("ᅡ")
@example("\u200c")
def test_everything_in_a_token_is_seen(text: str) -> None:
    shown = spelled(text)
    assert cells(shown) > 0 and visible(shown) == shown and not any(map(str.isspace, shown))


@given(st.floats(0, 1), st.integers(0, 40))
def test_a_bar_is_as_wide_as_it_is_told_and_grows_with_its_part(part: float, width: int) -> None:
    assert cells(bar(part, width)) == width
    assert bar(part, width).strip() or part == 0 or width == 0
    assert len(bar(part, width).rstrip()) <= len(bar(1, width))


@pytest.mark.parametrize(
    ("part", "said"),
    [(1, "100 %"), (0.61249, "61.2 %"), (0.001, "0.1 %"), (0.00031, "0.031 %"), (1e-9, "<0.001 %"), (0, "0 %")],
)
def test_parts_read_as_per_cent(part: float, said: str) -> None:
    assert percent(part) == said


def test_filters_that_do_nothing_are_not_mentioned() -> None:
    assert filters(SamplingOptions(0.8, 0.95, 40, 0.05)) == "temperature 0.8 · top-k 40 · top-p 0.95 · min-p 0.05"
    assert filters(SamplingOptions(0, 1, 0, 0, 1)) == "temperature 0"
    assert filters(SamplingOptions(repetition_penalty=1.1)) == "repetition penalty 1.1"
    counted = SamplingOptions(presence_penalty=0.2, frequency_penalty=0.1, penalty_decay=0.996)
    assert filters(counted) == "presence penalty 0.2 · frequency penalty 0.1 · penalty decay 0.996"
    assert filters(SamplingOptions(presence_penalty=0, frequency_penalty=0, penalty_decay=0.5)) == ""
    assert filters(SamplingOptions()) == ""
