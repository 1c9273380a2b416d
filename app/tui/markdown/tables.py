"""Tables to rows: columns as wide as they need and the window allows, cells wrapped and aligned.

Where even narrow columns do not fit, each record is written below the last as "heading: value" lines.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from rich.segment import Segment

from app.tui.markdown.rows import Palette, Run, cells, flow

Align = Literal["left", "center", "right"]
NARROWEST = 10
"""Cells; a column that cannot have them makes the table a list of records."""
BETWEEN = " │ "


class Table(NamedTuple):
    """A parsed table: `rows[0]` is the heading; every row has as many cells as there are `aligns`."""

    rows: Sequence[Sequence[list[Run]]]
    aligns: Sequence[Align]


def _natural(cell: list[Run]) -> int:
    return max(cells(line) for line in "".join([text for text, _ in cell]).split("\n"))


def column_widths(natural: Sequence[int], width: int) -> list[int] | None:
    """Widths that fit `width`, separators included: small columns whole, others share; None if hopeless."""
    room = width - len(BETWEEN) * (len(natural) - 1)
    wanted = [max(1, size) for size in natural]
    if sum(wanted) <= room:
        return wanted
    widths = [0] * len(wanted)
    open_columns = list(range(len(wanted)))
    while open_columns:
        share = room // len(open_columns)
        small = [column for column in open_columns if wanted[column] <= share]
        if not small:
            if share < NARROWEST:
                return None
            for place, column in enumerate(open_columns):
                widths[column] = share + (place < room % len(open_columns))
            break
        for column in small:
            widths[column] = wanted[column]
            room -= wanted[column]
            open_columns.remove(column)
    return widths


def _placed(segments: list[Segment], width: int, align: Align, palette: Palette) -> list[Segment]:
    missing = width - sum([cells(segment.text) for segment in segments])
    left = {"left": 0, "right": missing, "center": missing // 2}[align]
    blank = palette["text"]
    return [Segment(" " * left, blank), *segments, Segment(" " * (missing - left), blank)]


def table_rows(table: Table, width: int, palette: Palette) -> Iterator[tuple[list[Segment], str]]:
    """Rows of at most `width` cells, each with what joins it to the next."""
    columns = range(len(table.aligns))
    widths = column_widths([max(_natural(row[column]) for row in table.rows) for column in columns], width)
    if widths is None:
        yield from _records(table, width, palette)
        return
    bar = Segment(BETWEEN, palette["rule"])
    for number, row in enumerate(table.rows):
        wrapped = [[segments for segments, _ in flow(row[column], widths[column])] for column in columns]
        for line in range(max(len(cell) for cell in wrapped)):
            out: list[Segment] = []
            for column in columns:
                segments = wrapped[column][line] if line < len(wrapped[column]) else []
                if column:
                    out.append(bar)
                out += _placed(segments, widths[column], table.aligns[column], palette)
            yield [segment for segment in out if segment.text], "\n"
        if number == 0:
            rule = "─┼─".join("─" * size for size in widths)
            yield [Segment(rule, palette["rule"])], "\n"


def _records(table: Table, width: int, palette: Palette) -> Iterator[tuple[list[Segment], str]]:
    heading, *records = table.rows
    if not records:
        for cell in heading:
            yield from flow(cell, width)
    for number, record in enumerate(records):
        if number:
            yield [], "\n"
        for name, value in zip(heading, record, strict=True):
            runs = [*name, (": ", palette["text"]), *value]
            yield from flow(runs, width)
