"""A conversation goes from one model to another and back: nothing is lost, nothing stays behind, no answer is wrong."""

import asyncio
import gc
import os
import random
import re
import statistics
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import pytest
import pytest_asyncio

from app.engine.policy import Appraisal
from app.engine.pool import Pool
from app.engine.protocol import ChatMessage, SamplingOptions
from tests.app.engine.conftest import HELLO, begun, end, events, text

GREEDY = SamplingOptions(temperature=0)
WORDS = 12
"""Tokens of an answer here."""
GIB = 1024**3
chance = random.Random(6)


@pytest_asyncio.fixture
async def pool(places) -> AsyncIterator[Pool]:
    """Two models stay loaded, as if each took a GiB and one more fitted beside it."""
    pool = Pool(places, appraise=lambda checkpoint, held: Appraisal(need=GIB, room=GIB))
    yield pool
    await pool.close()


async def answered(pool: Pool, model: Path, messages: Sequence[ChatMessage], session: str) -> ChatMessage:
    """What the model says to this, as the conversation keeps it."""
    seen = await events(pool.ask(model, messages, session=session, sampling=GREEDY, max_tokens=WORDS))
    return ChatMessage("assistant", text(seen), end(seen).token_ids, pool.loaded(model).fingerprint)


def as_text(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The conversation without the exact tokens of any model."""
    return [ChatMessage(message.role, message.content) for message in messages]


# --- going on -------------------------------------------------------------------------------------------------------


async def test_a_conversation_goes_on_in_another_model_as_if_it_had_been_its_own(pool, tiny, others):
    talk = [*HELLO, await answered(pool, tiny, HELLO, "talk"), ChatMessage("user", "and then?")]
    there = await answered(pool, others[0], talk, "talk")
    assert there == await answered(pool, others[0], as_text(talk), "fresh")
    assert there.model != talk[1].model
    talk += [there, ChatMessage("user", "go back")]
    back = pool.ask(tiny, talk, session="talk", sampling=GREEDY, max_tokens=WORDS)
    seen = await events(back)
    assert end(seen).reused_tokens > len(talk[1].token_ids), "the first model still knows how it began"
    assert pool.warm() == (tiny, others[0])


async def test_a_switch_in_the_midst_of_an_answer_leaves_both_as_they_were(pool, tiny, others):
    alone = await answered(pool, others[0], HELLO, "alone")
    turn = pool.ask(tiny, HELLO, session="talk", max_tokens=4000)
    writing = await begun(turn)
    assert await answered(pool, others[0], HELLO, "talk") == alone
    turn.stop()
    assert end([event async for event in writing]).reason == "cancelled"


# --- two hundred times ----------------------------------------------------------------------------------------------


def children(pid: int) -> list[int]:
    """The processes below `pid`, all the way down."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(child) for task in tasks for child in task.read_text().split()]
    return [*found, *(below for child in found for below in children(child))]


def engines_running() -> list[int]:
    return [pid for pid in children(os.getpid()) if b"app.engine.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def tree_memory() -> float:
    """MiB that this process and all below it have written to and nobody shares.

    What they only read, libraries and weights, is shared with whatever else runs here, and comes and goes with that.
    """
    gc.collect()
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in (os.getpid(), *children(os.getpid()))]
    return sum(int(re.search(r"^Private_Dirty:\s+(\d+)", rollup, re.MULTILINE)[1]) for rollup in rollups) / 1024


def slope(points: Sequence[tuple[int, float]]) -> float:
    """How much the second number grows with the first: the median over all pairs of points."""
    return statistics.median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2))


class Talk:
    """A conversation that is carried from model to model, and left in every way there is."""

    def __init__(self, pool: Pool, expected: Mapping[Path, ChatMessage]) -> None:
        """`expected`: what each model answers where nothing disturbs it."""
        self._pool, self._expected = pool, expected
        self.ways = (self.whole, self.stopped, self.abandoned, self.cancelled, self.unheard)

    async def whole(self, model: Path) -> None:
        assert await answered(self._pool, model, HELLO, "talk") == self._expected[model]

    async def stopped(self, model: Path) -> None:
        """Left in the midst of its answer, which is stopped."""
        turn = self._pool.ask(model, HELLO, session="talk", sampling=GREEDY, max_tokens=4000)
        writing = await begun(turn)
        turn.stop()
        self._agrees(model, end([event async for event in writing]).token_ids)

    async def abandoned(self, model: Path) -> None:
        """Left in the midst of its answer, to which nobody listens any more."""
        writing = await begun(self._pool.ask(model, HELLO, session="talk", max_tokens=4000))
        await writing.aclose()

    async def cancelled(self, model: Path) -> None:
        """Left while it loads, where it has to."""
        loading = asyncio.create_task(self._pool.load(model))
        await asyncio.wait([loading], timeout=chance.random() / 5)
        loading.cancel()
        await asyncio.wait([loading])

    async def unheard(self, model: Path) -> None:
        """Asked, and stopped before it answers, or soon after."""
        turn = self._pool.ask(model, HELLO, session="talk", sampling=GREEDY, max_tokens=4000)
        asyncio.get_running_loop().call_later(chance.random() / 5, turn.stop)
        self._agrees(model, end(await events(turn)).token_ids)

    def _agrees(self, model: Path, token_ids: tuple[int, ...]) -> None:
        """However far it came, it said what it says."""
        both = list(zip(token_ids, self._expected[model].token_ids or (), strict=False))
        assert all(said == known for said, known in both)


@pytest.mark.soak
async def test_two_hundred_switches_leave_nothing_behind_and_no_answer_is_wrong(pool, tiny, others):
    models = (tiny, *others)
    expected = {model: await answered(pool, model, HELLO, "talk") for model in models}
    assert len({answer.token_ids for answer in expected.values()}) == len(models)
    talk, now, points = Talk(pool, expected), tiny, []
    for count in range(1, 201):
        now = chance.choice([model for model in models if model != now])
        await chance.choice([talk.whole, *talk.ways])(now)
        assert len(pool.warm()) <= 2
        if count >= 20 and count % 10 == 0:
            for now in others:
                await talk.whole(now)
            await pool._ended()
            assert len(engines_running()) == 2
            points.append((count, round(tree_memory(), 2)))
    grown = slope(points) * 100
    print(f"\nMiB after so many switches: {points}; {grown:+.2f} in a hundred")
    assert grown < 1
