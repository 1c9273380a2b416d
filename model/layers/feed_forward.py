"""The gated feed-forward of the LLaMA family."""

import mlx.core as mx
import mlx.nn as nn


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020, arXiv 2002.05202). x: (batch, length, hidden), the result likewise."""

    def __init__(self, hidden_size: int, intermediate_size: int, bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=bias)

    def __call__(self, x: mx.array) -> mx.array:
        gated = nn.silu(self.gate_proj(x)) * self.up_proj(x)
        return self.down_proj(gated)
