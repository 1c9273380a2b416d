"""Talking in plain mode with engines that the test writes: what is typed goes in, what is said comes out."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager

import pytest

from app.chat.store import Store
from app.library.local import InstalledModel
from app.plain.listening import INTERRUPT, Heard
from app.plain.program import Plain
from app.plain.speaking import Voice
from app.settings import Paths, Settings
from tests.app.tui.window import LARGER, STARTER, FakePool, FakeTurn
from tests.waiting import until


class Typed:
    """A keyboard."""

    is_terminal = False

    def __init__(self) -> None:
        self._lines: asyncio.Queue[Heard] = asyncio.Queue()

    def type(self, line: Heard) -> None:
        self._lines.put_nowait(line)

    async def next(self) -> Heard:
        return await self._lines.get()

    def interrupt(self) -> None:
        self.type(INTERRUPT)

    def any_length(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()


class Talk:
    """Plain mode under way."""

    def __init__(self, plain: Plain, typed: Typed, out: io.StringIO, pool: FakePool) -> None:
        self.plain, self.typed, self.pool, self._out = plain, typed, pool, out
        self._read = 0

    async def until(self, *wanted: str) -> str:
        """Wait until all of it has been said since this was last asked; returns what was."""
        await until(lambda: all(text in self._unread for text in wanted), lambda: self._unread)
        said = self._unread
        self._read += len(said)
        return said

    @property
    def _unread(self) -> str:
        return self._out.getvalue()[self._read :]

    async def hears(self, line: str) -> str:
        """Type a line; what is said until the next one is waited for."""
        self.typed.type(line)
        said = await self.until("You: ", "\nYou: ")
        return said.removeprefix(f"{line}\n").removesuffix("You: ")

    async def ask(self, question: str) -> FakeTurn:
        """Ask, and wait for the engine to be asked."""
        turns = len(self.pool.turns)
        self.typed.type(question)
        await until(lambda: len(self.pool.turns) > turns)
        return self.pool.turns[-1]

    async def answered(self, question: str, answer: str) -> str:
        """Ask, let the engine answer; what is said."""
        turn = await self.ask(question)
        turn.say(answer)
        turn.finish()
        return await self.until("Complete after", "\nYou: ")


Opener = Callable[..., AbstractAsyncContextManager[Talk]]


@pytest.fixture
def talking(store: Store, places: Paths) -> Opener:
    """Opens plain mode on the store; at its end it is left by Ctrl+D."""

    @contextlib.asynccontextmanager
    async def opened(settings: Settings | None = None, *models: InstalledModel) -> AsyncIterator[Talk]:
        typed, out, pool = Typed(), io.StringIO(), FakePool()
        found = models or (STARTER, LARGER)
        plain = Plain(store, lambda: pool, lambda _: found, places, settings or Settings(), Voice(out), typed)
        talk, running = Talk(plain, typed, out, pool), asyncio.create_task(plain.run())
        await talk.until("You: ")
        try:
            yield talk
        finally:
            typed.type(None)
            async with asyncio.timeout(10):
                await running

    return opened
