"""The engines that are running: which model each holds, which stay warm, which are retired.

As many models stay loaded as the memory allows, the least recently used retired first; on 16 GB or less, one.
"""

import asyncio
import contextlib
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

from app.engine.client import PATIENCE, Engine
from app.engine.protocol import (
    CandidatesFound,
    ChatMessage,
    Counted,
    Event,
    Finished,
    Generate,
    Loaded,
    Progress,
    Reading,
    SamplingOptions,
)
from app.settings import Paths, paths

_ONE_MODEL_UP_TO = 16 * 1024**3 + 512 * 1024**2
"""Bytes of memory; what is sold as 16 GB reports a little less or more."""


class Pool:
    """Turns checkpoints into answers. Every method belongs to the event loop that made it."""

    def __init__(self, places: Paths | None = None, memory: int | None = None) -> None:
        """`memory`: the machine's, in bytes; None asks the system."""
        self._paths = places or paths()
        self._memory = memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._engines: OrderedDict[Path, Engine] = OrderedDict()
        """Loaded engines, the most recently used last."""
        self._busy: dict[Engine, int] = {}
        self._loads: dict[Path, asyncio.Task[Engine]] = {}
        self._listeners: dict[Path, list[Callable[[Progress], None]]] = {}
        self._starting = asyncio.Lock()
        """One model loads at a time: room is made for each by what the others hold."""
        self._closing: set[asyncio.Task[None]] = set()

    def ask(
        self,
        checkpoint: Path,
        messages: Sequence[ChatMessage],
        *,
        session: str,
        sampling: SamplingOptions | None = None,
        reading: Reading | None = None,
        max_tokens: int | None = None,
    ) -> "Turn":
        """Answer the conversation with this model, which is loaded first where needed."""
        question = Generate(
            id=0,
            session=session,
            messages=tuple(messages),
            sampling=sampling or SamplingOptions(),
            reading=reading or Reading(),
            max_tokens=max_tokens,
        )
        return Turn(self, checkpoint, question)

    def loaded(self, checkpoint: Path) -> Loaded | None:
        """What is known of a model that is ready to answer; None for any other."""
        engine = self._engines.get(checkpoint)
        return engine.facts if engine and engine.alive else None

    async def load(self, checkpoint: Path, progress: Callable[[Progress], None] = lambda progress: None) -> Loaded:
        """Make the model ready. EngineError where it cannot be."""
        engine = await self.engine(checkpoint, progress)
        assert engine.facts
        return engine.facts

    async def count(
        self,
        checkpoint: Path,
        messages: Sequence[ChatMessage],
        *,
        session: str | None = None,
        reading: Reading | None = None,
    ) -> Counted | None:
        """How many tokens these messages are as a prompt; None while the model is not loaded.

        With a session: as they would be read there, the oldest left out where needed. EngineError("context") where
        they would be refused.
        """
        engine = self._engines.get(checkpoint)
        return await engine.count(messages, session, reading) if engine and engine.alive else None

    async def pieces(self, checkpoint: Path, token_ids: Sequence[int]) -> tuple[str, ...]:
        """The text of each of these tokens, by this model, which is loaded first where needed."""
        engine = await self.engine(checkpoint, lambda progress: None)
        with self.in_use(engine):
            return await engine.pieces(token_ids)

    async def candidates(
        self,
        checkpoint: Path,
        messages: Sequence[ChatMessage],
        position: int,
        *,
        session: str,
        sampling: SamplingOptions | None = None,
        reading: Reading | None = None,
        progress: Callable[[Progress], None] = lambda progress: None,
    ) -> CandidatesFound:
        """What could have stood at `position` of the last message, an answer with its token ids.

        `sampling`, `reading`: what it was written with. The model is loaded first where needed. EngineError where the
        answer is not this model's. Cancel the task to give up.
        """
        engine = await self.engine(checkpoint, progress)
        with self.in_use(engine):
            return await engine.candidates(
                messages,
                position,
                session=session,
                sampling=sampling or SamplingOptions(),
                reading=reading or Reading(),
                progress=progress,
            )

    def forget(self, session: str) -> None:
        """Drop what any engine holds of this conversation."""
        for engine in self._engines.values():
            engine.forget(session)

    async def close(self) -> None:
        """End all engines; returns when they are gone."""
        for task in self._loads.values():
            task.cancel()
        await asyncio.gather(*self._loads.values(), return_exceptions=True)
        for checkpoint in list(self._engines):
            self._retire(checkpoint)
        await asyncio.gather(*self._closing, return_exceptions=True)

    # --- engines ---

    @contextlib.contextmanager
    def in_use(self, engine: Engine) -> Iterator[None]:
        """While it lasts, the engine is not retired."""
        self._busy[engine] = self._busy.get(engine, 0) + 1
        try:
            yield
        finally:
            self._busy[engine] -= 1
            if not self._busy[engine]:
                del self._busy[engine]

    async def engine(self, checkpoint: Path, progress: Callable[[Progress], None]) -> Engine:
        """A living engine that holds this model; several askers share one load, and it ends with the last of them."""
        if (engine := self._engines.get(checkpoint)) and engine.alive:
            self._engines.move_to_end(checkpoint)
            return engine
        if checkpoint in self._engines:
            self._retire(checkpoint)
        task = self._loads.get(checkpoint)
        if task is None:
            task = asyncio.create_task(self._start(checkpoint))
            self._loads[checkpoint] = task
            task.add_done_callback(lambda done: self._load_ended(checkpoint, done))
        listeners = self._listeners.setdefault(checkpoint, [])
        listeners.append(progress)
        try:
            return await asyncio.shield(task)
        finally:
            listeners.remove(progress)
            if not listeners:
                # Nobody wants it any more: half a model must not take the memory that the next one needs.
                task.cancel()
                if self._loads.get(checkpoint) is task:
                    del self._loads[checkpoint]

    def _load_ended(self, checkpoint: Path, task: asyncio.Task[Engine]) -> None:
        if self._loads.get(checkpoint) is task:
            del self._loads[checkpoint]
        if not task.cancelled():
            task.exception()  # whoever waited has been told; with nobody waiting there is nobody to tell

    async def _start(self, checkpoint: Path) -> Engine:
        def spread(event: Progress) -> None:
            for listen in tuple(self._listeners[checkpoint]):
                listen(event)

        async with self._starting:
            await self._make_room()
            engine = await Engine.start(self._paths)
            try:
                await engine.load(checkpoint, self._paths.conversions, progress=spread)
            except BaseException:
                engine.kill()
                self._close_later(engine)
                raise
            self._engines[checkpoint] = engine
        return engine

    async def _make_room(self) -> None:
        """Retire what is least used, until the memory allows another model; busy engines are left to finish."""
        for checkpoint, engine in list(self._engines.items()):
            if not engine.alive:
                self._retire(checkpoint)
        while self._engines and not self._room_for_another():
            idle = [path for path, engine in self._engines.items() if not self._busy.get(engine)]
            if not idle:
                break
            self._retire(idle[0])
        await asyncio.gather(*self._closing)  # its memory is back before the next one loads

    def _room_for_another(self) -> bool:
        if self._memory <= _ONE_MODEL_UP_TO:
            return False
        held = sum(engine.facts.memory for engine in self._engines.values() if engine.facts)
        return held < self._memory // 3

    def _retire(self, checkpoint: Path) -> None:
        self._close_later(self._engines.pop(checkpoint))

    def _close_later(self, engine: Engine) -> None:
        task = asyncio.create_task(engine.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class Turn:
    """One answer. Iterate over its events, once; Finished comes last. EngineError where there is none to be had."""

    def __init__(self, pool: Pool, checkpoint: Path, question: Generate) -> None:
        self.facts: Loaded | None = None
        """The model's, once it is loaded."""
        self._pool = pool
        self._checkpoint = checkpoint
        self._question = question
        self._stopped = False
        self._interrupt: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """Ask for the end of the answer: Finished("cancelled") follows, with what there was until then."""
        self._stopped = True
        self._interrupt()

    async def __aiter__(self) -> AsyncIterator[Event]:
        news: asyncio.Queue[Event | None] = asyncio.Queue()
        loading = asyncio.create_task(self._pool.engine(self._checkpoint, news.put_nowait))
        loading.add_done_callback(lambda _: news.put_nowait(None))
        self._interrupt = lambda: news.put_nowait(None)
        try:
            while not self._stopped and (event := await news.get()) is not None:
                yield event
            if self._stopped:
                yield _NOTHING_WRITTEN
                return
            engine = await loading
        finally:
            loading.cancel()  # only our waiting: others may want the model
        self.facts = engine.facts
        with self._pool.in_use(engine):
            async for event in self._answer(engine):
                yield event

    async def _answer(self, engine: Engine) -> AsyncIterator[Event]:
        async with engine.generate(self._question) as request:
            self._interrupt = request.cancel
            if self._stopped:
                request.cancel()
            finished = False
            try:
                # The first reply says that the prompt was understood; how long reading it takes is the model's affair.
                reply = await request.reply(within=PATIENCE)
                while True:
                    finished = isinstance(reply, Finished)
                    if isinstance(reply, Event):
                        yield reply
                    if finished:
                        return
                    reply = await request.reply()
            finally:
                if not finished:
                    request.cancel()


_NOTHING_WRITTEN = Finished(
    id=0,
    reason="cancelled",
    prompt_tokens=0,
    reused_tokens=0,
    completion_tokens=0,
    token_ids=(),
    prefill_seconds=0,
    first_token_seconds=0,
    decode_seconds=0,
    memory=0,
)
"""The end of a turn that was stopped while its model was loading."""
