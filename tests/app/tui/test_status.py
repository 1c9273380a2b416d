"""The status line: what it says, and what gives way where there is little room."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult

from app import connections, words
from app.tui.widgets.status import Facts, StatusLine, _laid_out

FULL = Facts(
    "● Qwen2.5 7B Instruct", "Apple M4", "ctx 412 / 8,192", "", "48.0 tok/s · TTFT 0.31 s", "F1 help", "2.1 GiB"
)
READING = Facts(
    "● Qwen2.5 7B Instruct 4bit",
    "Apple M4",
    words.context(7900, 8192),
    words.activity("prefill", 1200, 8000),
    "",
    "F1 help",
    "2.1 GiB",
)


class Bottom(App[None]):
    def __init__(self, facts: Facts) -> None:
        super().__init__()
        self._facts = facts

    def compose(self) -> ComposeResult:
        yield StatusLine()

    def on_mount(self) -> None:
        self.query_one(StatusLine).facts = self._facts

    @property
    def said(self) -> str:
        return self.query_one(StatusLine).render().plain


async def test_on_a_wide_terminal_everything_is_said() -> None:
    app = Bottom(FULL)
    async with app.run_test(size=(160, 1)):
        assert all(fact in app.said for fact in (FULL.model, FULL.device, FULL.context, FULL.speed, FULL.hint))
        assert "mem 2.1 GiB" in app.said and "0 connections" in app.said


@pytest.mark.parametrize(
    ("width", "gone"),
    [(116, "F1 help"), (108, "0 connections"), (80, "Apple M4"), (60, "mem 2.1 GiB")],
    ids=["116", "108", "80", "60"],
)
async def test_the_least_important_gives_way_first(width: int, gone: str) -> None:
    app = Bottom(FULL)
    async with app.run_test(size=(width, 1)):
        assert gone not in app.said and FULL.model in app.said and FULL.context in app.said


async def test_that_there_was_a_connection_gives_way_later_than_that_there_was_none() -> None:
    app = Bottom(FULL)
    async with app.run_test(size=(60, 1)) as pilot:
        assert "0 connections" not in app.said
        connections.ledger.note("example.org:443", "", "window")
        await pilot.pause()
        assert "1 connection" in app.said and FULL.context in app.said and FULL.speed not in app.said


async def test_the_models_name_is_cut_before_what_happens_or_the_context_goes() -> None:
    app = Bottom(READING)
    async with app.run_test(size=(80, 1)):
        assert READING.activity in app.said and READING.context in app.said
        assert READING.model not in app.said and app.said.strip().startswith("● Qwen")


async def test_a_nearly_full_context_has_a_sign() -> None:
    app = Bottom(READING)
    async with app.run_test(size=(120, 1)):
        assert "ctx 7,900 / 8,192 !" in app.said


@pytest.mark.parametrize(
    ("width", "activity", "said"),
    [
        (120, "", "trained to 4,096"),
        (60, "", "trained to 4,096"),
        (60, "reading the prompt 7 of 9", "ctx 7 · no limit"),
    ],
)
async def test_a_context_without_a_limit_says_so_however_narrow(width: int, activity: str, said: str) -> None:
    whole, short = words.context(7, None, 4096), words.context(7, None, 0)
    app = Bottom(Facts("● RWKV7-Goose-World3-1.5B", "Apple M4", whole, activity, "", "F1 help", "2.1 GiB", short))
    async with app.run_test(size=(width, 1)):
        assert said in app.said and activity in app.said and "● RWKV" in app.said


fact = st.text(st.sampled_from("abc 散歩│·1"), max_size=30)


@given(st.builds(Facts, *([fact] * 8)), st.integers(0, 200), st.integers(0, 10**6))
def test_whatever_it_is_told_it_keeps_to_its_width(facts: Facts, width: int, connected: int) -> None:
    gap, kept = _laid_out(facts, width, connected)
    assert not kept or sum(cell_len(part.text) + len(gap) for part in kept) - len(gap) <= width
