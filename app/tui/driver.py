"""How the window reads a terminal, where Textual's own way can be led astray by what arrives.

Textual's parser looks for keys inside a paste too: an escape character in pasted text turns what follows it into keys,
a line end among them into Enter, and one byte that is no UTF-8 ends the window. Here a paste is text until its end, and
a broken byte costs itself. Knows nothing of what the keys do.
"""

import os
import selectors
from codecs import getincrementaldecoder
from collections.abc import Iterable

from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

_BEGIN, _END = "\x1b[200~", "\x1b[201~"
_READ = 64 * 1024
_TICK = 0.1
"""Seconds after which an escape character that nothing followed is the Escape key."""


class PasteParser(XTermParser):
    """Textual's parser, with what stands between the marks of a paste kept from it."""

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._pasted: str | None = None
        """What has come of a paste; None outside of one."""

    def feed(self, data: str) -> Iterable[Message]:
        """The events that `data` completes. The empty string is the end of the input."""
        if not data:
            yield from super().feed(data)
        while data:
            if self._pasted is None:
                before, begun, data = data.partition(_BEGIN)
                if before:
                    yield from super().feed(before)
                if begun:
                    self._pasted = ""
            else:
                seen = max(0, len(self._pasted) - len(_END))
                self._pasted += data
                end = self._pasted.find(_END, seen)
                if end < 0:
                    return
                text, data = self._pasted[:end], self._pasted[end + len(_END) :]
                self._pasted = None
                yield events.Paste(text.replace("\0", ""))


class TerminalDriver(LinuxDriver):
    """Textual's driver for terminals, reading through `PasteParser`."""

    def run_input_thread(self) -> None:
        """Read the terminal until the window closes."""
        parser = PasteParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        with selectors.SelectSelector() as selector:  # macOS' kqueue knows no terminals
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(_TICK):
                    try:
                        received = os.read(self.fileno, _READ)
                    except OSError:
                        received = b""
                    if not received:  # the terminal is gone
                        self._app.call_later(self._app.exit)
                        return
                    for event in parser.feed(decode(received)):
                        self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
