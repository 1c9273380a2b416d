"""Answers while they are being written, and what is said about them to those who look on. Knows no engine."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from app.answering import Written
    from app.chat.store import Message, Outcome
    from app.conducting.engines import TurnLike
    from app.library.local import InstalledModel


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
    """Its next write, until that is on disk."""

    @property
    def seconds(self) -> float:
        """How long ago it was asked for."""
        return time.monotonic() - self.began


class AnswerBegun(msgspec.Struct, frozen=True):
    """An answer is stored as being written, and the engine will be asked."""

    live: Live


class FirstWords(msgspec.Struct, frozen=True):
    """An answer has come to words, of its reasoning or its own: somebody has waited for these."""

    live: Live


class AnswerEnded(msgspec.Struct, frozen=True):
    """An answer is complete, stopped or failed, and stored as such: `message`, or None where it could not be."""

    live: Live
    status: "Outcome"
    note: str
    message: "Message | None"

    @property
    def remark(self) -> str:
        """What is said in passing of how it ended, and not kept; "" where that is nothing."""
        finished, message = self.live.written.finished, self.message
        silent = finished is not None and not finished.completion_tokens
        continued = message is not None and bool(message.content)
        return "The model has nothing to add." if self.status == "complete" and silent and continued else ""


class ModelMoved(msgspec.Struct, frozen=True):
    """A model began loading, came further, is ready, or could not be loaded (`sentence`)."""

    path: Path
    sentence: str = ""
    too_big: bool = False
    """Whether it was not loaded because it was judged too big: then one may insist."""


class Entitled(msgspec.Struct, frozen=True):
    """A conversation has been given a title by its model."""

    conversation: int


class Trouble(msgspec.Struct, frozen=True):
    """Something that a person should know and that ended nothing."""

    sentence: str


News = AnswerBegun | FirstWords | AnswerEnded | ModelMoved | Entitled | Trouble
"""What those who look on are told, in the event loop."""


class Loading(msgspec.Struct, frozen=True):
    """How far a model has come."""

    stage: str
    done: int
    total: int
