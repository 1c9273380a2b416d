"""What everything in plain mode shares: who keeps what, which conversation it is, how something is said and asked."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TypeVar

from app.chat.store import Conversation, Message, Preset, Store
from app.chat.text import one_line
from app.conducting.stores import Stores
from app.plain.listening import Heard
from app.plain.speaking import Voice
from app.shelf import Shelf

if TYPE_CHECKING:
    from app.conducting.turns import Conductor
    from app.library.local import InstalledModel
    from app.settings import Settings

SELDOM = 4.0
"""Seconds between two words about how far something has come."""
_TITLE_CELLS = 60
_CONTINUES = "\\"
Result = TypeVar("Result")


class GivenUp(Exception):
    """The person has given up what was going on."""


class Lines(Protocol):
    """Where what is typed comes from."""

    @property
    def is_terminal(self) -> bool: ...
    async def next(self) -> Heard: ...
    def interrupt(self) -> None: ...
    def any_length(self) -> AbstractContextManager[None]: ...


class Room:
    """One conversation at a time."""

    def __init__(
        self, stores: Stores, shelf: Shelf, conductor: "Conductor", settings: "Settings", voice: Voice, lines: Lines
    ) -> None:
        self.stores, self.shelf, self.conductor, self.settings = stores, shelf, conductor, settings
        self.voice, self.lines = voice, lines
        self.current: int | None = None
        """The conversation; None is an empty page that becomes one with its first question."""
        self.temporary = settings.temporary
        """Whether the empty page begins a conversation that is kept in memory alone."""
        self.branch: list[Message] = []
        """Its messages from the opening to the last that the person knows of; another window may have added others."""
        self.beginning = self._usual()
        """What the empty page's conversation begins with."""
        self._given_up = False
        self._busy = False

    def _usual(self) -> Preset:
        return Preset("", system_prompt=self.settings.system_prompt)

    # --- which conversation ---

    @property
    def store(self) -> Store:
        """Where the conversation is kept, or will be."""
        if self.current is None:
            return self.stores.memory if self.temporary else self.stores.disk
        return self.stores.of(self.current)

    @property
    def record(self) -> Conversation | None:
        return None if self.current is None else self.store.conversation(self.current)

    def go_to(self, conversation: int | None, *, temporary: bool = False) -> None:
        """From here on it is this one; None is an empty page."""
        self.current, self.temporary = conversation, temporary
        self.beginning = self._usual()
        self.look()

    def look(self, end: int | None = None) -> None:
        """Know the conversation as it is stored now, to its head or to the message `end`."""
        self.branch = [] if self.current is None else self.store.branch(self.current, end)

    @property
    def tuning(self) -> Preset:
        """How it is answered: its own, or what the empty page has for it."""
        record = self.record
        return self.beginning if record is None else Preset("", None, record.system_prompt, record.settings)

    def tune(self, tuning: Preset) -> None:
        """Let it be answered like that from the next answer on."""
        if self.current is None:
            self.beginning = tuning
        else:
            self.store.instruct(self.current, tuning.system_prompt)
            self.store.tune(self.current, tuning.settings)

    def model(self) -> "InstalledModel | None":
        """The model that answers next; where there is none the person is told."""
        if self.shelf.chosen is None:
            self.say("No model is here yet: leave with /quit, and `quietly models get starter` brings a tiny one.")
        return self.shelf.chosen

    # --- saying and asking ---

    def say(self, *lines: str) -> None:
        self.voice.say(*lines)

    async def ask_for(self, what: str) -> Heard:
        """Ask, and wait for a line; a line that ends with a backslash goes on in the next."""
        said: list[str] = []
        while True:
            self.voice.announce("and" if said else what)
            heard = await self.lines.next()
            if not isinstance(heard, str):
                self.voice.say()
                return heard
            if self.lines.is_terminal:
                self.voice.heard()
            else:
                self.voice.go_on(f"{heard}\n", to_the_end=True)
            said.append(heard.removesuffix(_CONTINUES))
            if not heard.endswith(_CONTINUES):
                return "\n".join(said)

    async def answer_to(self, what: str) -> str:
        """What the person says to a question, "" where that is nothing. GivenUp where it is Ctrl+C or the end."""
        heard = await self.ask_for(what)
        if not isinstance(heard, str):
            raise GivenUp
        return heard.strip()

    # --- long work ---

    async def aside(self, doing: str, work: "Callable[[Callable[[int, int], None]], Result]") -> Result:
        """Do `work` in a thread, and say now and then how far it has come. GivenUp where Ctrl+C was pressed."""
        loop, last = asyncio.get_running_loop(), time.monotonic()
        self._given_up, self._busy = False, True

        def report(done: int, total: int) -> None:
            nonlocal last
            if self._given_up:
                raise GivenUp
            if time.monotonic() - last > SELDOM:
                last = time.monotonic()
                loop.call_soon_threadsafe(
                    self.say, f"{doing} {done:,} of {total:,}." if total else f"{doing} {done:,}."
                )

        try:
            return await asyncio.to_thread(work, report)
        finally:
            self._busy = False

    def interrupt(self) -> bool:
        """Stop what is going on; False where nothing is."""
        self._given_up = True
        writing = self.current is not None and self.conductor.stop(self.current)
        return writing or self._busy


def titled(record: Conversation) -> str:
    """A conversation's title in a line."""
    return one_line(record.title, _TITLE_CELLS) or "Untitled"


def chosen_by(name: str, names: Sequence[str]) -> list[int]:
    """The places of those of `names` that `name` means: exactly, else as a part."""
    wanted = name.casefold()
    exact = [place for place, each in enumerate(names) if each.casefold() == wanted]
    return exact or [place for place, each in enumerate(names) if wanted in each.casefold()]
