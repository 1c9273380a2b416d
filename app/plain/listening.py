"""What is typed, line by line, as the terminal itself lets people edit it; or what comes through a pipe.

A thread waits for it, so that everything else goes on. Knows nothing of what it is for.
"""

import asyncio
import contextlib
import os
import termios
import threading
from collections.abc import Iterator
from typing import Literal

Heard = str | Literal[b"interrupt"] | None
"""A line without its end; that Ctrl+C was pressed; or the end of all input."""
INTERRUPT: Literal[b"interrupt"] = b"interrupt"
_ERASE = ("\x7f", "\b")
_PIECE = 1 << 16


class Listener:
    """Hands out what comes in on a descriptor."""

    def __init__(self, descriptor: int) -> None:
        """To be made in the event loop that asks for lines."""
        self.is_terminal = os.isatty(descriptor)
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[Heard] = asyncio.Queue()
        self._rest = b""
        self._by_letters = False
        self._end_heard = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    async def next(self) -> Heard:
        """The next line, once there is one."""
        heard = await self._lines.get()
        if heard is None:
            self._end_heard.set()
        return heard

    def interrupt(self) -> None:
        """Ctrl+C was pressed: whoever waits for a line hears of it."""
        self._lines.put_nowait(INTERRUPT)

    @contextlib.contextmanager
    def any_length(self) -> Iterator[None]:
        """While the body runs, lines may be longer than a terminal usually lets them be: 4,096 bytes, on macOS 1,024.

        Of editing only the removal of the last character is left.
        """
        if not self.is_terminal:
            yield
            return
        usual = termios.tcgetattr(self._descriptor)
        changed = [*usual]
        changed[3] &= ~termios.ICANON
        changed[6] = [*usual[6]]
        changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
        self._by_letters = True
        termios.tcsetattr(self._descriptor, termios.TCSANOW, changed)
        try:
            yield
        finally:
            termios.tcsetattr(self._descriptor, termios.TCSANOW, usual)
            self._by_letters = False

    def _read(self) -> None:
        with contextlib.suppress(RuntimeError, OSError):  # nobody listens any more, or the terminal is gone
            while True:
                came = os.read(self._descriptor, _PIECE)
                *whole, self._rest = (self._rest + came).split(b"\n")
                if not came and self._rest:
                    whole, self._rest = [self._rest], b""
                for line in whole:
                    self._hand_out(self._text(line))
                if not came:
                    # Ctrl+D: what follows is typed after somebody has heard of it, or never.
                    self._end_heard.clear()
                    self._hand_out(None)
                    self._end_heard.wait()

    def _hand_out(self, line: Heard) -> None:
        self._loop.call_soon_threadsafe(self._lines.put_nowait, line)

    def _text(self, line: bytes) -> str:
        text = line.decode(errors="replace").removesuffix("\r")
        if self._by_letters:
            kept: list[str] = []
            for letter in text:
                if letter not in _ERASE:
                    kept.append(letter)
                elif kept:
                    kept.pop()
            text = "".join(kept)
        return text
