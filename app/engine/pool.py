"""The engines that are running: started when they are asked for, shared, watched, and ended when their time has come.

Which of them stay is for `policy` to say; what a model will take is told by whoever made the pool. As many models stay
loaded as there is room for, the least recently used retired first.
"""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from app import kept
from app.engine.client import Engine, EngineError
from app.engine.memory import shortage
from app.engine.policy import Appraisal, Held, Shortage, giving_way, in_the_way, outstayed, staying
from app.engine.protocol import (
    CandidatesFound,
    ChatMessage,
    Counted,
    EmbeddingsFound,
    Generate,
    Keeping,
    Loaded,
    Progress,
    Reading,
    SamplingOptions,
)
from app.engine.turn import Turn
from app.settings import Paths, paths, private_folder

Appraise = Callable[[Path, int], Appraisal]
"""Judges the load of a model where running engines hold so many bytes, which they could give back. May take a while."""

_ONE_MODEL_UP_TO = 16 * 1024**3 + 512 * 1024**2
"""Bytes of memory; what is sold as 16 GB reports a little less or more."""
_LOOK_EVERY = 3.0
"""Seconds between two looks at the clock and at the machine's memory, while any model is loaded."""
_WAITING, _BEGINNING = Progress(0, "wait", 0, 0), Progress(0, "load", 0, 0)


def room_of(memory: int) -> int:
    """Bytes that idle models may keep on a machine with so many: a third, and none of 16 GB or less."""
    return 0 if memory <= _ONE_MODEL_UP_TO else memory // 3


class _Warm(msgspec.Struct, eq=False):
    """An engine with its model."""

    engine: Engine
    need: int
    """Bytes it was judged to take."""
    sessions: int
    """Bytes that it may hold of conversations beside the present one."""
    used: float
    """When it was last asked."""
    keeping: Keeping | None = None
    """What it was last told to keep."""


class _Load:
    """A load under way, and those who wait for it."""

    def __init__(self, start: Callable[[Callable[[Progress], None]], Coroutine[Any, Any, Engine]]) -> None:
        """`start` makes the engine, and tells what it is given how far that has come."""
        self._listeners: list[Callable[[Progress], None]] = []
        self._told: Progress | None = None
        self.task = asyncio.create_task(start(self._tell))

    @contextlib.contextmanager
    def heard_by(self, progress: Callable[[Progress], None]) -> Iterator[None]:
        """While it lasts, `progress` is told; at first what it has missed."""
        self._listeners.append(progress)
        try:
            if self._told:
                progress(self._told)
            yield
        finally:
            self._listeners.remove(progress)

    @property
    def is_wanted(self) -> bool:
        return bool(self._listeners)

    def _tell(self, event: Progress) -> None:
        self._told = event
        for listen in tuple(self._listeners):
            listen(event)


