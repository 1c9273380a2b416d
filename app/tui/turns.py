"""The flow of a turn: question stored, answer begun, engine asked, text kept as it comes, end recorded.

It knows the store and an engine pool, and nothing of widgets: it posts messages, and whoever paints looks at
`Live` as often as it likes. One engine request runs at a time; what comes meanwhile waits its turn and says
so.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from textual.message import Message as Post

from app.errors import QuietlyError

if TYPE_CHECKING:
    from app.chat.store import Message, Outcome, Store
    from app.engine.protocol import ChatMessage, Event, Finished, Loaded, Progress
    from app.library.local import InstalledModel

HELD = 60.0
"""Seconds that the end of an answer waits for a file that another program holds."""
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
    unsaved: bool = False
    """The person has been told that it could not be stored."""
    prompt_tokens: int | None = None
    turn: TurnLike | None = None
    task: "asyncio.Task[None] | None" = None
    write_due: asyncio.TimerHandle | None = None


class AnswerEnded(Post):
    """An answer is complete, stopped or failed, and stored as such: `message`, or None where it could not be."""

    def __init__(self, live: Live, status: "Outcome", note: str, message: "Message | None") -> None:
        super().__init__()
        self.live, self.status, self.note, self.message = live, status, note, message


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

    async def send(self, conversation: int | None, text: str, model: "InstalledModel") -> "tuple[Message, Message]":
        """Store the question, begin its answer and ask the engine. Returns both messages; None is a new conversation.

        Raises whatever the store raises, before anything was asked: then nothing has happened. The disk, or another
        program that holds the file, may take its time: the window goes on meanwhile.
        """
        question, answer, messages = await asyncio.to_thread(self._begin, conversation, text, model)
        live = Live(answer.conversation, answer.id, model)
        self._lives[answer.conversation] = live
        live.task = asyncio.create_task(self._run(live, messages))
        return question, answer

    def _begin(
        self, conversation: int | None, text: str, model: "InstalledModel"
    ) -> "tuple[Message, Message, list[ChatMessage]]":
        from app.answering import prompt_of

        store = self._store
        record = store.create(model=model.name) if conversation is None else store.conversation(conversation)
        try:
            question = store.ask(record.id, record.head, text)
            answer = store.begin_answer(record.id, question.id, model.name, {})
            return question, answer, prompt_of(record.system_prompt, store.branch(record.id))
        except QuietlyError:
            if conversation is None:
                with contextlib.suppress(QuietlyError):
                    store.delete(record.id)  # nobody wants an empty one
            raise

    def stop(self, conversation: int) -> bool:
        """Stop the answer of `conversation`; what it has stays. False where none is being written."""
        live = self._lives.get(conversation)
        if live is None:
            return False
        if not live.stopping and not live.over:
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
        from app.answering import note_of

        status: Outcome = "complete"
        if finished.reason == "cancelled":
            status = "interrupted" if self._closing else "stopped"
        self._end(live, status, note=note_of(finished), finished=finished)

    def _end(self, live: Live, status: "Outcome", *, note: str = "", finished: "Finished | None" = None) -> None:
        """Record the end of an answer, aside; whoever watches is told once it is on disk."""
        if live.over:
            return
        live.over = True
        self._cancel_write(live)
        facts = live.turn.facts if live.turn is not None else None
        self._aside(self._keep(live, status, note, partial(self._record, live, status, note, facts, finished)))

    def _record(
        self, live: Live, status: "Outcome", note: str, facts: "Loaded | None", finished: "Finished | None"
    ) -> "Message":
        from app.answering import record

        return record(
            self._store,
            live.message,
            status,
            answer=live.answer,
            reasoning=live.reasoning,
            note=note,
            facts=facts,
            finished=finished,
        )

    async def _keep(self, live: Live, status: "Outcome", note: str, record: "Callable[[], Message]") -> None:
        from app.chat.failures import HeldError

        message: Message | None = None
        deadline = time.monotonic() + HELD
        while message is None:
            try:
                message = await asyncio.to_thread(record)
            except HeldError as error:
                live.stage = "waiting for the conversations file"
                live.version += 1
                if self._closing or time.monotonic() > deadline:
                    self._tell_unsaved(live, error)
                    break
            except Exception as error:
                self._tell_unsaved(live, error)
                break
        if self._lives.get(live.conversation) is live:  # not deleted meanwhile
            del self._lives[live.conversation]
            self._post(AnswerEnded(live, status, note, message))

    # --- keeping what has been written ---

    def _write_soon(self, live: Live) -> None:
        if live.write_due is None:
            from app.answering import STORE_EVERY

            live.write_due = asyncio.get_running_loop().call_later(STORE_EVERY, self._write, live)

    def _cancel_write(self, live: Live) -> None:
        if live.write_due is not None:
            live.write_due.cancel()
            live.write_due = None

    def _write(self, live: Live) -> None:
        live.write_due = None
        if not live.over:
            self._aside(self._write_aside(live))

    def _aside(self, work: "Coroutine[Any, Any, None]") -> None:
        task = asyncio.create_task(work)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _write_aside(self, live: Live) -> None:
        from app.chat.failures import HeldError

        # In a thread: the disk may take its time, and typing must not wait for it. A write that comes after
        # the answer's end changes nothing.
        try:
            await asyncio.to_thread(self._store.write, live.message, live.answer, live.reasoning)
        except HeldError:
            pass  # the next write, or the last, finds the file free again
        except Exception as error:
            if not live.stopping and not live.over:
                self._tell_unsaved(live, error)
                self.stop(live.conversation)

    def _tell_unsaved(self, live: Live, error: Exception) -> None:
        if live.unsaved or self._lives.get(live.conversation) is not live:
            return  # said already, or deleted meanwhile
        live.unsaved = True
        reason = str(error) if isinstance(error, QuietlyError) else self._report(error)
        self._post(Trouble(f"The answer could not be saved; copy what you need from the window. {reason}"))

    # --- the end ---

    def save(self) -> None:
        """Record every running answer as interrupted, at once: for an end that leaves no time to wait."""
        self._closing = True
        for live in self.lives:
            if not live.over:
                live.over = True
                self._cancel_write(live)
                with contextlib.suppress(QuietlyError):  # then what was written last stands, as interrupted
                    self._record(live, "interrupted", "", live.turn.facts if live.turn is not None else None, None)

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
        if self._writes:
            await asyncio.wait(self._writes, timeout=FAREWELL)
        self.save()
        if self._pool is not None:
            pool, self._pool = self._pool, None
            with contextlib.suppress(Exception):
                await asyncio.wait_for(pool.close(), timeout=2.0 - FAREWELL)
