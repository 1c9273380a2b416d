"""Linear maps of as many inputs as one product: the host queues one operation then instead of several.

For maps of one input `model.layers.joined` is the better way. It knows arrays, no architectures.
"""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from model.layers.products import Packed


class Stacked(nn.Module):
    """(maps, ..., width) -> (maps, ..., rows), each input by its own map. What it is made of is not evaluated yet."""

    def __init__(self, maps: Sequence[nn.Module]) -> None:
        super().__init__()
        for name in maps[0]:
            self[name] = mx.stack([each[name] for each in maps])
        self._packing: dict[str, Any] | None = None
        if isinstance(maps[0], Packed):
            self._packing = {name: getattr(maps[0], name) for name in ("group_size", "bits", "mode")}
            self._unpack = maps[0].unpack

    def __call__(self, x: mx.array) -> mx.array:
        rows = x.reshape(len(x), -1, x.shape[-1])
        if self._packing and rows.shape[1] < self._unpack:
            result = mx.quantized_matmul(rows, self.weight, self.scales, self.get("biases"), **self._packing)
        else:
            result = rows @ self._dense(x.dtype).swapaxes(-1, -2)
        return result.reshape(*x.shape[:-1], -1)

    def _dense(self, dtype: mx.Dtype) -> mx.array:
        if self._packing is None:
            weight: mx.array = self.weight
            return weight
        return mx.dequantize(self.weight, self.scales, self.get("biases"), **self._packing, dtype=dtype)


def stacked(maps: Sequence[nn.Module]) -> Stacked | None:
    """Maps as one; None where one of them adds a bias, or they are stored too differently for that."""
    alike = all(_kind(each) == _kind(maps[0]) and "bias" not in each for each in maps)
    return Stacked(maps) if alike and isinstance(maps[0], nn.Linear | Packed) else None


def _kind(map_: nn.Module) -> tuple[object, ...]:
    """What has to be the same in maps that are stacked."""
    arrays = [(name, array.dtype, array.shape) for name, array in sorted(map_.items())]
    return type(map_), arrays, [getattr(map_, name, None) for name in ("group_size", "bits", "mode")]
