"""The flow of a turn: question stored, answer begun, engine asked, text kept as it comes, end recorded.

It knows the stores and an engine pool, and nothing of screens: it says what happens, and whoever shows it looks at
`Live` as often as it likes. One engine request runs at a time; what comes meanwhile waits its turn and says so.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.conducting.engines import PoolLike, TurnLike
from app.conducting.keeping import Keeper
from app.conducting.lives import (
    AnswerBegun,
    AnswerEnded,
    Entitled,
    FirstWords,
    Live,
    Loading,
    ModelMoved,
    News,
    Trouble,
)
from app.conducting.titles import Titles
from app.errors import QuietlyError

if TYPE_CHECKING:
    from app.chat.store import Attachment, Message, Outcome
    from app.conducting.stores import Stores
    from app.engine.protocol import (
        CandidatesFound,
        ChatMessage,
        Counted,
        Finished,
        Loaded,
        Progress,
        Reading,
    )
    from app.generation import GenerationSettings
    from app.library.local import InstalledModel
    from app.settings import Settings

PATIENCE = 3.0
"""Seconds an engine may take to stop before it is left behind."""
FAREWELL = 0.8
"""Seconds running answers get to end by themselves when the program does."""
_ENGINES_END = 5.0
"""Seconds engines may take to end; each ends itself, or is ended, before."""
_EMPTY_PAGE = "empty page"
"""The session of a conversation that there is not yet: nothing is ever kept for it."""


class Asked(msgspec.Struct, frozen=True):
    """A question that is stored, and the answer that has begun to it."""

    question: "Message"
    answer: "Message"


class Conductor:
    """Runs turns, and loads models ahead of them."""

    def __init__(
        self,
        stores: "Stores",
        pool: Callable[[], PoolLike],
        post: Callable[[News], object],
        report: Callable[[BaseException], str],
        settings: "Callable[[], Settings]",
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._make_pool = pool
        self._pool: PoolLike | None = None
        self._post = post
        self._report = report
        self._engine = asyncio.Lock()
        self._lives: dict[int, Live] = {}  # by the answer's message
        self._loading: dict[Path, Loading] = {}
        self._warming: tuple[Path, asyncio.Task[None]] | None = None
        self._keeper = Keeper(stores, post, report, lambda live: self.stop(live.conversation))
        self._titles = Titles(
            stores.of, lambda conversation: post(Entitled(conversation)), lambda: settings().name_conversations
        )
        self._counted: tuple[str, Sequence[Message], Sequence[ChatMessage]] = "", (), ()
        """What stands before the words that were counted last: what models are told, the messages, and both as these
        are read."""
        self._closing = False

    # --- what is going on ---

    @property
    def lives(self) -> Sequence[Live]:
        return tuple(self._lives.values())

    def lives_in(self, conversation: int | None) -> Sequence[Live]:
        """The answers being written in `conversation`: several, where models answer side by side."""
        return tuple(live for live in self._lives.values() if live.conversation == conversation)

    def live(self, conversation: int | None) -> Live | None:
        """The answer being written in `conversation`; of several the one whose turn it is."""
        found = self.lives_in(conversation)
        return next((live for live in found if not live.over), found[0] if found else None)

    def loading(self, path: Path) -> Loading | None:
        """How far loading of `path` has come, while it loads."""
        return self._loading.get(path)

    def loaded(self, path: Path) -> "Loaded | None":
        """What is known of `path` while an engine holds it."""
        return None if self._pool is None else self._pool.loaded(path)

    # --- models ---

    def prepare(self) -> None:
        """Let what a load needs begin, before it is known which model will be loaded."""
        self._engines().prepare()

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
            if self._engine.locked() and self.loaded(path) is None and path not in self._loading:
                self._note_loading(path, Loading("wait", 0, 0))
            # Not beside an answer that is being written: two models may not fit. A question that comes while
            # this loads shares the load.
            async with self._engine:
                await self._titles.give_way()
                pool = self._engines()
            if pool.loaded(path) is None:
                self._note_loading(path, Loading("load", 0, 0))
                facts = await pool.load(path, lambda seen: self._progress(path, seen))
                if facts.warning:
                    self._post(Trouble(facts.warning))
        except QuietlyError as error:
            self._loading.pop(path, None)
            self._post(ModelMoved(path, str(error), too_big=getattr(error, "kind", "") == "too big"))
        except Exception as error:
            self._loading.pop(path, None)
            self._post(ModelMoved(path, f"{path.name} could not be loaded. {self._report(error)}"))
        finally:
            if self._loading.pop(path, None) is not None:
                self._post(ModelMoved(path))

    def insist(self, path: Path) -> None:
        """Load `path` in the background though it was judged too big."""
        self._engines().insist(path)
        self.warm(path)

    async def unload(self, path: Path) -> None:
        """Give back the memory that `path` holds, loaded or loading. QuietlyError where it is answering."""
        if self._warming is not None and self._warming[0] == path:
            warming, self._warming = self._warming[1], None
            warming.cancel()
            await asyncio.wait([warming])  # else it would still count as one who uses the model
        if self._pool is not None:
            await self._pool.unload(path)
        self._post(ModelMoved(path))

    def _progress(self, path: Path, seen: "Progress") -> None:
        self._note_loading(path, Loading(seen.stage, seen.done, seen.total))

    def _note_loading(self, path: Path, loading: Loading) -> None:
        self._loading[path] = loading
        self._post(ModelMoved(path))

    @property
    def pool(self) -> PoolLike:
        """The engines, for what is asked of a model beside answers."""
        return self._engines()

    def _engines(self) -> PoolLike:
        if self._pool is None:
            self._pool = self._make_pool()
            self._pool.on_change = lambda path: self._post(ModelMoved(path))
        return self._pool

    # --- questions and answers ---
    #
    # Each of these stores what is needed, begins an answer and asks the engine; it returns once the disk has it.
    # They raise whatever the store raises, before anything was asked: then nothing has happened. The disk, or another
    # program that holds the file, may take its time: whoever waits goes on meanwhile.

    async def send(
        self,
        conversation: int | None,
        text: str,
        model: "InstalledModel",
        attachments: "Sequence[Attachment]" = (),
        *,
        seen: "Sequence[Message]" = (),
        temporary: bool = False,
        settings: "GenerationSettings | None" = None,
        system_prompt: str | None = None,
    ) -> Asked:
        """Ask in a conversation; None is a new one, kept in memory alone where it is `temporary`.

        The question follows the messages that are `seen`, whatever another window has added meanwhile: no model reads
        what the person does not see. ChangedError where they have other words by now.

        `settings` and `system_prompt` are what a new one begins with; where the latter is None, the program's.
        """

        def ask() -> "tuple[Message, Message]":
            if conversation is None:
                store = self._stores.memory if temporary else self._stores.disk
                record = store.create(system_prompt=self._told(system_prompt), model=model.name, settings=settings)
            else:
                store = self._stores.of(conversation)
                record = store.conversation(conversation)
                self._stores.check_seen(seen)
            try:
                question = store.ask(record.id, seen[-1].id if seen else None, text, attachments)
                return question, self._begin(question, model)
            except QuietlyError:
                if conversation is None:
                    with contextlib.suppress(QuietlyError):
                        store.delete(record.id)  # nobody wants an empty one
                raise

        return await self._ask(ask, model)

    async def ask_instead(
        self, message: "Message", text: str, model: "InstalledModel", attachments: "Sequence[Attachment]" = ()
    ) -> Asked:
        """Ask `text` in place of the question `message`, as a branch of its own."""

        def ask() -> "tuple[Message, Message]":
            store = self._stores.of(message.conversation)
            question = store.ask(message.conversation, message.parent, text, attachments)
            return question, self._begin(question, model)

        return await self._ask(ask, model)

    async def answer(self, question: "Message", model: "InstalledModel") -> "Message":
        """Another answer to `question`, beside those it has."""
        return await self._answer(lambda: self._begin(question, model), model)

    def _begin(self, question: "Message", model: "InstalledModel") -> "Message":
        from app.answering import to_store

        settings = to_store(self._in_force(model, question.conversation))
        store = self._stores.of(question.conversation)
        return store.begin_answer(question.conversation, question.id, model.name, settings)

    async def go_on(self, message: "Message", model: "InstalledModel") -> "Message":
        """Continue the answer `message` where it ended; where something follows it already, in a branch.

        ChangedError where it has other words by now. It goes on with the settings that are in force now.
        """

        def resume() -> "Message":
            self._stores.check_seen([message])
            store = self._stores.of(message.conversation)
            if store.children(message.id, message.conversation):
                return self._beside(message, model, message.content, message.reasoning, message.token_ids)
            return store.resume(message.id, model.name, self._going_on(message, model))

        return await self._answer(resume, model, continued=True)

    async def go_on_from(
        self, message: "Message", model: "InstalledModel", content: str, reasoning: str, token_ids: Sequence[int]
    ) -> "Message":
        """An answer beside `message` that begins with these words and exact tokens."""
        return await self._answer(
            lambda: self._beside(message, model, content, reasoning, token_ids), model, continued=True
        )

    def _beside(
        self,
        message: "Message",
        model: "InstalledModel",
        content: str,
        reasoning: str,
        token_ids: Sequence[int] | None,
    ) -> "Message":
        assert message.parent is not None  # an answer follows its question
        return self._stores.of(message.conversation).begin_answer(
            message.conversation,
            message.parent,
            model.name,
            self._going_on(message, model),
            content=content,
            reasoning=reasoning,
            token_ids=token_ids,
            fingerprint=message.fingerprint,
        )

    def _going_on(self, message: "Message", model: "InstalledModel") -> dict[str, object]:
        from app.answering import continued_with, to_store

        return to_store(continued_with(self._in_force(model, message.conversation), message))

    def _in_force(
        self, model: "InstalledModel", conversation: int | None, begins_with: "GenerationSettings | None" = None
    ) -> "GenerationSettings":
        """What was chosen for answers of `model` in a conversation; a new one `begins_with` settings of its own."""
        from app.answering import effective
        from app.generation import GenerationSettings

        own = begins_with or GenerationSettings()
        if conversation is not None:
            own = self._stores.of(conversation).conversation(conversation).settings
        return effective(own, self._stores.disk.model_settings(model.name), self._settings().generation)

    def _told(self, system_prompt: str | None) -> str:
        """What a new conversation tells its models, where `system_prompt` was chosen for it, or nothing was."""
        return self._settings().system_prompt if system_prompt is None else system_prompt

    async def _ask(self, ask: "Callable[[], tuple[Message, Message]]", model: "InstalledModel") -> Asked:
        questions: list[Message] = []

        def begin() -> "Message":
            question, answer = ask()
            questions.append(question)
            return answer

        answer = await self._answer(begin, model)
        return Asked(questions[0], answer)

    async def _answer(
        self, begin: "Callable[[], Message]", model: "InstalledModel", *, continued: bool = False
    ) -> "Message":
        """Let `begin` store what it stores, then ask the engine for the answer that it returns."""
        from app.answering import Written

        def stored() -> "tuple[Message, list[ChatMessage]]":
            answer = begin()
            return answer, self._prompt(answer, continued)

        answer, prompt = await asyncio.to_thread(stored)
        live = Live(answer.conversation, answer.id, model, Written(answer.content, answer.reasoning), answer)
        self._lives[answer.id] = live
        live.task = asyncio.create_task(self._run(live, prompt))
        # Stopped before its first step, a task runs none of what it would do at its end.
        live.task.add_done_callback(lambda _: self._end(live, "interrupted" if self._closing else "stopped"))
        self._post(AnswerBegun(live))
        return answer

    def _prompt(self, answer: "Message", continued: bool = False) -> "list[ChatMessage]":
        """What the engine reads for `answer`: the conversation up to it, and what it has already where it is to be
        `continued`."""
        from app.answering import prompt_of

        store = self._stores.of(answer.conversation)
        told = store.conversation(answer.conversation).system_prompt
        # Not to the head, which another window may have moved meanwhile.
        return prompt_of(told, store.branch(answer.conversation, answer.id), continued=continued)

    def stop(self, conversation: int) -> bool:
        """Stop what is being written in `conversation`; what there is stays. False where nothing is."""
        lives = self.lives_in(conversation)
        for live in lives:
            if not live.stopping and not live.over:
                live.stopping = True
                live.version += 1
                self._ask_to_stop(live)
        return bool(lives)

    def _ask_to_stop(self, live: Live) -> None:
        if live.task is None:
            return
        if live.turn is None:
            live.task.cancel()
        else:
            live.turn.stop()
            asyncio.get_running_loop().call_later(PATIENCE, live.task.cancel)

    def forget(self, conversation: int) -> None:
        """Let go of a conversation that is about to be deleted; what its answers still say goes nowhere."""
        for live in self.lives_in(conversation):
            del self._lives[live.message]
            live.over = live.forgotten = True
            self._keeper.cancel(live)
            self._ask_to_stop(live)
        self.let_go(conversation)

    def let_go(self, conversation: int) -> None:
        """Drop what models have read of a conversation, in memory and on disk: something of it is deleted."""
        from app.answering import session_of

        self._engines().forget(session_of(conversation))

    async def _run(self, live: Live, messages: "list[ChatMessage]") -> None:
        from app.answering import reading_of, sampling_of, session_of, settings_of

        chosen = settings_of(live.begun)
        try:
            async with self._engine:
                await self._titles.give_way()
                live.stage = "starting"
                live.version += 1
                live.turn = self._engines().ask(
                    live.model.path,
                    messages,
                    session=session_of(live.conversation),
                    sampling=sampling_of(chosen),
                    reading=reading_of(chosen),
                    max_tokens=chosen.max_tokens,
                )
                if live.over or live.stopping:
                    live.turn.stop()
                finished = await self._listen(live, live.turn)
            self._end_well(live, finished)
        except asyncio.CancelledError:
            self._end(live, "interrupted" if self._closing else "stopped")
        except QuietlyError as error:
            # A dead engine interrupted what was going well; anything else is why there is no answer.
            died = getattr(error, "kind", "") in ("engine", "memory")
            self._end(live, "interrupted" if died else "failed", note=str(error))
        except Exception as error:
            self._end(live, "failed", note=f"This answer failed inside Quietly. {self._report(error)}")
        finally:
            self._loading.pop(live.model.path, None)
            self._post(ModelMoved(live.model.path))

    async def _listen(self, live: Live, turn: TurnLike) -> "Finished | None":
        written, path = live.written, live.model.path
        begun = False
        async for event in turn:
            written.take(event)
            live.stage = written.stage
            live.version += 1
            if not begun and written.stage in ("thinking", "writing"):
                begun = True
                self._post(FirstWords(live))
            if written.stage in ("wait", "convert", "load"):
                self._note_loading(path, Loading(written.stage, written.done, written.total))
            elif self._loading.pop(path, None) is not None:
                self._post(ModelMoved(path))
            if written.finished is not None:
                break
            if written.answer or written.reasoning:
                self._keeper.write_soon(live)
        return written.finished

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
        self._keeper.cancel(live)
        self._keeper.aside(self._keep(live, status, note, finished))

    async def _keep(self, live: Live, status: "Outcome", note: str, finished: "Finished | None") -> None:
        message = await self._keeper.keep(live, status, note, finished)
        if live.forgotten:
            return
        del self._lives[live.message]
        self._post(AnswerEnded(live, status, note, message))
        if status == "complete" and self._pool is not None and not self._lives and not self._closing:
            self._titles.consider(live, self._pool)

    # --- what else an engine is asked ---

    async def count(
        self,
        model: "InstalledModel",
        conversation: int | None,
        branch: "Sequence[Message]",
        text: str,
        attachments: "Sequence[Attachment]",
        *,
        settings: "GenerationSettings | None" = None,
        system_prompt: str | None = None,
    ) -> "Counted | None":
        """How long the prompt would be if this were sent now behind `branch`, as `send` takes it; None while the model
        is not loaded.

        QuietlyError of the kind "context" where it would be refused.
        """
        from app.answering import as_message, asking, prompt_of, reading_of, session_of

        pool = self._pool  # gone from here, where the program ends meanwhile
        if pool is None or pool.loaded(model.path) is None:
            return None

        def prompt() -> "tuple[list[ChatMessage], Reading]":
            told = self._told(system_prompt)
            if conversation is not None:
                told = self._stores.of(conversation).conversation(conversation).system_prompt
            counted = self._counted
            if counted[:2] != (told, branch):  # else only what is typed has changed since
                counted = self._counted = told, branch, prompt_of(told, branch)
            asked = asking(counted[2], as_message(text, attachments))
            return asked, reading_of(self._in_force(model, conversation, settings))

        messages, reading = await asyncio.to_thread(prompt)
        session = _EMPTY_PAGE if conversation is None else session_of(conversation)
        return await pool.count(model.path, messages, session=session, reading=reading)

    async def count_attachment(self, model: "InstalledModel", attachment: "Attachment") -> int | None:
        """How many tokens an attachment is alone; None while the model is not loaded."""
        from app.answering import as_message, prompt_of

        if self._pool is None:
            return None
        counted = await self._pool.count(model.path, prompt_of("", [as_message("", [attachment])]))
        return None if counted is None else counted.tokens

    async def pieces(self, message: "Message", model: "InstalledModel") -> tuple[str, ...]:
        """The text of each token of an answer that `model` wrote."""
        async with self._engine:
            await self._titles.give_way()
            return await self._engines().pieces(model.path, message.token_ids or ())

    async def candidates(
        self, message: "Message", model: "InstalledModel", position: int, progress: Callable[[int, int], None]
    ) -> "CandidatesFound":
        """What `model` could have written at `position` of its answer `message`, by the answer's own settings."""
        from app.answering import reading_of, sampling_of, session_of, settings_of

        chosen = settings_of(message)
        prompt = await asyncio.to_thread(self._prompt, message, True)
        async with self._engine:
            await self._titles.give_way()
            return await self._engines().candidates(
                model.path,
                prompt,
                position,
                session=session_of(message.conversation),
                sampling=sampling_of(chosen),
                reading=reading_of(chosen),
                progress=lambda seen: progress(seen.done, seen.total),
            )

    # --- the end ---

    def save(self) -> None:
        """Record every running answer as interrupted, at once: for an end that leaves no time to wait."""
        self._closing = self._keeper.closing = True
        for live in self.lives:
            if not live.over:
                live.over = True
                self._keeper.save(live)

    async def close(self) -> None:
        """End running answers, keep what they have, and close the engines; takes two seconds at most, and three more
        where an engine has read much that is not on disk yet."""
        self._closing = self._keeper.closing = True
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._titles.give_way(), FAREWELL)
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
        await self._keeper.drain(FAREWELL)
        self.save()
        if self._pool is not None:
            pool, self._pool = self._pool, None
            with contextlib.suppress(Exception):
                await asyncio.wait_for(pool.close(), timeout=_ENGINES_END)
