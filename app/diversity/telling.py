"""What was found of a model's layers as a chart in a terminal, narrow ones too, and as data for programs."""

from typing import Any

import msgspec

from app.benching.telling import bar_of, number
from app.chat.text import one_line
from app.diversity import Layer, Measured
from app.inspecting.told import Line

_SHORTEST, _LONGEST = 8, 40
"""Cells of the longest bar."""
_GAP = "  "


def drawn(name: str, found: Measured, width: int) -> list[Line]:
    """A row a layer, in `width` cells where that can be done: the dimension with a bar, and the distance."""
    rows = [(str(index), str(layer.dimension), _distance(layer)) for index, layer in enumerate(found.layers)]
    headings = ("layer", "components", "distance")
    sides = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    longest = max(_SHORTEST, min(_LONGEST, width - sum(sides) - 3 * len(_GAP)))
    most = max(layer.dimension for layer in found.layers) or 1
    lines = [
        Line(f"{one_line(name, 60)}: how much the states of {found.tokens:,} tokens differ, layer by layer", "bold"),
        Line(
            f"{headings[0]:>{sides[0]}}{_GAP}{headings[1]:>{sides[1]}}{_GAP}{'':<{longest}}{_GAP}{headings[2]}", "dim"
        ),
    ]
    for (index, dimension, distance), layer in zip(rows, found.layers, strict=True):
        bar = bar_of(layer.dimension / most, longest)
        lines.append(Line(f"{index:>{sides[0]}}{_GAP}{dimension:>{sides[1]}}{_GAP}{bar:<{longest}}{_GAP}{distance}"))
    return [*lines, *(Line(sentence, "dim") for sentence in _explained(found))]


def _explained(found: Measured) -> tuple[str, str]:
    """What the columns are."""
    return (
        f"components: the principal ones that {found.variance:.0%} of the variance lies in, of "
        f"{found.layers[0].limit:,} at most; fewer, and the layer tells the tokens apart in fewer ways.",
        "distance: ||H - 1 mean||, and its share of ||H||. The first token is left out: many models give it a state "
        "far longer than all others.",
    )


def _distance(layer: Layer) -> str:
    return f"{number(layer.distance)} ({layer.share:.0%})"


def as_data(name: str, found: Measured) -> dict[str, Any]:
    """All of it for programs; layers are counted from 0, lowest first."""
    return {
        "model": name,
        "tokens": found.tokens,
        "variance": found.variance,
        "layers": [{"layer": index, **msgspec.structs.asdict(layer)} for index, layer in enumerate(found.layers)],
    }
