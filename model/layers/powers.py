"""The exponential and the sigmoid by way of a power of two, where that is quicker: in float32 on MLX's CPU back end,
which takes a third of the time for it (tests/benchmarks/LOG.md). It knows no layers.
"""

import math

import mlx.core as mx

_LOG2_E = math.log2(math.e)


def exp(x: mx.array) -> mx.array:
    """e^x."""
    return mx.power(2.0, x * _LOG2_E) if _quicker(x) else mx.exp(x)


def sigmoid(x: mx.array) -> mx.array:
    """1 / (1 + e^-x)."""
    return mx.reciprocal(1 + mx.power(2.0, x * -_LOG2_E)) if _quicker(x) else mx.sigmoid(x)


def _quicker(x: mx.array) -> bool:
    return x.dtype == mx.float32 and mx.default_device().type != mx.DeviceType.gpu
