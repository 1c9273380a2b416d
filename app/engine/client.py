"""The UI's side of one engine process: starts it, asks it, and notices when it dies. It never imports MLX."""

import asyncio
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from app.ending import end
from app.engine import protocol
from app.engine.memory import ADVICE, kernel_kills, tells_of_want
from app.engine.protocol import (
    HEADER_SIZE,
    Cancel,
    Candidates,
    CandidatesFound,
    ChatMessage,
    Count,
    Counted,
    Embeddings,
    EmbeddingsFound,
    EngineFacts,
    Facts,
    Failed,
    FailureKind,
    Finished,
    Forget,
    Generate,
    Keep,
    Keeping,
    Load,
    Loaded,
    Pieces,
    PiecesFound,
    Progress,
    Reading,
    Reply,
    Request,
    SamplingOptions,
)
from app.errors import QuietlyError
from app.settings import Paths, private_folder
from model.choices import Choices
from model.prefix import shared_prefix

PATIENCE = 20.0
"""Seconds. A prompt is rendered, and a count made, within this time, or the worker is stuck and is killed."""

_SILENCE = 1.0
"""Seconds without a word in which a worker that was asked to end has ended, or is killed."""
_FAREWELL = 4.0
"""Seconds after which it is killed though it says that it still writes; its own limit is shorter."""
_LOGS_KEPT = 10
_LAST_WORDS = 2000
"""Bytes of a log in which a library says why it ended its process."""


