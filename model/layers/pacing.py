"""How far the host may run ahead of a GPU while a prompt is read.

MLX takes memory when work is queued and gives it back when it is done. A host that queues all layers of a chunk holds
what all of them compute: beside a 7B model 7 GB for 2,048 tokens on an H100, where four layers at a time take 1.2 GB
and are read no slower (tests/benchmarks/LOG.md). What a layer leaves behind for the tokens to come, a recurrent state,
comes before the next layer: left to the end, it would hold on to what it is made from, in all layers. It knows no
architecture.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import mlx.core as mx

from model.allocation import LAYERS_AT_ONCE

_LEAST = 64
"""Tokens from which on it is worth waiting; fewer compute next to nothing that could pile up."""

_anywhere = ContextVar("anywhere", default=True)


@contextmanager
def unpaced() -> Iterator[None]:
    """Within it nothing is waited for: what is traced, for gradients or to be compiled, cannot be."""
    before = _anywhere.set(False)
    try:
        yield
    finally:
        _anywhere.reset(before)


class Pace:
    """Follows the hidden states from layer to layer, and waits where too much is queued."""

    def __init__(self, length: int, gpu: bool | None = None) -> None:
        """`length`: tokens that are read at once; `gpu` is whether MLX computes on one, asked of it by default."""
        gpu = mx.default_device().type == mx.DeviceType.gpu if gpu is None else gpu
        self._many = length > 1
        self._waits = gpu and length >= _LEAST and _anywhere.get()
        self._since = 0
        self._queued: mx.array | None = None

    def __call__(self, hidden: mx.array, *left: mx.array) -> mx.array:
        """`hidden`, what a layer has given out; every few layers they are queued, and those before waited for.

        `left` is the layer's new state, where it has one: `hidden` is computed after it.
        """
        if left and self._many:
            (hidden,) = mx.depends([hidden], list(left))
        self._since += 1
        if self._waits and self._since == LAYERS_AT_ONCE:
            mx.async_eval(hidden)
            if self._queued is not None:
                mx.eval(self._queued)
            self._queued, self._since = hidden, 0
        return hidden
