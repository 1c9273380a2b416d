"""Titles by the model: only by a large one, only at rest, and never in the way of anything else."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from app.chat.store import Store
from app.chat.text import visible
from app.conducting.titles import LARGE_ENOUGH, cleaned
from app.engine.protocol import Event, Reading, SamplingOptions
from app.generation import GenerationSettings
from app.settings import Settings
from tests.app.tui.conftest import Opener, Window
from tests.app.tui.window import FakePool, FakeTurn

LARGE = LARGE_ENOUGH + 1


@pytest.fixture(autouse=True)
def at_rest_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.conducting.titles.REST", 0.02)


def pool_of(parameters: int) -> FakePool:
    pool = FakePool()
    pool.parameters = parameters
    return pool


async def answered(window: Window, question: str = "Why is the sky blue?") -> None:
    turns = len(window.pool.turns)
    await window.ask(question)
    window.pool.turns[turns].say("Scattering.")
    window.pool.turns[turns].finish()
    await window.ended()


async def test_a_large_model_gives_a_title_in_a_scratch_session(opened: Opener, store: Store) -> None:
    chosen = Settings(generation=GenerationSettings(temperature=2, thinking=True, context=300, max_tokens=1))
    async with opened(pool=pool_of(LARGE), settings=chosen) as window:
        await answered(window)
        await window.until(lambda: len(window.pool.turns) == 2)
        turn = window.pool.turns[1]
        assert turn.session == "title" and "Scattering." in turn.messages[-1].content
        assert (turn.sampling, turn.reading) == (SamplingOptions(), Reading(thinking=False))
        turn.say('"The Blue of the Sky."\n\nIs that good?')
        turn.finish()
        await window.until(lambda: store.conversations()[0].title == "The Blue of the Sky")
        await window.until(lambda: "The Blue of the Sky" in window.page)
        assert "title" in window.pool.forgotten
        await answered(window, "And the sea?")
        await window.ended()
        assert len(window.pool.turns) == 3  # it has one now


async def test_a_question_does_not_wait_for_a_title(opened: Opener, store: Store) -> None:
    async with opened(pool=pool_of(LARGE)) as window:
        await answered(window)
        await window.until(lambda: len(window.pool.turns) == 2)
        window.pool.turns[1].say("The Bl")
        await window.ask("And the sea?")
        assert window.pool.turns[2].session != "title"
        window.pool.turns[2].finish()
        await window.ended()
        assert store.conversations()[0].title == "Why is the sky blue?"


async def test_an_answer_can_be_stopped_while_a_title_takes_its_time_to_end(
    opened: Opener, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, usual = asyncio.Event(), FakeTurn.__aiter__

    async def reluctant(turn: FakeTurn) -> AsyncIterator[Event]:
        try:
            async for event in usual(turn):
                yield event
        finally:
            if turn.session == "title":
                await free.wait()

    monkeypatch.setattr(FakeTurn, "__aiter__", reluctant)
    async with opened(pool=pool_of(LARGE)) as window:
        await answered(window)
        await window.until(lambda: len(window.pool.turns) == 2)
        window.composer.load_text("Another question")
        await window.pilot.press("enter")
        await window.until(lambda: window.app.conductor.lives)
        await window.pilot.press("escape")
        await window.ended()
        assert store.branch(store.conversations()[0].id)[-1].status == "stopped"
        assert len(window.pool.turns) == 2
        free.set()


async def test_a_title_that_a_person_gave_stays(opened: Opener, store: Store) -> None:
    async with opened(pool=pool_of(LARGE)) as window:
        await answered(window)
        await window.until(lambda: len(window.pool.turns) == 2)
        store.rename(store.conversations()[0].id, "Mine")
        window.pool.turns[1].say("Not mine")
        window.pool.turns[1].finish()
        await window.until(lambda: "title" in window.pool.forgotten)
        await window.pilot.pause()
        assert store.conversations()[0].title == "Mine"


async def test_a_small_model_is_not_asked(opened: Opener, store: Store) -> None:
    async with opened(pool=pool_of(LARGE_ENOUGH - 1)) as window:
        await answered(window)
        await answered(window, "And the sea?")
        assert [turn.session for turn in window.pool.turns].count("title") == 0


@pytest.mark.parametrize(
    ("written", "title"),
    [
        ("The Sky", "The Sky"),
        ("\n\n  **Title:** “The Sky”.\nMore", "The Sky"),
        ("标题：蓝色的天空。", "蓝色的天空"),
        ("", ""),
        ("...", ""),
        ("\x1b]0;owned\x07Sky", "]0;ownedSky"),
    ],
)
def test_what_a_model_writes_becomes_a_title(written: str, title: str) -> None:
    assert cleaned(written) == title


@given(st.text())
def test_any_text_becomes_a_short_line(written: str) -> None:
    title = cleaned(written)
    assert cell_len(title) <= 60 and title == visible(title) and "\n" not in title