class EngineError(QuietlyError):
    """What a person is told when the engine could not serve; `kind` says why without reading it."""

    def __init__(self, kind: FailureKind, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


class Engine:
    """One worker process with one model. Made by `start`; after `close`, a crash or a kill `alive` is False."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.facts: Loaded | None = None
        self.memory = 0
        """Bytes, the most that MLX has told of so far."""
        self._process = process
        self._log = log
        self._kills = kernel_kills()
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Queue[Reply | EngineError]] = {}
        self._counted: tuple[ChatMessage, ...] = ()
        """What the worker was asked to count last, in a session."""
        self._heard = 0
        """Replies so far."""
        self._obituary: EngineError | None = None
        self._killed = False
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, paths: Paths) -> "Engine":
        """A new worker, with nothing loaded yet. EngineError where the system has no room for one."""
        log = _new_log(paths.logs)
        try:
            with log.open("ab") as errors:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",  # a folder named `app` where the person stands must not be run
                    "-m",
                    "app.engine.worker",
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=errors,
                    env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"},
                    start_new_session=True,  # the terminal's Ctrl+C is the window's business
                )
        except OSError as error:
            raise EngineError(
                "engine", f"The engine could not be started ({error.strerror}); close other programs and try again."
            ) from error
        return cls(process, log)

    @property
    def alive(self) -> bool:
        return self._obituary is None and not self._killed

    @property
    def pid(self) -> int:
        return self._process.pid

    async def load(
        self,
        path: Path,
        conversions: Path,
        progress: Callable[[Progress], None] = lambda progress: None,
        *,
        choices: Choices | None = None,
        draft: Path | None = None,
    ) -> Loaded:
        """Open the checkpoint. EngineError where it cannot be; the engine is of no use then and should be closed.

        `choices`: how it is to be computed, where that was measured; None is as the rule has it. `draft`: a smaller
        model that is to guess ahead for it.
        """
        async with self._asking(
            lambda id: Load(
                id, path=str(path), conversions=str(conversions), choices=choices, draft=str(draft) if draft else ""
            )
        ) as request:
            while True:
                reply = await request.reply()
                if isinstance(reply, Loaded):
                    self.facts, self.memory = reply, reply.memory
                    return reply
                if isinstance(reply, Progress):
                    progress(reply)

    def generate(self, question: Generate) -> "Pending":
        """Ask for an answer: an exchange that gives Progress, Delta and at last Finished. The id is given here."""
        return self._asking(lambda id: msgspec.structs.replace(question, id=id))

    async def count(
        self, messages: Sequence[ChatMessage], session: str | None = None, reading: Reading | None = None
    ) -> Counted:
        """How many tokens these messages are as a prompt; with a session, as much of them as would be read there.

        EngineError("context") where they would be refused. What is counted again and again while something is typed
        crosses once.
        """
        same = 0 if session is None else shared_prefix(self._counted, messages)
        async with self._asking(
            lambda id: Count(id, tuple(messages[same:]), session=session, reading=reading or Reading(), same=same)
        ) as request:
            if session is not None:
                self._counted = tuple(messages)
            reply = await request.reply(within=PATIENCE)
            assert isinstance(reply, Counted)
            return reply

    async def pieces(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """The text of each of these tokens."""
        async with self._asking(lambda id: Pieces(id, token_ids=tuple(token_ids))) as request:
            reply = await request.reply(within=PATIENCE)
            assert isinstance(reply, PiecesFound)
            return reply.texts

    async def candidates(
        self,
        messages: Sequence[ChatMessage],
        position: int,
        *,
        session: str,
        sampling: SamplingOptions,
        reading: Reading,
        progress: Callable[[Progress], None] = lambda progress: None,
    ) -> CandidatesFound:
        """What could have stood at `position` of the last message. Whoever stops waiting stops the worker too."""
        async with self._asking(
            lambda id: Candidates(
                id,
                session=session,
                messages=tuple(messages),
                position=position,
                sampling=sampling,
                reading=reading,
            )
        ) as request:
            answered = False
            try:
                # The first reply says that the prompt was understood; how long reading it takes is the model's affair.
                reply = await request.reply(within=PATIENCE)
                while isinstance(reply, Progress):
                    progress(reply)
                    reply = await request.reply()
                answered = True
            finally:
                if not answered:
                    request.cancel()
            assert isinstance(reply, CandidatesFound)
            return reply

    async def embeddings(
        self, token_ids: Sequence[int], words: Sequence[Sequence[int]], near: int | None
    ) -> EmbeddingsFound:
        """What stands in the embedding matrix's rows of these tokens. It may wait behind an answer."""
        async with self._asking(
            lambda id: Embeddings(id, token_ids=tuple(token_ids), words=tuple(map(tuple, words)), near=near)
        ) as request:
            reply = await request.reply()
            assert isinstance(reply, EmbeddingsFound)
            return reply

    async def describe(self) -> EngineFacts:
        """What MLX computes on here; needs no model."""
        async with self._asking(lambda id: Facts(id)) as request:
            reply = await request.reply(within=PATIENCE)
            assert isinstance(reply, EngineFacts)
            return reply

    def when_gone(self, tell: Callable[[], object]) -> None:
        """Call `tell` once the process has ended, for whatever reason but the loop's end."""
        self._reader.add_done_callback(lambda reader: reader.cancelled() or tell())

    def keep(self, keeping: Keeping) -> None:
        """Let the worker keep so much of what it reads of conversations."""
        self._send(Keep(next(self._ids), keeping))

    def forget(self, session: str) -> None:
        """Drop what the worker holds of this conversation."""
        self._send(Forget(next(self._ids), session=session))

    def kill(self) -> None:
        """The last way to cancel: the process is gone at once."""
        self._killed = True
        end(self._process)

    async def close(self) -> None:
        """End the process, kindly first: it may have something to write. Returns when it is gone."""
        if self._process.stdin:
            self._process.stdin.close()
        last, heard = time.monotonic() + _FAREWELL, -1
        ending = asyncio.ensure_future(self._process.wait())
        while not ending.done() and self._heard != heard and time.monotonic() < last:
            heard = self._heard
            await asyncio.wait([ending], timeout=_SILENCE)
        if not ending.done():
            self.kill()
        await ending
        await self._reader

    # --- frames ---

    def _asking(self, make: Callable[[int], Request]) -> "Pending":
        return Pending(self, make(next(self._ids)))

    def _send(self, request: Request) -> None:
        if self._process.stdin and not self._process.stdin.is_closing():
            self._process.stdin.write(protocol.frame(request))

    async def _read(self) -> None:
        try:
            await self._listen()
        except asyncio.CancelledError:  # the loop ends, and this was not closed in time
            self.kill()
            await self._process.communicate()
            raise

    async def _listen(self) -> None:
        assert self._process.stdout
        try:
            while True:
                header = await self._process.stdout.readexactly(HEADER_SIZE)
                body = await self._process.stdout.readexactly(protocol.body_length(header))
                reply = protocol.decode_reply(body)
                self._heard += 1
                if isinstance(reply, Finished):
                    self.memory = max(self.memory, reply.memory)
                if waiting := self._waiting.get(reply.id):
                    waiting.put_nowait(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except ValueError:  # what came is no frame: nothing that follows can be understood
            self.kill()
            while await self._process.stdout.read(1 << 16):
                pass  # `wait` returns once the pipe is empty, and not before
        code = await self._process.wait()
        self._obituary = _obituary(code, self._log, kernel_kills() - self._kills)
        for waiting in self._waiting.values():
            waiting.put_nowait(self._obituary)


class Pending:
    """One request under way, as a context: while it lasts, replies are kept for it."""

    def __init__(self, engine: Engine, request: Request) -> None:
        self._engine = engine
        self._request = request
        self._replies: asyncio.Queue[Reply | EngineError] = asyncio.Queue()

    async def __aenter__(self) -> "Pending":
        engine = self._engine
        if engine._obituary:
            raise engine._obituary
        try:
            engine._send(self._request)
        except (ValueError, OverflowError) as error:
            raise EngineError("request", f"The engine cannot take this: {error}; shorten the message.") from error
        engine._waiting[self._request.id] = self._replies
        return self

    async def __aexit__(self, *_: object) -> None:
        self._engine._waiting.pop(self._request.id, None)

    def cancel(self) -> None:
        """Ask the worker to stop; replies go on until it has."""
        self._engine._send(Cancel(next(self._engine._ids), target=self._request.id))

    async def reply(self, within: float | None = None) -> Reply:
        """The next reply. EngineError if the worker refused, died, or said nothing `within` so many seconds."""
        try:
            reply = await asyncio.wait_for(self._replies.get(), within)
        except TimeoutError:
            self._engine.kill()
            raise EngineError(
                "engine", f"The engine did not answer within {within:.0f} s and was stopped; try again."
            ) from None
        if isinstance(reply, EngineError):
            raise reply
        if isinstance(reply, Failed):
            raise EngineError(reply.kind, reply.sentence)
        return reply


def _new_log(folder: Path) -> Path:
    """A fresh, private file for a worker's messages; older ones than the last few are removed. Where none can be made
    there is no log: that is no reason not to answer."""
    log = folder / f"engine-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns() % 10**6:06}.log"
    try:
        private_folder(folder)
        log.touch(mode=0o600)
        for old in sorted(folder.glob("engine-*.log"))[:-_LOGS_KEPT]:
            old.unlink(missing_ok=True)
    except OSError:
        return Path(os.devnull)
    return log


def _obituary(code: int, log: Path, kills: int) -> EngineError:
    """What is said of a worker that ended with `code`, while the kernel ended so many processes for want of memory."""
    how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
    then = "What it had written is kept, and the next message starts a new one"
    # Metal tells of it in a thread of its own, where MLX can do no more than end the process (mlx#3224).
    if (code == -signal.SIGKILL and kills > 0) or (code < 0 and tells_of_want(_last_words(log))):
        return EngineError("memory", f"The engine ran out of memory and was ended ({how}). {then}; {ADVICE}.")
    return EngineError("engine", f"The engine stopped unexpectedly ({how}). {then}; its log is {log}.")


def _last_words(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LAST_WORDS))
            return file.read(_LAST_WORDS).decode(errors="replace")
    except OSError:
        return ""
