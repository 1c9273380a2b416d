"""Plain mode as a program: what it is made of, its one loop, its end."""

import asyncio
import contextlib
import io
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from app import connections, failures, kept, spoken
from app.chat.failures import explaining
from app.chat.store import Store
from app.conducting.engines import PoolLike
from app.conducting.stores import Stores
from app.conducting.turns import Conductor
from app.errors import QuietlyError
from app.plain.answers import Answers
from app.plain.commands import COMMANDS, command, mistyped
from app.plain.conversations import Conversations
from app.plain.listening import Heard, Listener
from app.plain.room import GivenUp, Lines, Room
from app.plain.speaking import Voice
from app.plain.tuning import Tuning
from app.settings import Paths, Settings, load_settings, paths
from app.shelf import Shelf

if TYPE_CHECKING:
    from app.library.local import InstalledModel

_DOT = "."
Act = Callable[[str], Awaitable[None]]


class Plain:
    """Everything about talking line by line."""

    def __init__(
        self,
        store: Store,
        pool: Callable[[], PoolLike],
        models: "Callable[[Sequence[Path]], Sequence[InstalledModel]]",
        places: Paths,
        settings: Settings,
        voice: Voice,
        lines: Lines,
    ) -> None:
        """`models` finds those that are installed, and in folders that a person added."""
        self._report = partial(failures.sentence, folder=places.logs)
        self._store, self._models, self._settings = store, models, settings
        self._read = places.sessions
        self._stores, self._shelf = Stores(store), Shelf(store)
        conductor = Conductor(self._stores, pool, lambda news: self.answers.hear(news), self._report, lambda: settings)
        self.room = Room(self._stores, self._shelf, conductor, settings, voice, lines)
        self.answers = Answers(self.room)
        self.conversations, self.tuning = Conversations(self.room), Tuning(self.room)
        self.acts: dict[str, Act] = {
            **self.answers.acts,
            **self.conversations.acts,
            **self.tuning.acts,
            "/help": self._help,
            "/paste": self._paste,
            "/connections": self._connections,
            "/quit": self._quit,
        }
        self._over = False

    async def run(self) -> None:
        """Talk until the person has had enough."""
        room = self.room
        try:
            self._shelf.fill(await asyncio.to_thread(self._models, self._shelf.folders))
            await self._expire()
            self.conversations.begin()
            if (model := room.model()) is not None:
                kind = ", a demonstration at home in a kitchen garden alone," if model.source == "demonstration" else ""
                room.say(f"{model.name}{kind} answers here, on this machine. Type a question, or /help.")
                if self._settings.load_at_start:
                    room.conductor.warm(model.path)
            backing_up = asyncio.create_task(self._back_up())
            while not self._over:
                await self._hear(await room.ask_for("You"))
            await asyncio.wait([backing_up])
        finally:
            await room.conductor.close()
            self._stores.close()

    async def _hear(self, heard: Heard) -> None:
        """Do what was typed, or ask it. What cannot be done is said, and is no reason to end."""
        room = self.room
        if heard is None:
            self._over = True
        elif not isinstance(heard, str):
            room.say("Press Ctrl+C again, or Ctrl+D, to quit.")
            again = await room.ask_for("You")
            if isinstance(again, str):
                await self._hear(again)
            else:
                self._over = True
        elif heard.strip():
            try:
                await self._do(heard)
            except GivenUp:
                room.say("Given up.")
            except QuietlyError as error:
                room.say(str(error))
            except BrokenPipeError:  # whoever read what is said has gone
                raise
            except Exception as error:
                room.say(f"That did not work. {self._report(error)}")

    async def _do(self, text: str) -> None:
        if (typed := command(text)) is not None:
            word, argument = typed
            await self.acts[word](argument)
        elif mistyped(text):
            self.room.say(f"There is no {text.strip()}: /help says what there is. Behind a space it is asked as it is.")
        else:
            await self.answers.send(text)

    def interrupt(self) -> None:
        """Ctrl+C: stop what is going on, else ask whether to leave."""
        if not self.room.interrupt():
            self.room.lines.interrupt()

    # --- commands of its own ---

    async def _help(self, _: str) -> None:
        self.room.say("What you type is asked, but for these; what stands in brackets may be left out:")
        for each in COMMANDS:
            argument = f" [{each.argument}]" if each.argument else ""
            self.room.say(f"{each.typed}{argument}: {each.says}.")
        self.room.say(
            "A line that ends with a backslash goes on in the next.",
            "Ctrl+C stops an answer; what is there is kept. Ctrl+D leaves.",
        )

    async def _paste(self, _: str) -> None:
        room = self.room
        store, page = room.store, room.current
        draft = store.draft(page)
        pasted = draft.text.splitlines()
        if pasted:
            room.say("You had begun with this:", *pasted)
        room.say("Paste or write; a line with a single dot sends it, Ctrl+C throws it away.")
        with room.lines.any_length():
            while isinstance(heard := await room.lines.next(), str) and heard != _DOT:
                pasted.append(heard)
                draft = replace(draft, text="\n".join(pasted))
                await asyncio.to_thread(store.keep_draft, page, draft)
        if heard is None:
            room.say("It is kept: /paste goes on with it.")
        elif heard == _DOT and draft.text.strip():
            await self.answers.send(draft.text, left="")
        else:
            store.keep_draft(page, replace(draft, text=""))
            room.say("Nothing was sent.")

    async def _connections(self, _: str) -> None:
        self.room.say(*spoken.as_text(connections.ledger.connections).splitlines(), *spoken.POSSIBLE)

    async def _quit(self, _: str) -> None:
        self._over = True

    # --- beside the talk ---

    async def _expire(self) -> None:
        """Delete what was kept for as long as the person wants."""
        if days := self._settings.keep_days:
            try:
                count = await asyncio.to_thread(self._store.expire, days)
            except QuietlyError as error:
                self.room.say(str(error))
            else:
                if count:
                    were = "One conversation was" if count == 1 else f"{count:,} conversations were"
                    self.room.say(f"{were} deleted: nothing was said there for {days:,} days.")

    async def _back_up(self) -> None:
        try:
            await asyncio.to_thread(self._store.back_up, self._settings.backups)
            await asyncio.to_thread(self._sweep)
        except QuietlyError as error:
            self.room.say(str(error))

    def _sweep(self) -> None:
        """Leave on disk of what models have read only what still belongs to a conversation, and no more than is set."""
        conversations = {one.id for one in self._store.conversations()} if self._read.exists() else set()
        with explaining(self._read):
            kept.sweep(self._read, conversations, kept.disk_for(self._settings))


def run_plain() -> int:
    """Talk on this installation's conversations; returns the exit status."""
    where = paths()
    settings, notices = load_settings(where.settings)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows few letters is no reason to fall silent
    voice = Voice(sys.stdout)
    with Store.open(where.database) as store:
        voice.say("Quietly, line by line.", *filter(None, [*notices, store.notice]))
        return asyncio.run(_run(store, where, settings, voice))


async def _run(store: Store, where: Paths, settings: Settings, voice: Voice) -> int:
    from app.engines import engines
    from app.library.local import installed

    pool = partial(engines, where, lambda: settings)
    plain = Plain(store, pool, installed, where, settings, voice, Listener(sys.stdin.fileno()))
    loop, talking = asyncio.get_running_loop(), asyncio.create_task(plain.run())
    asked: list[signal.Signals] = []

    def end(by: signal.Signals) -> None:
        asked.append(by)
        talking.cancel()

    loop.add_signal_handler(signal.SIGINT, plain.interrupt)
    for each in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(each, end, each)
    with contextlib.suppress(asyncio.CancelledError):
        await talking
    return 128 + asked[0] if asked else 0
