"""What one model has read of conversations: in memory within a budget, on disk where reading again would take long.

A session that is written stays as exact as it was; one that is restored computes with keys and values that were packed
into eight bits. All of it belongs to the MLX thread, and when there is time to write is for the worker to say. It knows
no message and no request.
"""

import contextlib
import errno
import logging
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from app import kept
from app.engine.protocol import SCRATCH, Keeping
from model.errors import ModelError
from model.prefix import shared_prefix

if TYPE_CHECKING:
    from model import LanguageModel, Session
    from model.session import Progress, SessionOptions

log = logging.getLogger("quietly.engine")

_BITS = 8
"""Of a number in a file."""
_SPARED = 1 << 30
"""Bytes of the disk that are left to others."""
_FORGOTTEN = 0.8
"""What an earlier reading counts for, with each one after it."""


class Pace:
    """How fast this engine reads, by what it has read lately."""

    def __init__(self) -> None:
        self._tokens = self._seconds = 0.0

    def take(self, tokens: int, seconds: float) -> None:
        """So many were read in that time. Longer readings count for more: short ones are mostly overhead."""
        self._tokens = _FORGOTTEN * self._tokens + tokens * tokens
        self._seconds = _FORGOTTEN * self._seconds + tokens * seconds

    def seconds(self, tokens: int) -> float:
        """How long reading so many takes; 0 as long as nothing was read."""
        return tokens * self._seconds / self._tokens if self._tokens else 0.0


@dataclass
class _Held:
    """A session in memory."""

    session: "Session"
    settled: list[int] = field(default_factory=list)
    """The tokens of it that need not be written: they are on disk, or cannot be put there."""


class Sessions:
    """The sessions over one model, by the keys of their conversations."""

    def __init__(self, language_model: "LanguageModel") -> None:
        self.pace = Pace()
        self.keeping = Keeping()
        """Any thread may put another in its place."""
        self.unsettled = False
        """Whether `settle` may find something to do."""
        self._model = language_model
        self._held: OrderedDict[str, _Held] = OrderedDict()

    def session(
        self,
        key: str,
        options: "SessionOptions",
        prompt: Sequence[int],
        progress: "Progress" = lambda done, total: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> "Session":
        """The conversation's session, for reading `prompt`: from the disk where that has more of it than the memory.

        What it holds stays, whatever context is asked for, but for what rolls: that has caches of its own, of the
        window's size. `progress` counts layers that are restored; `cancelled` ends that.
        """
        if key == SCRATCH:
            return self._model.session_with(options)
        held = self._held.pop(key, None)
        if held is None or held.session.options.caches != options.caches:
            held = _Held(self._model.session_with(options))
        held = self._restored(key, held, options, prompt, progress, cancelled) or held
        held.session.options = options
        self._held[key] = held
        self.unsettled = True
        self._make_room()
        return held.session

    def settle(self, hurried: Callable[[], bool], progress: "Progress" = lambda done, total: None) -> None:
        """Write what is worth it, the conversation used last first.

        Ends early once somebody is `hurried`, with no half of a file left; the rest is for the next time.
        """
        from model.session import Cancelled

        later: list[Path] = []
        try:
            for key, held in reversed(self._held.items()):
                if file := self._file(key):
                    self._write(file, held, later, hurried, progress)
                    later.append(file)
        except Cancelled:
            return
        self.unsettled = False

    def forget(self, key: str) -> None:
        """Let go of a conversation, on disk too."""
        self._held.pop(key, None)
        if self.keeping.disk:
            kept.forget(Path(self.keeping.folder), key)

    def clear(self) -> None:
        """Let go of all that is in memory: conversations are read again, or restored, when they go on."""
        self._held.clear()
        self.unsettled = False

    def _make_room(self) -> None:
        """Let go of those used longest ago, until all but the present one are within the budget."""
        taken = sum(held.session.nbytes for held in list(self._held.values())[:-1])
        while taken > self.keeping.memory:
            _, held = self._held.popitem(last=False)
            taken -= held.session.nbytes

    def _file(self, key: str) -> Path | None:
        """Where the conversation is kept on disk; None where it is not to be."""
        if not self.keeping.disk:
            return None
        return kept.file_of(Path(self.keeping.folder), key, self._model.traits.fingerprint)

    def _restored(
        self,
        key: str,
        held: _Held,
        options: "SessionOptions",
        prompt: Sequence[int],
        progress: "Progress",
        cancelled: Callable[[], bool],
    ) -> _Held | None:
        """The session as it is on disk; None where that would save little reading, or cannot be had."""
        from model.saving import glance, load_session
        from model.session import Cancelled

        file, known = self._file(key), held.session.shared_prefix(prompt)
        if file is None or (known and self.pace.seconds(len(prompt) - known) <= self.keeping.worth):
            return None
        found = glance(file, self._model)
        if found is None or found.options.caches != options.caches:
            return None
        gain = found.reaches(prompt, held.session.takes_back) - known
        if gain <= len(found.tokens) // 4:  # it is restored as a whole, in a small part of the time that reading takes
            return None

        def look(done: int, total: int) -> None:
            if cancelled():
                raise Cancelled
            progress(done, total)

        try:
            session = load_session(file, self._model, look)
        except Cancelled:
            return None
        except ModelError as error:
            log.warning("a session was not restored: %s", error)
            file.with_name(f"{file.name}.refused").unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(file)  # the oldest go first
        return _Held(session, session.tokens)

    def _write(
        self, file: Path, held: _Held, later: Sequence[Path], hurried: Callable[[], bool], progress: "Progress"
    ) -> None:
        """Put the session on disk where reading again what is not there yet would take long; the files of those that
        were used `later` do not give way to it."""
        from model.session import Cancelled

        folder, most, tokens = file.parent, self.keeping.disk, held.session.tokens
        if self.pace.seconds(len(tokens) - shared_prefix(held.settled, tokens)) <= self.keeping.worth:
            return

        def look(done: int, total: int) -> None:
            if hurried():
                raise Cancelled
            if not done:
                fits = total <= most and shutil.disk_usage(folder).free >= total + _SPARED
                if not fits or not kept.trim(folder, most - total, file, later):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            progress(done, total)

        try:
            held.session.save(file, packing=_BITS, progress=look)
        except (OSError, ModelError) as error:
            log.warning("a session was not kept: %s", _reason(error))
        held.settled = tokens


def _reason(error: ModelError | OSError) -> str:
    """For the log, without a path: it is the person's."""
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
