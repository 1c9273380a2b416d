"""What is written is kept however long the disk takes, and an end of the program disturbs nobody who waits for it."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from app.chat.store import Store
from app.conducting.stores import Stores
from app.conducting.turns import Conductor
from app.settings import Settings
from tests.app.tui.window import STARTER, FakePool
from tests.waiting import PATIENCE, until


@pytest.fixture
def pool() -> FakePool:
    return FakePool()


@pytest_asyncio.fixture
async def conductor(pool: FakePool, store: Store) -> AsyncIterator[Conductor]:
    settings = Settings(name_conversations=False)
    conductor = Conductor(Stores(store), lambda: pool, lambda news: None, str, lambda: settings)
    yield conductor
    await conductor.close()


class Slow:
    """A disk that takes its time: what is done there stands still until it is to go on."""

    def __init__(self) -> None:
        self.reached, self._go_on = threading.Event(), threading.Event()

    def go_on(self) -> None:
        self._go_on.set()

    def wait(self) -> None:
        self.reached.set()
        assert self._go_on.wait(PATIENCE)


async def test_a_growing_answer_is_written_once_at_a_time_and_then_with_all_that_came_meanwhile(
    conductor: Conductor, pool: FakePool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.answering.STORE_EVERY", 0.0)
    disk, write, written = Slow(), store.write, list[str]()

    def slowly(message: int, answer: str, reasoning: str = "") -> None:
        written.append(answer)
        disk.wait()
        write(message, answer, reasoning)

    monkeypatch.setattr(store, "write", slowly)
    asked = await conductor.send(None, "hello", STARTER)
    await until(lambda: pool.turns)
    pool.turns[0].say("one")
    await until(lambda: written)
    [live] = conductor.lives
    for word in (" two", " three"):
        pool.turns[0].say(word)
        await until(lambda word=word: live.written.answer.endswith(word))
        await asyncio.to_thread(lambda: None)  # another write would have been begun before
    assert written == ["one"]
    disk.go_on()
    await until(lambda: store.branch(asked.answer.conversation)[-1].content == "one two three")
    assert written == ["one", "one two three"]


async def test_a_count_that_the_end_of_the_program_overtakes_is_no_error(
    conductor: Conductor, pool: FakePool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await conductor.send(None, "hello", STARTER)
    await until(lambda: pool.turns)
    pool.turns[0].finish()
    await until(lambda: not conductor.lives)
    disk, find = Slow(), store.conversation

    def slowly(conversation: int) -> object:
        disk.wait()
        return find(conversation)

    monkeypatch.setattr(store, "conversation", slowly)
    counting = asyncio.create_task(conductor.count(STARTER, asked.question.conversation, (), "more", ()))
    await until(disk.reached.is_set)
    await conductor.close()
    disk.go_on()
    await counting
