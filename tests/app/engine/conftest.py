"""What tests of the engine share: a small model that speaks, a pool that is closed in the end, and how to listen."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.engine.pool import Pool
from app.engine.protocol import ChatMessage, Delta, Event, Finished
from app.settings import Paths
from tests.checkpoints import speaking_checkpoint

HELLO = [ChatMessage("user", "hello")]
LONG = [ChatMessage("user", "many words, again and again. " * 100)]


async def events(turn) -> list[Event]:
    return [event async for event in turn]


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def end(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


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


@pytest_asyncio.fixture
async def pool(places: Paths) -> AsyncIterator[Pool]:
    pool = Pool(places, memory=16 * 1024**3)
    yield pool
    await pool.close()
