"""What the parts of RWKV-4 and of RWKV-7 have in common: the token before, and a ReLU squared.

It knows no weights and no states.
"""

import mlx.core as mx

from model.compiling import on_gpu


def shifted(x: mx.array, before: mx.array) -> mx.array:
    """For each token of x (batch, length, hidden) the one before it; `before` (batch, 1, hidden) comes first."""
    return before if x.shape[1] == 1 else mx.concatenate([before, x[:, :-1]], axis=1)


def toward(x: mx.array, other: mx.array, share: mx.array) -> mx.array:
    """From x to other, by this share of the way: x where it is 0, other where it is 1. Any shapes that broadcast."""
    result: mx.array = on_gpu(_toward, otherwise=_toward)(x, other, share)
    return result


def squared_relu(x: mx.array) -> mx.array:
    """max(x, 0)^2"""
    result: mx.array = on_gpu(_squared_relu, otherwise=_squared_relu)(x)
    return result


def _toward(x: mx.array, other: mx.array, share: mx.array) -> mx.array:
    return x + (other - x) * share


def _squared_relu(x: mx.array) -> mx.array:
    return mx.square(mx.maximum(x, 0))
