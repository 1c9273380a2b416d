"""Curves over two logarithmic axes, as text: whatever grows by a power is a straight line there, as steep as its power.

Nothing is told by colour: each curve has a sign of its own. It knows numbers alone.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import exp, log
from typing import NamedTuple

from rich.cells import cell_len

SEVERAL = "*"
"""The sign of a place where points of several curves lie."""
_LINE = "·"
_ROWS = 13
_FEWEST, _WIDEST = 16, 61
"""Columns."""


class Curve(NamedTuple):
    """Points, and the sign that stands for them."""

    sign: str
    points: Sequence[tuple[int, float]]
    """All numbers are above 0."""


def drawn(curves: Sequence[Curve], width: int, told: Callable[[float], str]) -> list[str]:
    """Lines of text, of no more than `width` cells where that can be done. `told` is how a height is named.

    Nothing where there are no two points beside each other.
    """
    across = sorted({length for curve in curves for length, _ in curve.points})
    if len(across) < 2:
        return []
    heights = [height for curve in curves for _, height in curve.points]
    low, high = min(heights), max(heights)
    names = {0: told(high), _ROWS // 2: told(exp((log(low) + log(high)) / 2)), _ROWS - 1: told(low)}
    margin = max(map(cell_len, names.values()))
    columns = max(_FEWEST, min(_WIDEST, width - margin - 2))

    def column(length: float) -> int:
        return _place(length, across[0], across[-1], columns)

    def row(height: float) -> int:
        return _ROWS - 1 - _place(height, low, high, _ROWS)

    cells = [[" "] * columns for _ in range(_ROWS)]
    for curve in curves:
        for start, end in pairwise([(column(length), row(height)) for length, height in curve.points]):
            for x, y in _between(start, end):
                cells[y][x] = _LINE
    marked: dict[tuple[int, int], set[str]] = {}
    for curve in curves:
        for length, height in curve.points:
            marked.setdefault((row(height), column(length)), set()).add(curve.sign)
    for (y, x), signs in marked.items():
        cells[y][x] = SEVERAL if len(signs) > 1 else min(signs)
    lines = [
        f"{' ' * (margin - cell_len(name))}{name} │{''.join(line).rstrip()}"
        for line, name in zip(cells, (names.get(y, "") for y in range(_ROWS)), strict=True)
    ]
    ticks = _ticks([(column(length), f"{length:,}") for length in across], columns)
    return [*lines, f"{' ' * margin} └{'─' * columns}", f"{' ' * (margin + 2)}{ticks}"]


def _place(value: float, least: float, most: float, cells: int) -> int:
    """Which of the cells between two values is that of a third; the middle one where their logarithms are equal."""
    span = log(most) - log(least)
    return round((log(value) - log(least)) / span * (cells - 1)) if span else cells // 2


def _between(start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """The cells of a straight line."""
    wide, tall = end[0] - start[0], end[1] - start[1]
    steps = max(abs(wide), abs(tall))
    for step in range(1, steps):
        yield start[0] + round(wide * step / steps), start[1] + round(tall * step / steps)


def _ticks(names: Sequence[tuple[int, str]], columns: int) -> str:
    """Each name below its column, but for those that there is no room for; the last one ends with the axis."""
    *others, (_, last) = names
    end = columns - len(last)
    text = ""
    for x, name in others:
        begin = max(0, x - len(name) // 2)
        if begin >= len(text) + bool(text) and begin + len(name) < end:
            text = text.ljust(begin) + name
    return text.ljust(end) + last
