"""Several linear maps of one input as one product.

Checkpoints store queries, keys and values apart, and gate and up. A GPU is kept busy by one product of all their rows
better than by one each, and the host queues one operation instead of several. Row by row it is the same product.
"""

import copy
from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn


def joined(maps: Sequence[nn.Module]) -> nn.Module | None:
    """One map with the outputs of all, one after the other; None where they are stored too differently for that.

    Its arrays are not evaluated yet.
    """
    first = maps[0]
    if any(_kind(each) != _kind(first) for each in maps):
        return None
    whole = copy.copy(first)
    for name in first:
        whole[name] = mx.concatenate([each[name] for each in maps])
    return whole


def _kind(map_: nn.Module) -> tuple[object, ...]:
    """What has to be the same in maps that become one."""
    arrays = [(name, array.dtype, array.shape[1:]) for name, array in sorted(map_.items())]
    return type(map_), arrays, [getattr(map_, name, None) for name in ("group_size", "bits", "mode")]
