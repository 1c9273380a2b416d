"""How far packed weights are from those that they were made from, and whether those are numbers at all.

Matrices of any size are looked at a slab of rows at a time. It knows neither files nor architectures.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from model.config import LayerQuantization
from model.weights.place import unpacked

SLAB = 4 * 1024**2
"""Weights that are looked at together; in float32 they and what is made of them take some 64 MiB."""


@dataclass(frozen=True)
class Deviation:
    """How far the packed weights of a module are from the original ones."""

    module: str
    differences: float
    """The squares of the differences, summed."""
    weights: float
    """The squares of the weights themselves, summed."""


def relative_error(deviations: Iterable[Deviation]) -> float:
    """The root mean square of all differences as a share of that of the weights; 0 where all weights are 0."""
    differences, weights = 0.0, 0.0
    for deviation in deviations:
        differences, weights = differences + deviation.differences, weights + deviation.weights
    return math.sqrt(differences / weights) if weights else 0.0


def deviation(module: str, original: mx.array, packed: Mapping[str, mx.array], packing: LayerQuantization) -> Deviation:
    """Compare a matrix, or a stack of them, with its packed form: `packed` has weight, scales and perhaps biases."""
    rows = _as_rows(original)
    parts = {kind: _as_rows(packed[kind]) for kind in ("weight", "scales", "biases") if kind in packed}
    differences, weights = 0.0, 0.0
    for slab in _slabs(rows):
        exact = rows[slab].astype(mx.float32)
        weight, *companions = (part[slab] for part in parts.values())
        names = list(parts)[1:]
        difference = exact - unpacked(weight, dict(zip(names, companions, strict=True)), packing, mx.float32)
        # A sum a row, and those in float64: one float32 would lose what it adds.
        sums = mx.stack([difference.square().sum(axis=1), exact.square().sum(axis=1)])
        more_differences, more_weights = np.asarray(sums).astype(np.float64).sum(axis=1)
        differences, weights = differences + float(more_differences), weights + float(more_weights)
    return Deviation(module, differences, weights)


def all_finite(array: mx.array) -> bool:
    """Whether nothing of it is a NaN or an infinity."""
    rows = _as_rows(array)
    return all(mx.isfinite(rows[slab]).all().item() for slab in _slabs(rows))


def _as_rows(array: mx.array) -> mx.array:
    return array.reshape(-1, array.shape[-1] if array.ndim else 1)


def _slabs(rows: mx.array) -> Iterator[slice]:
    step = max(1, SLAB // rows.shape[1])
    return (slice(start, start + step) for start in range(0, rows.shape[0], step))
