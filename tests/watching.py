"""A terminal that remembers: every byte that came, and what was on its screen when."""

import contextlib
import io
import os
import signal
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from tests.terminal import Terminal


class WatchedTerminal(Terminal):
    """A `Terminal` whose past can be looked at, and whose program can be killed together with its engines."""

    def __init__(self, command: Sequence[str], cwd: Path, columns: int = 70, rows: int = 30) -> None:
        super().__init__(command, cwd, columns, rows)
        self._received = io.BytesIO()
        self._process.logfile_read = self._received
        self._shown: deque[tuple[float, str]] = deque()

    @property
    def received(self) -> bytes:
        """Everything the program has written so far."""
        return self._received.getvalue()

    def watch(self, seconds: float) -> None:
        """Look at the screen for so long, and remember it."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._look(left)

    def _look(self, seconds: float) -> None:
        super()._look(seconds)
        if self._is_whole:
            self._shown.append((time.monotonic(), self.text))

    def screen_before(self, moment: float) -> str:
        """The last screen that had been seen at `moment`, on the monotonic clock."""
        return next((screen for seen, screen in reversed(self._shown) if seen <= moment), "")

    def kill(self) -> float:
        """End the program and its engines as a power cut would; returns when."""
        engines = self.children()
        moment = time.monotonic()
        os.kill(self.pid, signal.SIGKILL)
        for engine in engines:
            with contextlib.suppress(ProcessLookupError):  # it ends by itself when the window is gone
                os.killpg(engine, signal.SIGKILL)
        self._process.wait()
        return moment
