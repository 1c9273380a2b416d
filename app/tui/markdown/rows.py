"""Rows: what a message becomes, one screen line each, and the wrapping that makes them.

Widths are terminal cells: a CJK ideograph or an emoji takes two. Text that comes here is already safe to show
(`app.chat.text.visible`). Nothing here knows of Markdown or of widgets.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rich.cells import cell_len, split_graphemes
from rich.segment import Segment
from rich.style import Style

Palette = Mapping[str, Style]
"""Style by part ("text", "code", "quote", ...); the parts are listed in `app.tui.widgets.look.PARTS`."""

Run = tuple[str, Style]
"""A stretch of text in one style."""

TAB = 4


class Row(NamedTuple):
    """One screen line.

    `start` and `stop` are character offsets: what lies between is content, what lies outside is decoration
    (margins, quote bars, the fill of a code block) that is neither selected nor copied. `join` is what stood
    in the text between this row's content and the next row's: a newline, or the white space that a soft wrap
    swallowed.
    """

    segments: Sequence[Segment]
    start: int
    stop: int
    join: str = "\n"

    @property
    def text(self) -> str:
        return "".join([segment.text for segment in self.segments])

    @property
    def content(self) -> str:
        return self.text[self.start : self.stop]

    def clip(self, span: tuple[int, int]) -> tuple[int, int]:
        """The content within `span`, character offsets of which -1 is the end."""
        begin = min(max(span[0], self.start), self.stop)
        return begin, self.stop if span[1] < 0 else min(max(span[1], begin), self.stop)


# Scripts written without spaces may break between any two characters, except that closing punctuation never
# starts a row and opening brackets never end one.
_OPENING = "「『（［｛【《〈〔"
_CLOSING = "、。，．・：；？！」』）］｝】》〉〕ー々"
_SPACELESS = "\u2e80-\u2fdf\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORDS = re.compile(
    f" +|[{_OPENING}]*[{_SPACELESS}][{_CLOSING}]*|[^ {_SPACELESS}{_OPENING}]+[{_CLOSING}]*|[{_OPENING}]+"
)


def cells(text: str) -> int:
    """The cells that `text` takes on a terminal."""
    return len(text) if text.isascii() else cell_len(text)


def chop(text: str, width: int) -> list[tuple[int, int]]:
    """Ranges that cut `text` into pieces of at most `width` cells, never inside a grapheme."""
    if text.isascii():
        return [(start, min(start + width, len(text))) for start in range(0, len(text), width)] or [(0, 0)]
    ranges: list[tuple[int, int]] = []
    start = used = 0
    for begin, _, size in split_graphemes(text)[0]:
        if used + size > width and begin > start:
            ranges.append((start, begin))
            start, used = begin, 0
        used += size
    ranges.append((start, len(text)))
    return ranges


def wrap(text: str, width: int) -> list[tuple[int, int]]:
    """Ranges of `text` (one line) that fit `width` cells, broken at spaces where possible.

    Between two ranges lie only the spaces of the break; leading spaces are kept. Too wide a word is chopped.
    """
    if cells(text) <= width:
        return [(0, len(text))]
    ascii_only = text.isascii()
    ranges: list[tuple[int, int]] = []
    start = end = used = 0
    for match in _WORDS.finditer(text):
        first, last = match.span()
        size = last - first if ascii_only else cell_len(match.group())
        if text[first] == " ":
            used += size
            continue
        if used + size <= width:
            end, used = last, used + size
            continue
        if end > start:
            ranges.append((start, end))
        start, end, used = first, last, size
        if size > width:
            *full, (begin, finish) = [(first + a, first + b) for a, b in chop(match.group(), width)]
            ranges += full
            start, end, used = begin, finish, cells(text[begin:finish])
    ranges.append((start, end))
    return ranges


def cut(runs: Iterable[Run], ranges: Sequence[tuple[int, int]]) -> list[list[Segment]]:
    """The segments of each range of the text that `runs` spell out; ranges ascend and do not overlap."""
    out: list[list[Segment]] = []
    source: Iterator[Run] = iter(runs)
    text, style = next(source, ("", Style.null()))
    base = 0
    for start, stop in ranges:
        row: list[Segment] = []
        while start < stop:
            while start >= base + len(text):
                base += len(text)
                text, style = next(source)
            piece = text[start - base : stop - base]
            row.append(Segment(piece, style))
            start += len(piece)
        out.append(row)
    return out


def flow(runs: Sequence[Run], width: int) -> Iterator[tuple[list[Segment], str]]:
    """Wrap `runs`, newlines being hard breaks; yields each row's segments and what joins it to the next."""
    lines: list[list[Run]] = [[]]
    for text, style in runs:
        first, *others = text.split("\n")
        lines[-1].append((first, style))
        lines += [[(other, style)] for other in others]
    for line in lines:
        whole = "".join([text for text, _ in line]).expandtabs(TAB)
        if len(line) == 1:
            line = [(whole, line[0][1])]
        elif "\t" in "".join([text for text, _ in line]):
            line = [(text.replace("\t", " "), style) for text, style in line]
            whole = "".join([text for text, _ in line])
        ranges = wrap(whole, width)
        rows = cut(line, ranges)
        for number, row in enumerate(rows):
            after = number + 1
            yield row, whole[ranges[number][1] : ranges[after][0]] if after < len(rows) else "\n"


def fill(segments: list[Segment], width: int, style: Style) -> list[Segment]:
    """`segments` with spaces in `style` up to `width` cells."""
    missing = width - sum([cells(segment.text) for segment in segments])
    return [*segments, Segment(" " * missing, style)] if missing > 0 else segments


def restyled(row: Row, first: int, last: int, style: Style) -> Row:
    """`row` with the characters from `first` to `last` in `style`."""
    segments: list[Segment] = []
    at = 0
    for text, own, _ in row.segments:
        begin = min(max(first - at, 0), len(text))
        end = min(max(last - at, begin), len(text))
        for piece, chosen in ((text[:begin], False), (text[begin:end], True), (text[end:], False)):
            if piece:
                segments.append(Segment(piece, (own or Style.null()) + style if chosen else own))
        at += len(text)
    return row._replace(segments=segments)
