"""A person at a terminal: starts a program in a real pty, types, and looks at the screen."""

import os
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pexpect
import pyte

WINDOW = [sys.executable, "-P", "-m", "app"]
PLAIN = [*WINDOW, "--plain"]

_ASKS_FOR_FRAMES, _HAS_FRAMES = b"\x1b[?2026$p", b"\x1b[?2026;2$y"
"""A program asks whether it may say where a frame begins and ends (synchronized output), and is told that it may."""
_FRAME = 2026 << 5
"""pyte's name for that mode, set while a frame is painted."""


class Terminal:
    """A program in a pty of `columns` by `rows`; its screen is kept by a terminal emulator."""

    def __init__(self, command: Sequence[str], cwd: Path, columns: int = 110, rows: int = 32) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._process = pexpect.spawn(
            command[0],
            list(command[1:]),
            cwd=str(cwd),
            dimensions=(rows, columns),
            env={**_without_sizes(os.environ), "TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8"},
            timeout=60,
        )
        self._process.delaybeforesend = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    @property
    def left_the_second_screen(self) -> bool:
        """Whether the program, now ended, has given the terminal back as it was."""
        return b"\x1b[?1049l" in self._process.before

    def type(self, keys: str | bytes) -> None:
        self._process.send(keys)

    def _shows(self, wanted: str | re.Pattern[str]) -> bool:
        return wanted in self.text if isinstance(wanted, str) else wanted.search(self.text) is not None

    def until(self, *wanted: str | re.Pattern[str], gone: str = "", within: float = 60) -> str:
        """Watch the screen until every text of `wanted` is on it and `gone` is not; returns the screen."""
        deadline = time.monotonic() + within
        while not all(self._shows(text) for text in wanted) or (gone and gone in self.text):
            left = deadline - time.monotonic()
            assert left > 0, f"the screen never showed {wanted} without {gone!r}:\n{self.text}"
            self._look(left)
        return self.text

    def until_it_waits(self, prompt: str, within: float = 60) -> str:
        """Watch the screen until its last line is `prompt`; returns the screen."""
        deadline = time.monotonic() + within
        while self.text.rstrip().rpartition("\n")[2] != prompt:
            left = deadline - time.monotonic()
            assert left > 0, f"the screen never ended with {prompt!r}:\n{self.text}"
            self._look(left)
        return self.text

    @property
    def _is_whole(self) -> bool:
        """Whether the screen shows no frame that is still being painted."""
        return _FRAME not in self._screen.mode

    def _look(self, seconds: float) -> None:
        try:
            read = self._process.read_nonblocking(65536, timeout=min(seconds, 1))
            if _ASKS_FOR_FRAMES in read:
                self.type(_HAS_FRAMES)
            self._stream.feed(read)
        except pexpect.TIMEOUT:
            pass
        except pexpect.EOF:
            raise AssertionError(f"the program ended; its last screen:\n{self.text}") from None

    def ends(self, within: float = 15) -> int:
        """Wait for the program's end; returns its exit status."""
        self._process.expect(pexpect.EOF, timeout=within)
        self._stream.feed(self._process.before)
        self._process.wait()
        return self._process.exitstatus if self._process.exitstatus is not None else -self._process.signalstatus

    def children(self) -> list[int]:
        """The process ids of the program's children, engines among them."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def close(self) -> None:
        if self._process.isalive():
            self._process.kill(signal.SIGKILL)
        self._process.close()


def _without_sizes(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` but for the size of another terminal, which would be believed before this one's."""
    return {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}
