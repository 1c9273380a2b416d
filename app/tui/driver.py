"""How the window reads a terminal, where Textual's own way can be led astray by what arrives.

Textual's parser looks for keys inside a paste too: an escape character in pasted text turns what follows it into keys,
a line end among them into Enter, and one byte that is no UTF-8, or a key without its number, ends the window. Here a
paste is text until its end, and what is broken costs itself. Knows nothing of what the keys do.
"""

import os
import re
import selectors
from codecs import getincrementaldecoder
from collections.abc import Iterable

from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.keys import Keys
from textual.message import Message

_BEGIN, _END = "\x1b[200~", "\x1b[201~"
_OPTION = re.compile("\x1b(?:\x1b\\[([A-D])|([\rac-eg-zA-MQ-WYZ]))")
"""Option as Meta: an escape character before the key. Left out are what Textual knows and what begins a sequence."""
_READ = 64 * 1024
_TICK = 0.1
"""Seconds after which an escape character that nothing followed is the Escape key."""


class PasteParser(XTermParser):
    """Textual's parser, with what stands between the marks of a paste kept from it."""

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._pasted: list[str] | None = None
        """The pieces that have come of a paste; None outside of one."""

    def feed(self, data: str) -> Iterable[Message]:
        """The events that `data` completes. The empty string is the end of the input."""
        if not data:
            yield from super().feed(data)
        while data:
            if self._pasted is None:
                before, begun, data = data.partition(_BEGIN)
                if before:
                    yield from self._keys(before)
                if begun:
                    self._pasted = []
            else:
                # The end may have come in part: that much is looked at again and no more, so that a long paste in many
                # pieces costs as much as it is long.
                last = self._pasted.pop() + data if self._pasted else data
                text, ended, data = last.partition(_END)
                if not ended:
                    kept = max(0, len(last) - len(_END))
                    self._pasted += [last[:kept], last[kept:]]
                    return
                self._pasted.append(text)
                pasted = "".join(self._pasted)
                self._pasted = None
                yield events.Paste(pasted.replace("\0", ""))

    def _keys(self, data: str) -> Iterable[Message]:
        """The events of what is no paste."""
        yield from super().feed(_OPTION.sub(_with_option, data))

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterable[events.Key]:
        try:
            yield from super()._sequence_to_key_events(sequence, alt)
        except ValueError:
            # It looks like a key and has no number where one must be.
            yield events.Key(Keys.Ignore, sequence)


def _with_option(found: re.Match[str]) -> str:
    """The same key in words that leave no doubt. Textual takes an Enter after an escape for an Enter, an arrow for two
    keys, and letters that come faster than its patience for no keys at all."""
    arrow, key = found.groups()
    return f"\x1b[1;3{arrow}" if arrow else f"\x1b[{ord(key.lower())};{4 if key.isupper() else 3}u"


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
