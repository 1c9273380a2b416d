"""Finding text in a conversation: how often it occurs, in which message, and on which letters of its rows.

Counts come from the raw texts, which takes a moment for ten thousand messages; where a message has been
rendered its rows decide, because Markdown's own signs are not seen. Reasoning counts whether or not it is
unfolded. Knows messages and rows, nothing of scrolling.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.chat.text import visible
from app.tui.markdown.rows import Row
from app.tui.widgets.message import Entry, Rendered, Span
from app.tui.widgets.shown import Shown

_WIDE = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)} | {0x3000: 0x20, 0x130: 0x69, 0x3C2: 0x3C3}
# What lowering the letters alone would miss or make longer, and what `visible` takes out.
_HIDDEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0130\u03a3\u03c2\u061c\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
_ODD = re.compile(f"[{_HIDDEN}０-９Ａ-Ｚａ-ｚ]")
# Full-width punctuation is everywhere in Chinese and Japanese, and seldom what is looked for.
_ODD_OR_WIDE = re.compile(f"[{_HIDDEN}\u3000\uff01-\uff5e]")
PATIENCE = 40
"""Messages rendered in vain, one after the other, before a step takes a count from the raw text for true."""


def fold(text: str) -> str:
    """Text made safe as it is compared: small letters, full-width ones narrow; as many characters as before."""
    if text.isascii():
        return text.lower()
    return text.translate(_WIDE).lower().replace("\u03c2", "\u03c3")


def count(text: str, needle: str) -> int:
    """How often the folded `needle` occurs in raw text."""
    odd = _ODD if needle.isalnum() else _ODD_OR_WIDE
    if text.isascii() or odd.search(text):
        return fold(visible(text)).count(needle)
    if needle.isascii():
        # Lowering bytes is several times faster than lowering letters.
        return text.encode().lower().count(needle.encode())
    return text.lower().count(needle)


class Tally(NamedTuple):
    """How often it occurs in a message; `exact` once its rows were looked at."""

    entry: Entry
    reasoning: int
    text: int
    exact: bool = False

    @property
    def total(self) -> int:
        return self.reasoning + self.text


class Mark(NamedTuple):
    """Letters of a row that belong to an occurrence, the `ordinal`-th among those in the message's rows."""

    row: int
    start: int
    stop: int
    ordinal: int


class Marks:
    """The occurrences in a message's rows; `reasoning` and `text` tell how many."""

    def __init__(self, rendered: Rendered, needle: str) -> None:
        self.rendered = rendered
        self.rows: dict[int, list[Mark]] = {}
        self.first: list[tuple[int, int]] = []
        """(row, character) where each occurrence begins."""
        self.reasoning = self._look(rendered.reasoning, needle)
        self.text = self._look(rendered.text, needle)

    def _look(self, span: Span, needle: str) -> int:
        rows: Sequence[Row] = self.rendered.rows[span.first : span.stop]
        starts: list[int] = []
        pieces: list[str] = []
        length = 0
        for row in rows:
            starts.append(length)
            pieces += row.content, row.join
            length += len(pieces[-2]) + len(pieces[-1])
        text = fold("".join(pieces))
        before = len(self.first)
        at = text.find(needle)
        while at >= 0:
            end = at + len(needle)
            number = bisect_right(starts, at) - 1
            ordinal = len(self.first)
            self.first.append((span.first + number, rows[number].start + at - starts[number]))
            while number < len(rows) and starts[number] < end:
                row, base = rows[number], starts[number]
                begin = row.start + max(at - base, 0)
                stop = min(row.start + end - base, row.stop)
                if begin < stop:
                    mark = Mark(span.first + number, begin, stop, ordinal)
                    self.rows.setdefault(mark.row, []).append(mark)
                number += 1
            at = text.find(needle, end)
        return len(self.first) - before


class Finding:
    """One search through a conversation. `present` is the occurrence one stands on: (message, ordinal in it)."""

    def __init__(self, query: str, before: "Finding | None" = None) -> None:
        self.needle = fold(visible(query).replace("\n", " "))
        # Where a part of a query was not, all of it is not: this is what makes typing quick.
        self._ruled_out = before._tallies if before is not None and before.needle in self.needle else {}
        self.present: tuple[Shown, int] | None = None
        self._tallies: dict[int, Tally] = {}
        self._marks: dict[int, Marks] = {}

    def tally(self, message: Shown) -> Tally:
        """How often it occurs in a message, as far as that is known."""
        known = self._tallies.get(message.serial)
        if known is None or known.entry is not message.entry:
            entry = message.entry
            earlier = self._ruled_out.get(message.serial)
            if earlier is not None and earlier.entry is entry and not earlier.total:
                known = earlier
            else:
                known = Tally(entry, count(entry.reasoning.strip(), self.needle), count(entry.text, self.needle))
            self._tallies[message.serial] = known
        return known

    def marks(self, message: Shown, rendered: Rendered) -> Marks:
        """The occurrences in the rows of a message, whose count is exact from now on."""
        known = self._marks.get(message.serial)
        if known is None or known.rendered is not rendered:
            if len(self._marks) > 100:
                self._marks.clear()
            known = self._marks[message.serial] = Marks(rendered, self.needle)
            self._tallies[message.serial] = self.tally(message)._replace(text=known.text, exact=True)
        return known

    def place(self, messages: Sequence[Shown]) -> tuple[int, int]:
        """(the place of the present occurrence, how many there are); 0 where there is none."""
        place = total = 0
        for message in messages:
            if self.present is not None and message is self.present[0]:
                place = total + min(self.present[1], self.tally(message).total - 1) + 1
            total += self.tally(message).total
        return min(place, total), total

    def seek(
        self, messages: Sequence[Shown], index: int, ordinal: int, step: int, rows: Callable[[Shown], Rendered]
    ) -> tuple[int, int] | None:
        """The first occurrence from (message index, ordinal) on, that one included, in the direction of `step`.

        It goes round the end. Messages that seem to have one are rendered by `rows` to be sure.
        """
        vain = 0
        for _ in range(len(messages) + 1):
            message = messages[index]
            if self.tally(message).total and vain < PATIENCE:
                self.marks(message, rows(message))
                vain += not self.tally(message).total
            total = self.tally(message).total
            if step < 0:
                ordinal = min(ordinal, total - 1)
            if 0 <= ordinal < total:
                return index, ordinal
            index = (index + step) % len(messages)
            ordinal = 0 if step > 0 else 1 << 30
        return None

    def shown_ordinal(self, message: Shown, marks: Marks, ordinal: int) -> int | None:
        """Which of the occurrences in the rows the `ordinal`-th of the message is; None in folded reasoning."""
        thought = self.tally(message).reasoning
        if ordinal < thought:
            return ordinal if message.unfolded and ordinal < marks.reasoning else None
        shown = marks.reasoning + ordinal - thought
        return min(shown, len(marks.first) - 1) if marks.text else None

    def before(self, message: Shown, marks: Marks, at: tuple[int, int]) -> int:
        """How many of the message's occurrences begin before (row, character) `at` of it."""
        above = sum(first < at for first in marks.first)
        if message.unfolded:
            return above
        # Folded reasoning stands in one row, or two with its end in sight.
        fold = marks.rendered.fold
        thought = self.tally(message).reasoning
        in_text = max(above - marks.reasoning, 0)
        return in_text + (thought if fold is not None and fold < at[0] else 0)