class Pool:
    """Turns checkpoints into answers. Every method belongs to the event loop that made it."""

    def __init__(
        self,
        places: Paths | None = None,
        memory: int | None = None,
        *,
        appraise: Appraise | None = None,
        unload_after: Callable[[], float] = lambda: 0,
        keeping: Callable[[], Keeping] = Keeping,
        lookahead: Callable[[], bool] = lambda: True,
        shortage: Callable[[], Shortage] = shortage,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`memory`: the machine's, in bytes, None asks the system; it alone decides where nobody can `appraise`.
        `unload_after`: seconds after which an idle engine ends; 0 is never. `keeping`: what engines keep of what they
        have read, but for the folder and the memory: those are the pool's to say. `lookahead`: whether answers are
        guessed from what was said before."""
        self.on_change: Callable[[Path], object] = lambda checkpoint: None
        """Called with a model when its engine has come or gone."""
        self._paths = places or paths()
        memory = memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._appraise = appraise or (lambda checkpoint, held: Appraisal(room=room_of(memory)))
        self._unload_after, self._shortage, self._clock = unload_after, shortage, clock
        self._keeping, self._lookahead = keeping, lookahead
        self._forgotten: set[str] = set()
        """Sessions that were dropped, and not asked since."""
        self._engines: dict[Path, _Warm] = {}
        self._users: Counter[Path] = Counter()
        """How many wait for a model's load, or for what it does."""
        self._released = asyncio.Event()
        """Set whenever there are fewer users."""
        self._insisted: set[Path] = set()
        self._spare: asyncio.Task[Engine] | None = None
        """An engine without a model, for the next load."""
        self._loads: dict[Path, _Load] = {}
        self._starting = asyncio.Lock()
        """One model loads at a time: room is made for each by what the others hold."""
        self._closing: set[asyncio.Task[Any]] = set()
        """What is on its way to give its memory back."""
        self._watch: asyncio.Task[None] | None = None

    # --- what models are asked ---

    def ask(
        self,
        checkpoint: Path,
        messages: Sequence[ChatMessage],
        *,
        session: str,
        sampling: SamplingOptions | None = None,
        reading: Reading | None = None,
        max_tokens: int | None = None,
    ) -> Turn:
        """Answer the conversation with this model, which is loaded first where needed."""
        if not self._closing:  # else one that ends may still write what was there before
            self._forgotten.discard(session)
        question = Generate(
            id=0,
            session=session,
            messages=tuple(messages),
            sampling=sampling or SamplingOptions(),
            reading=reading or Reading(),
            max_tokens=max_tokens,
            lookahead=self._lookahead(),
        )
        return Turn(self, checkpoint, question)

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
        engine = self._living(checkpoint)
        return await engine.count(messages, session, reading) if engine else None

    async def pieces(self, checkpoint: Path, token_ids: Sequence[int]) -> tuple[str, ...]:
        """The text of each of these tokens, by this model, which is loaded first where needed."""
        async with self.using(checkpoint) as engine:
            return await engine.pieces(token_ids)

    async def embeddings(
        self,
        checkpoint: Path,
        token_ids: Sequence[int] = (),
        *,
        words: Sequence[Sequence[int]] = (),
        near: int | None = None,
        progress: Callable[[Progress], None] = lambda progress: None,
    ) -> EmbeddingsFound:
        """What stands in this model's embedding matrix, which is loaded first where needed; see `Embeddings`.

        `words` are compared with each other, and neighbours are found of the token `near`.
        """
        async with self.using(checkpoint, progress) as engine:
            return await engine.embeddings(token_ids, words, near)

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
        async with self.using(checkpoint, progress) as engine:
            return await engine.candidates(
                messages,
                position,
                session=session,
                sampling=sampling or SamplingOptions(),
                reading=reading or Reading(),
                progress=progress,
            )

    def forget(self, session: str) -> None:
        """Drop what any engine holds of this conversation, and what is kept of it on disk."""
        for warm in self._engines.values():
            warm.engine.forget(session)
        kept.forget(self._paths.sessions, session)
        self._forgotten.add(session)

    # --- which models are loaded ---

    def loaded(self, checkpoint: Path) -> Loaded | None:
        """What is known of a model that is ready to answer; None for any other."""
        engine = self._living(checkpoint)
        return engine.facts if engine else None

    def warm(self) -> tuple[Path, ...]:
        """The models that are ready to answer, the most recently used first."""
        living = [checkpoint for checkpoint in self._engines if self._living(checkpoint)]
        return tuple(sorted(living, key=lambda checkpoint: self._engines[checkpoint].used, reverse=True))

    def prepare(self) -> None:
        """Begin an engine for the next load, whichever model that will be: a small one is read in less time than its
        process takes to begin."""
        if self._spare is None:
            self._spare = asyncio.create_task(Engine.start(self._paths))

    async def load(self, checkpoint: Path, progress: Callable[[Progress], None] = lambda progress: None) -> Loaded:
        """Make the model ready. EngineError where it cannot be, of the kind "too big" where it was not even tried."""
        async with self.using(checkpoint, progress) as engine:
            assert engine.facts
            return engine.facts

    def insist(self, checkpoint: Path) -> None:
        """Load this model from now on though it be judged too big; once it has run out of memory, no more."""
        self._insisted.add(checkpoint)

    async def unload(self, checkpoint: Path) -> None:
        """Give back what a model holds, loaded or loading; returns when it is back. EngineError where it answers."""
        if load := self._loads.get(checkpoint):
            self._give_up(checkpoint, load)
        elif checkpoint in self._engines:
            if self._users[checkpoint]:
                raise EngineError("request", "This model is writing: stop its answer, then unload it.")
            self._retire([checkpoint])
        await self._ended()

    def look_after(self) -> None:
        """End the engines that nobody needs any more, and those that must give way where memory is short. Called every
        few seconds while any is loaded."""
        held = self._held()
        for warm in self._engines.values():
            self._let_keep(warm)
        self._retire(outstayed(held, self._clock(), self._unload_after()) | giving_way(held, self._shortage()))

    async def close(self) -> None:
        """End all engines; returns when they are gone."""
        if self._watch:
            self._watch.cancel()
        for checkpoint, load in tuple(self._loads.items()):
            self._give_up(checkpoint, load)
        self._dismiss()
        self._retire(list(self._engines))
        await self._ended()

    # --- engines ---

    @contextlib.contextmanager
    def in_use(self, checkpoint: Path) -> Iterator[None]:
        """While it lasts, the model's engine is not retired; where memory runs out, all others are."""
        self._users[checkpoint] += 1
        try:
            yield
        except EngineError as error:
            if error.kind == "memory":
                self._insisted.discard(checkpoint)
                self._retire(giving_way([held for held in self._held() if held.checkpoint != checkpoint], "much"))
            raise
        finally:
            self._users[checkpoint] -= 1
            if warm := self._engines.get(checkpoint):
                warm.used = self._clock()
            self._released.set()

    @contextlib.asynccontextmanager
    async def using(
        self, checkpoint: Path, progress: Callable[[Progress], None] = lambda progress: None
    ) -> AsyncIterator[Engine]:
        """The model's engine, in use."""
        with self.in_use(checkpoint):
            yield await self.engine(checkpoint, progress)

    async def engine(self, checkpoint: Path, progress: Callable[[Progress], None]) -> Engine:
        """A living engine that holds this model; several askers share one load, and it ends with the last of them.

        To be called, and what it gives to be used, within `in_use`.
        """
        if engine := self._living(checkpoint):
            return engine
        load = self._loads.get(checkpoint)
        if load is None:
            load = self._loads[checkpoint] = _Load(partial(self._start, checkpoint))
            load.task.add_done_callback(partial(self._load_ended, checkpoint, load))
        try:
            with load.heard_by(progress):
                await asyncio.wait([load.task])
            if load.task.cancelled():
                raise EngineError("request", "Loading was given up; ask again to load the model.")
            return load.task.result()
        finally:
            if not load.is_wanted:
                self._give_up(checkpoint, load)

    def _living(self, checkpoint: Path) -> Engine | None:
        warm = self._engines.get(checkpoint)
        return warm.engine if warm and warm.engine.alive else None

    def _held(self) -> list[Held]:
        return [
            Held(checkpoint, max(warm.need, warm.engine.memory), self._users[checkpoint] > 0, warm.used)
            for checkpoint, warm in self._engines.items()
        ]

    # --- coming ---

    def _load_ended(self, checkpoint: Path, load: _Load, task: asyncio.Task[Engine]) -> None:
        if self._loads.get(checkpoint) is load:
            del self._loads[checkpoint]
        if not task.cancelled():
            task.exception()  # whoever waited has been told; with nobody waiting there is nobody to tell

    def _give_up(self, checkpoint: Path, load: _Load) -> None:
        """End a load that goes on: half a model must not take the memory that the next one needs."""
        if self._loads.get(checkpoint) is load:
            del self._loads[checkpoint]
        if not load.task.done():
            load.task.cancel()
            self._await_end(load.task)

    async def _start(self, checkpoint: Path, tell: Callable[[Progress], None]) -> Engine:
        if self._starting.locked():
            tell(_WAITING)
        async with self._starting:
            try:
                appraisal = await self._make_room(checkpoint, tell)
                tell(_BEGINNING)
                engine = await self._fresh()
            except BaseException:
                self._dismiss()
                raise
            try:
                facts = await engine.load(
                    checkpoint, self._paths.conversions, tell, choices=appraisal.choices, draft=appraisal.draft
                )
            except BaseException:
                engine.kill()
                self._close_later(engine)
                raise
            engine.facts = msgspec.structs.replace(facts, warning=f"{appraisal.warning} {facts.warning}".strip())
            warm = self._engines[checkpoint] = _Warm(engine, appraisal.need, appraisal.sessions, self._clock())
            self._let_keep(warm)
        engine.when_gone(partial(self._bury, checkpoint, engine))
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._keep_looking())
        self.on_change(checkpoint)
        return engine

    async def _fresh(self) -> Engine:
        """An engine without a model: the one that was prepared, if it lives."""
        while True:
            self.prepare()
            assert self._spare
            engine = await asyncio.shield(self._spare)  # it stays the spare of whoever gives up now, to be dismissed
            self._spare = None
            if engine.alive:
                return engine

    def _let_keep(self, warm: _Warm) -> None:
        """Tell an engine what to keep of what it reads, where that is news."""
        keeping, folder = self._keeping(), self._paths.sessions
        if warm.keeping == keeping:
            return
        warm.keeping = keeping
        if keeping.disk:
            with contextlib.suppress(OSError):  # without a folder nothing is kept, and all is read again
                private_folder(folder)
        warm.engine.keep(msgspec.structs.replace(keeping, folder=str(folder), memory=warm.sessions))

    async def _make_room(self, checkpoint: Path, tell: Callable[[Progress], None]) -> Appraisal:
        """Judge the load, and retire what it leaves no room for; what is in use is left to finish first."""
        while True:
            self._retire([path for path in self._engines if not self._living(path)])
            await self._ended()  # their memory is back before another model loads
            held = sum(warm.engine.facts.memory for warm in self._engines.values() if warm.engine.facts)
            appraisal = await asyncio.to_thread(self._appraise, checkpoint, held)
            if appraisal.refusal and checkpoint not in self._insisted:
                raise EngineError("too big", appraisal.refusal)
            self.prepare()  # its process begins while others end
            self._released.clear()
            engines = self._held()
            self._retire(self._engines.keys() - staying(engines, appraisal.room))
            if not in_the_way(engines, appraisal.room):
                await self._ended()
                return appraisal
            tell(_WAITING)
            await self._released.wait()

    async def _keep_looking(self) -> None:
        while self._engines:
            await asyncio.sleep(_LOOK_EVERY)
            self.look_after()

    # --- going ---

    def _bury(self, checkpoint: Path, engine: Engine) -> None:
        """Note that an engine's process has ended, by whatever hand."""
        warm = self._engines.get(checkpoint)
        if warm and warm.engine is engine:
            self._retire([checkpoint])

    def _retire(self, checkpoints: Collection[Path]) -> None:
        for checkpoint in checkpoints:
            self._close_later(self._engines.pop(checkpoint).engine)
            self.on_change(checkpoint)

    async def _ended(self) -> None:
        """Returns once all that were told to end have. Whoever gives up waiting leaves them to it."""
        while self._closing:
            await asyncio.wait(self._closing)

    def _dismiss(self) -> None:
        """End the engine that was prepared for a load that will not be."""
        spare, self._spare = self._spare, None
        if spare is not None:
            self._await_end(asyncio.create_task(_end_at_once(spare)))

    def _close_later(self, engine: Engine) -> None:
        self._await_end(asyncio.create_task(self._end(engine)))

    async def _end(self, engine: Engine) -> None:
        await engine.close()
        for session in self._forgotten:  # it may have been writing one of these when it was told to end
            kept.forget(self._paths.sessions, session)

    def _await_end(self, task: asyncio.Task[Any]) -> None:
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _end_at_once(starting: asyncio.Task[Engine]) -> None:
    """End an engine that has nothing to keep, as soon as it has begun."""
    with contextlib.suppress(EngineError):
        engine = await starting
        engine.kill()
        await engine.close()
