"""The gated feed-forward of the LLaMA family."""

import math

import mlx.core as mx
import mlx.nn as nn

from model.compiling import on_gpu
from model.layers.joined import joined
from model.layers.products import Linear


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020, arXiv 2002.05202). x: (batch, length, hidden), the result likewise."""

    def __init__(self, hidden_size: int, intermediate_size: int, bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = Linear(hidden_size, intermediate_size, bias=bias)
        self.up_proj = Linear(hidden_size, intermediate_size, bias=bias)
        self.down_proj = Linear(intermediate_size, hidden_size, bias=bias)
        self.gate_size = intermediate_size

    def join(self) -> None:
        """Let gate and up be one product, where they are stored alike."""
        if whole := joined([self.gate_proj, self.up_proj]):
            self.gate_up_proj = whole
            del self.gate_proj, self.up_proj

    def __call__(self, x: mx.array) -> mx.array:
        if "gate_up_proj" in self:
            gate, up = mx.split(self.gate_up_proj(x), [self.gate_size], axis=-1)
        else:
            gate, up = self.gate_proj(x), self.up_proj(x)
        return self.down_proj(self.gated(gate, up))

    def gated(self, gate: mx.array, up: mx.array) -> mx.array:
        """silu(gate) * up"""
        gated: mx.array = on_gpu(_gated, otherwise=_gated_by_power)(gate, up)
        return gated


def silu(x: mx.array) -> mx.array:
    """x sigmoid(x)"""
    return x * mx.sigmoid(x)


def silu_by_power(x: mx.array) -> mx.array:
    """The same where MLX's exponential takes three times as long as its power of two: on the CPU, in float32."""
    return x / (1 + mx.power(2.0, x * -math.log2(math.e))) if x.dtype == mx.float32 else silu(x)


def _gated(gate: mx.array, up: mx.array) -> mx.array:
    return silu(gate) * up


def _gated_by_power(gate: mx.array, up: mx.array) -> mx.array:
    return silu_by_power(gate) * up
