"""One answer of a model: loaded first where needed, stopped at any moment."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app.engine.client import PATIENCE, Engine
from app.engine.protocol import Event, Finished, Generate, Loaded

if TYPE_CHECKING:
    from app.engine.pool import Pool


class Turn:
    """One answer. Iterate over its events, once; Finished comes last. EngineError where there is none to be had."""

    def __init__(self, pool: "Pool", checkpoint: Path, question: Generate) -> None:
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
        with self._pool.in_use(self._checkpoint):
            loading = asyncio.create_task(self._pool.engine(self._checkpoint, news.put_nowait))
            loading.add_done_callback(lambda _: news.put_nowait(None))
            self._interrupt = lambda: news.put_nowait(None)
            try:
                while not self._stopped and (event := await news.get()) is not None:
                    yield event
                engine = None if self._stopped else await loading
            finally:
                loading.cancel()  # only our waiting: others may want the model
            if engine is None:
                yield _NOTHING_WRITTEN
                return
            self.facts = engine.facts
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
