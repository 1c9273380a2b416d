"""The flow of a turn: question stored, answer begun, engine asked, text kept as it comes, end recorded.

It knows the store and an engine pool, and nothing of widgets: it posts messages, and whoever paints looks at
`Live` as often as it likes. One engine request runs at a time; what comes meanwhile waits its turn and says
so.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec
from textual.message import Message as Post

from app.errors import QuietlyError

if TYPE_CHECKING:
    from app.chat.store import Message, Outcome, Store
    from app.engine.protocol import ChatMessage, Event, Finished, Loaded, Progress
    from app.library.local import InstalledModel

STORE_EVERY = 0.25
"""Seconds between two writes of a growing answer: what a power cut may cost."""
PATIENCE = 3.0
"""Seconds an engine may take to stop before it is left behind."""
FAREWELL = 0.8
"""Seconds running answers get to end by themselves when the window closes."""


class TurnLike(Protocol):
    """What an engine makes of one question."""

    @property
    def facts(self) -> "Loaded | None": ...
    def stop(self) -> None: ...
    def __aiter__(self) -> "AsyncIterator[Event]": ...


class PoolLike(Protocol):
    """The engines, as the window needs them."""

    def ask(self, checkpoint: Path, messages: "Sequence[ChatMessage]", *, session: str) -> TurnLike: ...
    async def load(self, checkpoint: Path, progress: "Callable[[Progress], None]") -> "Loaded": ...
    def loaded(self, checkpoint: Path) -> "Loaded | None": ...
    def forget(self, session: str) -> None: ...
    async def close(self) -> None: ...


class Live(msgspec.Struct, eq=False):
    """An answer that is being written."""

    conversation: int
    message: int
    model: "InstalledModel"
    answer: str = ""
    reasoning: str = ""
    stage: str = "waiting for the engine"
    done: int = 0
    total: int = 0
    version: int = 0
    """Grows with every change, so that a painter can tell whether there is anything new."""
    stopping: bool = False
    over: bool = False
    prompt_tokens: int | None = None
    turn: TurnLike | None = None
    task: "asyncio.Task[None] | None" = None
    write_due: asyncio.TimerHandle | None = None


class AnswerEnded(Post):
    """An answer is complete, stopped or failed, and stored as such."""

    def __init__(self, live: Live, status: "Outcome", note: str) -> None:
        super().__init__()
        self.live, self.status, self.note = live, status, note


class ModelMoved(Post):
    """A model began loading, came further, is ready, or could not be loaded (`sentence`)."""

    def __init__(self, path: Path, sentence: str = "") -> None:
        super().__init__()
        self.path, self.sentence = path, sentence


class Trouble(Post):
    """Something that a person should know and that ended nothing."""

    def __init__(self, sentence: str) -> None:
        super().__init__()
        self.sentence = sentence


class Loading(msgspec.Struct, frozen=True):
    """How far a model has come."""

    stage: str
    done: int
    total: int


class Conductor:
    """Runs turns, and loads models ahead of them."""

    def __init__(
        self,
        store: "Store",
        pool: Callable[[], PoolLike],
        post: Callable[[Post], object],
        report: Callable[[BaseException], str],
    ) -> None:
        self._store = store
        self._make_pool = pool
        self._pool: PoolLike | None = None
        self._post = post
        self._report = report
        self._engine = asyncio.Lock()
        self._lives: dict[int, Live] = {}
        self._loading: dict[Path, Loading] = {}
        self._warming: tuple[Path, asyncio.Task[None]] | None = None
        self._writes: set[asyncio.Task[None]] = set()
        self._closing = False

    # --- what is going on ---

    def live(self, conversation: int | None) -> Live | None:
        """The answer being written in `conversation`."""
        return None if conversation is None else self._lives.get(conversation)

    @property
    def lives(self) -> Sequence[Live]:
        return tuple(self._lives.values())

    def loading(self, path: Path) -> Loading | None:
        """How far loading of `path` has come, while it loads."""
        return self._loading.get(path)

    def loaded(self, path: Path) -> "Loaded | None":
        """What is known of `path` while an engine holds it."""
        return None if self._pool is None else self._pool.loaded(path)

    # --- models ---

    def warm(self, path: Path) -> None:
        """Load `path` in the background. A model that was being loaded ahead, and is no longer wanted, is let
        go."""
        if self._warming is not None:
            warming, task = self._warming
            if warming == path and not task.done():
                return
            task.cancel()
        self._warming = (path, asyncio.create_task(self._warm(path)))

    async def _warm(self, path: Path) -> None:
        try:
            # Not beside an answer that is being written: two models may not fit. A question that comes while
            # this loads shares the load.
            async with self._engine:
                pool = self._engines()
            if pool.loaded(path) is None:
                self._note_loading(path, Loading("load", 0, 0))
                await pool.load(path, lambda seen: self._progress(path, seen))
        except QuietlyError as error:
            self._loading.pop(path, None)
            self._post(ModelMoved(path, str(error)))
        except Exception as error:
            self._loading.pop(path, None)
            self._post(ModelMoved(path, f"{path.name} could not be loaded. {self._report(error)}"))
        finally:
            if self._loading.pop(path, None) is not None:
                self._post(ModelMoved(path))

    def _progress(self, path: Path, seen: "Progress") -> None:
        self._note_loading(path, Loading(seen.stage, seen.done, seen.total))

    def _note_loading(self, path: Path, loading: Loading) -> None:
        self._loading[path] = loading
        self._post(ModelMoved(path))

    def _engines(self) -> PoolLike:
        if self._pool is None:
            self._pool = self._make_pool()
        return self._pool

    # --- turns ---

    def send(self, conversation: int, text: str, model: "InstalledModel") -> "tuple[Message, Message]":
        """Store the question, begin its answer and ask the engine. Returns both messages.

        Raises whatever the store raises, before anything was asked: then nothing has happened.
        """
        from app.answering import prompt_of

        record = self._store.conversation(conversation)
        question = self._store.ask(conversation, record.head, text)
        messages = prompt_of(record.system_prompt, self._store.branch(conversation))
        answer = self._store.begin_answer(conversation, question.id, model.name, {})
        live = Live(conversation, answer.id, model)
        self._lives[conversation] = live
        live.task = asyncio.create_task(self._run(live, messages))
        return question, answer

    def stop(self, conversation: int) -> bool:
        """Stop the answer of `conversation`; what it has stays. False where none is being written."""
        live = self._lives.get(conversation)
        if live is None:
            return False
        if not live.stopping:
            live.stopping = True
            live.version += 1
            self._ask_to_stop(live)
        return True

    def _ask_to_stop(self, live: Live) -> None:
        if live.task is None:
            return
        if live.turn is None:
            live.task.cancel()
        else:
            live.turn.stop()
            asyncio.get_running_loop().call_later(PATIENCE, live.task.cancel)

    def forget(self, conversation: int) -> None:
        """Let go of a conversation that is about to be deleted; what its answer still says goes nowhere."""
        live = self._lives.pop(conversation, None)
        if live is not None:
            live.over = True
            self._cancel_write(live)
            self._ask_to_stop(live)
        if self._pool is not None:
            from app.answering import session_of

            self._pool.forget(session_of(conversation))

    async def _run(self, live: Live, messages: "list[ChatMessage]") -> None:
        from app.answering import session_of

        try:
            async with self._engine:
                live.stage = "starting"
                live.version += 1
                live.turn = self._engines().ask(live.model.path, messages, session=session_of(live.conversation))
                if live.over:
                    live.turn.stop()
                finished = await self._listen(live, live.turn)
            self._end_well(live, finished)
        except asyncio.CancelledError:
            self._end(live, "interrupted" if self._closing else "stopped")
        except QuietlyError as error:
            # A dead engine interrupted what was going well; anything else is why there is no answer.
            died = getattr(error, "kind", "") == "engine"
            self._end(live, "interrupted" if died else "failed", note=str(error))
        except Exception as error:
            self._end(live, "failed", note=f"This answer failed inside Quietly. {self._report(error)}")
        finally:
            self._loading.pop(live.model.path, None)
            self._post(ModelMoved(live.model.path))

    async def _listen(self, live: Live, turn: TurnLike) -> "Finished | None":
        from app.engine.protocol import Delta, Finished, Progress

        async for event in turn:
            live.version += 1
            match event:
                case Delta(part="answer", text=text):
                    live.answer += text
                case Delta(text=text):
                    live.reasoning += text
                case Progress(stage=stage, done=done, total=total):
                    live.stage, live.done, live.total = stage, done, total
                    if stage == "prefill":
                        live.prompt_tokens = total
                        if self._loading.pop(live.model.path, None) is not None:
                            self._post(ModelMoved(live.model.path))
                    else:
                        self._note_loading(live.model.path, Loading(stage, done, total))
                case Finished():
                    return event
            if isinstance(event, Delta):
                if self._loading.pop(live.model.path, None) is not None:
                    self._post(ModelMoved(live.model.path))
                live.stage = "writing" if event.part == "answer" else "thinking"
                self._write_soon(live)
        return None

    def _end_well(self, live: Live, finished: "Finished | None") -> None:
        if finished is None:
            self._end(live, "interrupted", note="The engine ended without a word; ask again.")
            return
        from app.answering import NOTES

        status: Outcome = "complete"
        if finished.reason == "cancelled":
            status = "interrupted" if self._closing else "stopped"
        self._end(live, status, note=NOTES.get(finished.reason, ""), finished=finished)

    def _end(self, live: Live, status: "Outcome", *, note: str = "", finished: "Finished | None" = None) -> None:
        if live.over:
            return
        live.over = True
        self._cancel_write(live)
        self._lives.pop(live.conversation, None)
        from app.answering import record

        try:
            record(
                self._store,
                live.message,
                status,
                answer=live.answer,
                reasoning=live.reasoning,
                note=note,
                facts=live.turn.facts if live.turn is not None else None,
                finished=finished,
            )
        except Exception as error:
            self._post(Trouble(self._unsaved(error)))
        self._post(AnswerEnded(live, status, note))

    # --- keeping what has been written ---

    def _write_soon(self, live: Live) -> None:
        if live.write_due is None:
            live.write_due = asyncio.get_running_loop().call_later(STORE_EVERY, self._write, live)

    def _cancel_write(self, live: Live) -> None:
        if live.write_due is not None:
            live.write_due.cancel()
            live.write_due = None

    def _write(self, live: Live) -> None:
        live.write_due = None
        if not live.over:
            task = asyncio.create_task(self._write_aside(live))
            self._writes.add(task)
            task.add_done_callback(self._writes.discard)

    async def _write_aside(self, live: Live) -> None:
        # In a thread: the disk may take its time, and typing must not wait for it. A write that comes after
        # the answer's end changes nothing.
        try:
            await asyncio.to_thread(self._store.write, live.message, live.answer, live.reasoning)
        except Exception as error:
            if not live.stopping and not live.over:
                self._post(Trouble(self._unsaved(error)))
                self.stop(live.conversation)

    def _unsaved(self, error: Exception) -> str:
        reason = str(error) if isinstance(error, QuietlyError) else self._report(error)
        return f"The answer could not be saved; copy what you need from the window. {reason}"

    # --- the end ---

    def save(self) -> None:
        """Record every running answer as interrupted, at once: for an end that leaves no time to wait."""
        self._closing = True
        for live in self.lives:
            self._end(live, "interrupted")

    async def close(self) -> None:
        """End running answers, keep what they have, and close the engines; takes two seconds at most."""
        self._closing = True
        tasks = [live.task for live in self.lives if live.task is not None]
        for live in self.lives:
            live.stopping = True
            if live.turn is None and live.task is not None:
                live.task.cancel()
            elif live.turn is not None:
                live.turn.stop()
        if self._warming is not None:
            self._warming[1].cancel()
            tasks.append(self._warming[1])
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=FAREWELL)
            for task in late:
                task.cancel()
        self.save()
        if self._pool is not None:
            pool, self._pool = self._pool, None
            with contextlib.suppress(Exception):
                await asyncio.wait_for(pool.close(), timeout=2.0 - FAREWELL)
