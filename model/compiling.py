"""Where MLX's `compile` is worth having.

On a GPU it makes one kernel of neighbouring operations and replays a graph without Python. MLX's CPU back end would
call the machine's C++ compiler for it and load what that wrote to a folder that is everybody's, so nothing is compiled
there.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import mlx.core as mx


@cache
def on_gpu(function: Callable[..., Any], otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of arrays, whatever their shapes, compiled where MLX computes on a GPU; elsewhere `otherwise`."""
    gpu = mx.default_device().type == mx.DeviceType.gpu
    return mx.compile(function, shapeless=True) if gpu else otherwise
