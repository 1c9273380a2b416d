"""What tests of the engine share: a small model that speaks, a pool that is closed in the end, and how to listen."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.engine.client import Engine
from app.engine.pool import Pool
from app.engine.protocol import ChatMessage, Delta, Event, Finished
from app.settings import Paths
from tests.checkpoints import CHATML, speaking_checkpoint

HELLO = [ChatMessage("user", "hello")]
LONG = [ChatMessage("user", "many words, again and again. " * 100)]


async def events(turn) -> list[Event]:
    return [event async for event in turn]


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def end(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def only_engine(pool: Pool) -> Engine:
    (warm,) = pool._engines.values()
    return warm.engine


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def begun(turn) -> AsyncIterator[Event]:
    """A turn's further events, once it has come to its first word."""
    listening = aiter(turn)
    async for event in listening:
        if isinstance(event, Delta):
            return listening
    raise AssertionError("it ended without a word")


def long_conversation(turns: int) -> list[ChatMessage]:
    said = [
        message
        for turn in range(turns)
        for message in (ChatMessage("user", f"{turn:>400}"), ChatMessage("assistant", "well. " * 20))
    ]
    return [ChatMessage("system", "be kind"), *said, *HELLO]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that loads in no time and says nonsense for as long as it is let."""
    return speaking_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two more models like `tiny`, each with nonsense and a template of its own."""
    folder = tmp_path_factory.mktemp("others")
    first, second = (
        speaking_checkpoint(folder / f"other-{seed}", template=CHATML.replace("\n", f"{seed}"), seed=seed)
        for seed in (1, 2)
    )
    return first, second


@pytest_asyncio.fixture
async def pool(places: Paths) -> AsyncIterator[Pool]:
    pool = Pool(places, memory=16 * 1024**3)
    yield pool
    await pool.close()
