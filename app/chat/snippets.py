"""Where the words that were looked for stand in a text, and the piece of it that shows most of them.

Positions are those of the text as it is shown; words are compared as the index compares them (`indexing.spaced`).
"""

import bisect
import re
from collections.abc import Sequence
from itertools import accumulate, islice
from typing import Self

import msgspec

from app.chat.indexing import LETTERS, composed
from app.chat.text import visible

WIDTH = 160
"""Characters of text that a snippet shows, at most."""
_BEFORE = 40
"""Characters before what was found."""
_WORD = 20
"""Characters that are given up so that a snippet does not begin or end within a word."""
_PLACES = 200
"""Places of one term that are looked at."""

Place = tuple[int, int, int]
"""From this character to that one, and which term it is."""


class Term(msgspec.Struct, frozen=True):
    """Words in a row that are looked for."""

    expression: str
    """In the language of FTS5, where all of it stands in quotes: nothing that was typed is an operator."""
    pattern: re.Pattern[str]
    """In a text that was spaced."""

    @classmethod
    def of(cls, words: Sequence[str], *, goes_on: bool = False) -> Self:
        """These words, spaced already; where it `goes_on`, the last of them may be the beginning of one."""
        end = "" if goes_on else r"(?!\S)"
        row = r"\s+".join(map(re.escape, words))
        return cls(f'"{" ".join(words)}"{"*" * goes_on}', re.compile(rf"(?<!\S){row}{end}"))


def shown(text: str) -> str:
    """`text` as places in it are counted, safe to show."""
    return visible(composed(text))


def places(text: str, terms: Sequence[Term]) -> list[Place]:
    """Where `terms` stand in `text`, which is `shown`, in its order."""
    words = text.translate(LETTERS)
    found = [
        (*place.span(), number)
        for number, term in enumerate(terms)
        for place in islice(term.pattern.finditer(words), _PLACES)
    ]
    if found and not text.isascii():  # there, a character is one in the index too
        ends = list(accumulate(len(LETTERS[ord(character)]) for character in text))
        found = [
            (
                bisect.bisect_right(ends, start),
                max(bisect.bisect_right(ends, end), bisect.bisect_left(ends, end) + 1),
                term,
            )
            for start, end, term in found
        ]
    return sorted(found)


def cut(text: str, found: Sequence[Place]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """One line around those of the places in `text` that show most, and the ranges of them in that line.

    Without places it is how the text begins.
    """
    start = max(0, _densest(found) - _BEFORE)
    end = min(len(text), start + WIDTH)
    if start and (gap := re.search(r"\s", text[start : start + _WORD])):
        start += gap.end()
    if end < len(text) and (gap := re.search(r"\s\S*$", text[end - _WORD : end])):
        end += gap.start() - _WORD
    line = "…" if text[:start].strip() else ""
    marks: list[tuple[int, int]] = []
    at = start
    for first, last in _merged(found):
        if first < at or first >= end:
            continue
        line = _joined(line, text[at:first])
        begun = len(line)
        line = _joined(line, text[first : (at := min(last, end))])
        marks.append((begun, len(line)))
    line = _joined(line, text[at:end]).rstrip()
    return line + ("…" if text[end:].strip() else ""), tuple(marks)


def _densest(found: Sequence[Place]) -> int:
    """The place from which on most different terms stand within a snippet; 0 where there is none."""
    best, most = 0, 0
    for number, (start, _, _) in enumerate(found):
        near = set()
        for _, end, term in islice(found, number, None):
            if end > start + WIDTH - _BEFORE:
                break
            near.add(term)
        if len(near) > most or not most:
            best, most = start, max(1, len(near))
    return best


def _merged(found: Sequence[Place]) -> list[tuple[int, int]]:
    """The ranges of places in order, those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for start, end, _ in found:
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _joined(line: str, more: str) -> str:
    """`line` and `more` in one line, with one space for each gap."""
    words = re.sub(r"\s+", " ", more)
    return line + (words.lstrip() if not line or line[-1] in " …" else words)
