"""Models are loaded ahead, wait for the answer that is being written, say so, and are let go of in time."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from app.chat.store import Store
from app.conducting.lives import Loading
from app.conducting.stores import Stores
from app.conducting.turns import Conductor
from app.settings import Settings
from tests.app.tui.window import LARGER, STARTER, FakePool
from tests.waiting import until


class WatchfulPool(FakePool):
    """Notes who still waits for a model when it is unloaded."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.waited: list[int] = []

    async def load(self, *asked: object) -> object:
        self.waiting += 1
        try:
            return await super().load(*asked)
        finally:
            self.waiting -= 1

    async def unload(self, checkpoint: Path) -> None:
        self.waited.append(self.waiting)
        await super().unload(checkpoint)


@pytest_asyncio.fixture
async def pool() -> WatchfulPool:
    return WatchfulPool()


@pytest_asyncio.fixture
async def conductor(pool, tmp_path) -> AsyncIterator[Conductor]:
    with Store.open(tmp_path / "conversations.db") as store:
        settings = Settings(name_conversations=False)
        conductor = Conductor(Stores(store), lambda: pool, lambda news: None, str, lambda: settings)
        yield conductor
        await conductor.close()


async def test_a_model_that_is_to_be_loaded_while_another_answers_says_that_it_waits(conductor, pool):
    await conductor.send(None, "hello", STARTER)
    await until(lambda: bool(pool.turns))
    conductor.warm(LARGER.path)
    conductor.warm(STARTER.path)
    conductor.warm(LARGER.path)
    await until(lambda: conductor.loading(LARGER.path) is not None)
    assert conductor.loading(LARGER.path) == Loading("wait", 0, 0)
    assert conductor.loading(STARTER.path) is None, "it is loaded: it is the one that answers"
    pool.turns[0].finish()
    await until(lambda: pool.loaded(LARGER.path) is not None)
    assert conductor.loading(LARGER.path) is None


async def test_who_loaded_a_model_ahead_has_let_go_of_it_before_it_is_unloaded(conductor, pool):
    pool.holds = asyncio.Event()
    conductor.warm(LARGER.path)
    await until(lambda: pool.waiting == 1)
    await conductor.unload(LARGER.path)
    assert pool.waited == [0] and conductor.loading(LARGER.path) is None
