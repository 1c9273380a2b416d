"""Answers while they are being written, and what is posted about them. Knows no widget and no engine."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from textual.message import Message as Post

if TYPE_CHECKING:
    from app.answering import Written
    from app.chat.store import Message, Outcome
    from app.library.local import InstalledModel
    from app.tui.turns import TurnLike


class Live(msgspec.Struct, eq=False):
    """An answer that is being written."""

    conversation: int
    message: int
    model: "InstalledModel"
    written: "Written"
    """Its words so far."""
    begun: "Message"
    """The answer as it stood before anything was added."""
    stage: str = "waiting for the engine"
    began: float = msgspec.field(default_factory=time.monotonic)
    version: int = 0
    """Grows with every change, so that a painter can tell whether there is anything new."""
    stopping: bool = False
    over: bool = False
    forgotten: bool = False
    """Its conversation was deleted: what it still says goes nowhere."""
    unsaved: bool = False
    """The person has been told that it could not be stored."""
    turn: "TurnLike | None" = None
    task: "asyncio.Task[None] | None" = None
    write_due: asyncio.TimerHandle | None = None

    @property
    def seconds(self) -> float:
        """How long ago it was asked for."""
        return time.monotonic() - self.began


class AnswerBegun(Post):
    """An answer is stored as being written, and the engine will be asked."""

    def __init__(self, live: Live) -> None:
        super().__init__()
        self.live = live


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


class Entitled(Post):
    """A conversation has been given a title by its model."""

    def __init__(self, conversation: int) -> None:
        super().__init__()
        self.conversation = conversation


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
