"""A program in a pty, watched by its bytes: a terminal emulator would take time of its own."""

import os
import pty
import select
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


class Program:
    """A program in a terminal of 120 by 40; a context manager that kills it."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, size: tuple[int, int] = (120, 40)
    ) -> None:
        told = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(environment or {})}
        self.started = time.perf_counter()
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            termios.tcsetwinsize(0, size[::-1])
            os.execvpe(command[0], list(command), told)
        self._seen = b""

    def send(self, keys: bytes) -> None:
        """Type `keys`; what was seen so far is forgotten."""
        self._seen = b""
        os.write(self._terminal, keys)

    def until(self, text: bytes, within: float = 60) -> None:
        """Read until `text` has come since the last `send`."""
        deadline = time.perf_counter() + within
        while text not in self._seen:
            left = deadline - time.perf_counter()
            assert left > 0, f"{text!r} never came; last: {self._seen[-2000:]!r}"
            self._read(left)

    def watch(self, seconds: float) -> None:
        """Read for so long: a program that nobody reads comes to a halt."""
        deadline = time.perf_counter() + seconds
        while (left := deadline - time.perf_counter()) > 0:
            self._read(left)

    def _read(self, seconds: float) -> None:
        if not select.select([self._terminal], [], [], seconds)[0]:
            return
        try:
            self._seen += os.read(self._terminal, 1 << 16)
        except OSError:
            raise AssertionError(f"the program ended; last: {self._seen[-2000:]!r}") from None

    def cpu(self) -> float:
        """CPU seconds it has taken so far; NaN where the system does not tell."""
        status = Path(f"/proc/{self.pid}/stat")
        if not status.exists():
            return float("nan")
        fields = status.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self._terminal)
