"""What is said, one thing after the other: whole lines, or words as they come. Nothing that was said is taken back.

Everything is made safe to show; no colours, no cursor, no width. Knows nothing of what it says.
"""

import re
from typing import TextIO

from app.chat.text import visible

_LAST_GAP = re.compile(r".*(?:\s|[\u2e80-\uffff\U00010000-\U0010ffff])", re.DOTALL)
"""Up to where text is whole words: a gap, or a character that needs none around it."""
_LONGEST = 200
"""Characters that are waited for until a word has ended."""


class Voice:
    """Writes to a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._within = False
        """Whether the line that was written last goes on."""

    def say(self, *lines: str) -> None:
        """Write lines of their own."""
        self._end_line()
        for line in lines:
            self._stream.write(f"{visible(line)}\n")
        self._stream.flush()

    def announce(self, who: str) -> None:
        """Say whose words follow in the same line."""
        self._end_line()
        self._write(f"{visible(who)}: ")

    def go_on(self, text: str, *, to_the_end: bool = False) -> int:
        """Say the whole words that `text` begins with, or all of it; returns how many characters that were."""
        said = len(text)
        if not to_the_end and len(text) < _LONGEST:
            whole = _LAST_GAP.match(text)
            said = whole.end() if whole else 0
        self._write(visible(text[:said]))
        return said

    def heard(self) -> None:
        """The person has ended the line."""
        self._within = False

    def _write(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()
            self._within = not text.endswith("\n")

    def _end_line(self) -> None:
        if self._within:
            self._stream.write("\n")
            self._within = False
