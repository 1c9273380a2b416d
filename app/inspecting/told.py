"""What is told about a model, as data that a shell and a window show alike: sections of sentences, tables and sources.

Everything in it is safe to show. It knows neither models nor who shows it.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec
from rich.cells import cell_len, chop_cells

Tone = Literal["plain", "bold", "dim"]
_GAP = "  "


class Words(msgspec.Struct, frozen=True, tag=True):
    """A sentence."""

    text: str
    tone: Tone = "plain"


class Table(msgspec.Struct, frozen=True, tag=True):
    """Columns under their headings. Where there is no room for all, the last ones are left out."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sides: str
    """A character a column: "<" begins at its left, ">" ends at its right."""
    bold: int | None = None
    """A row that matters more than the others."""
    dim: int | None = None
    """A row that matters less."""


class Drawn(msgspec.Struct, frozen=True, tag=True):
    """Signs in a row, as many a line as there is room for, at most 64."""

    signs: str


class Source(msgspec.Struct, frozen=True, tag=True):
    """Someone's program or text, line by line."""

    text: str


class Section(msgspec.Struct, frozen=True):
    """What belongs together, under a title."""

    title: str
    parts: tuple[Words | Table | Drawn | Source, ...]


class Line(NamedTuple):
    """One line to show; it may be longer than there is room, and is wrapped by who shows it."""

    text: str
    tone: Tone = "plain"


def laid(parts: Sequence[Words | Table | Drawn | Source], width: int) -> Iterator[Line]:
    """The lines of these parts in `width` cells."""
    for part in parts:
        match part:
            case Words(text, tone):
                yield Line(text, tone)
            case Table():
                yield from _table(part, width)
            case Drawn(signs):
                yield from (Line(f"{_GAP}{row}") for row in chop_cells(signs, max(1, min(64, width - len(_GAP)))))
            case Source(text):
                yield from (Line(line.expandtabs(4)) for line in text.split("\n"))


def _table(table: Table, width: int) -> Iterator[Line]:
    columns = list(zip(table.headings, *table.rows, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    shown = len(widths)
    while shown > 1 and sum(widths[:shown]) + len(_GAP) * (shown - 1) > width:
        shown -= 1
    for number, row in enumerate([table.headings, *table.rows], start=-1):
        dim, bold = number in (-1, table.dim), number == table.bold
        cells = [
            " " * (size - cell_len(cell)) + cell if side == ">" else cell + " " * (size - cell_len(cell))
            for cell, size, side in zip(row[:shown], widths, table.sides, strict=False)
        ]
        yield Line(_GAP.join(cells).rstrip(), "dim" if dim else "bold" if bold else "plain")
