"""Hot spans: stretches of a row that do something when they are clicked.

What a stretch does is carried by the style of its letters, so wrapping, tables and indentation take it along,
and what can be clicked is exactly what is drawn. Nothing of it reaches the terminal. Knows no widget: what a
click then does is the widget's business.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from rich.style import Style

from app.tui.markdown.rows import Row, cells

Kind = Literal["fold", "copy", "link", "branch", "menu"]
_META = "quietly"


class Spot(NamedTuple):
    """What a stretch does; `value` is a link's target, a code block's number, or the step of a branch switch."""

    kind: Kind
    value: str | int = 0


def hot(style: Style, kind: Kind, value: str | int = 0) -> Style:
    """`style` for letters that do something; a link that leads nowhere does nothing."""
    if value == "":
        return style
    return style + Style(meta={_META: (kind, value)})


def spot_of(style: Style | None) -> Spot | None:
    """What letters in `style` do, if anything."""
    found = style.meta.get(_META) if style is not None else None
    return Spot(*found) if found is not None else None


def spots(row: Row) -> Iterator[tuple[int, int, Spot]]:
    """(start, stop, what it does) of each hot span of a row, in character offsets."""
    at = begin = 0
    open_spot: Spot | None = None
    for text, style, _ in row.segments:
        spot = spot_of(style)
        if spot != open_spot:
            if open_spot is not None:
                yield begin, at, open_spot
            begin, open_spot = at, spot
        at += len(text)
    if open_spot is not None:
        yield begin, at, open_spot


def spot_at(row: Row, cell: int) -> Spot | None:
    """What lies under a cell of a row."""
    for text, style, _ in row.segments:
        cell -= cells(text)
        if cell < 0:
            return spot_of(style)
    return None
