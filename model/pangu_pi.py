"""PanGu-π: a Llama block with shortcuts beside its attention and several activations in its feed-forward.

Notable: x + Attn(n) + Σ_t Up_t(GELU(Down_t(n))) with n = RMSNorm(x), the augmented shortcuts (eq. 4); then
x + Down(φ(Gate(n')) * Up(n')) with φ(g) = Σ_i SiLU(a_i g + b_i), the series-informed activation (eq. 7). All the
rest is Llama's. What the paper leaves open is told, and chosen, in model/config/pangu.py. Source: arXiv 2312.17276; no
weights are published, so the names of the weights are ours.

It knows nothing of tokens as text, of sampling, or of how its weights got here.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import mlx.core as mx
import mlx.nn as nn

from model import qwen2
from model.compiling import on_gpu
from model.config import TransformerConfig
from model.config.pangu import PanguPi, ShortcutAct
from model.layers.feed_forward import SwiGLU, silu, silu_by_power
from model.layers.products import Linear


class Shortcut(nn.Module):
    """Up(act(Down(z))), narrow in between (the used form of eq. 5). z: (batch, length, hidden), the result likewise."""

    def __init__(self, hidden_size: int, pangu: PanguPi) -> None:
        super().__init__()
        narrow = pangu.shortcut_size(hidden_size)
        self.down_proj = Linear(hidden_size, narrow, bias=False)
        self.up_proj = Linear(narrow, hidden_size, bias=False)
        self.act = pangu.shortcut_act

    def __call__(self, z: mx.array) -> mx.array:
        act = _ACTS[self.act]
        result: mx.array = self.up_proj(on_gpu(act, otherwise=act)(self.down_proj(z)))
        return result


class SeriesSwiGLU(SwiGLU):
    """SwiGLU with a series of activations in place of one. x: (batch, length, hidden), the result likewise."""

    def __init__(self, hidden_size: int, intermediate_size: int, pangu: PanguPi) -> None:
        super().__init__(hidden_size, intermediate_size)
        self.activations = pangu.num_series_activations
        self.gate_size = pangu.gate_size(intermediate_size)
        if size := pangu.series_size(intermediate_size):
            self.series_scale = mx.ones((self.activations, size))
            # apart from each other: equal ones would stay equal in training
            self.series_bias = mx.broadcast_to(_spread(self.activations), (self.activations, size))
        else:
            self.gate_proj = Linear(hidden_size, self.gate_size, bias=False)

    def gated(self, gate: mx.array, up: mx.array) -> mx.array:
        """φ(gate) * up; gate is (batch, length, intermediate), or that as many times as there are activations."""
        gates, scales, biases = [gate], [], []
        if "series_scale" in self:
            scales = [*mx.split(self.series_scale, self.activations)]
            biases = [*mx.split(self.series_bias, self.activations)]
        else:
            gates = [*mx.split(gate, self.activations, axis=-1)]
        gated: mx.array = on_gpu(_series, otherwise=_series_by_power)(up, gates, scales, biases)
        return gated


class Block(qwen2.Block):
    """One layer: a Llama block, and bit for bit that where no shortcut is and one activation of scale 1 and bias 0."""

    def __init__(self, config: TransformerConfig, window: int | None) -> None:
        super().__init__(config, window)
        pangu = config.pangu
        assert pangu is not None
        self.self_attn.shortcuts = [Shortcut(config.hidden_size, pangu) for _ in range(pangu.num_shortcuts)]
        self.normed = pangu.shortcut_input == "normed"
        self.mlp = SeriesSwiGLU(config.hidden_size, config.intermediate_size, pangu)

    def past(self, x: mx.array, normed: mx.array) -> mx.array:
        """The residual x, and what the shortcuts make of it."""
        z = normed if self.normed else x
        return sum((shortcut(z) for shortcut in self.self_attn.shortcuts), x)


class Model(qwen2.Model):
    """The whole language model, as `model.network.Network` asks for it."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config, Block)


def _spread(count: int) -> mx.array:
    """(count, 1): from -1/2 to 1/2, or 0 where there is but one."""
    return (mx.arange(count)[:, None] - (count - 1) / 2) / max(1, count - 1)


def _series(
    up: mx.array, gates: Sequence[mx.array], scales: Sequence[mx.array], biases: Sequence[mx.array]
) -> mx.array:
    return _summed(silu, gates, scales, biases) * up


def _series_by_power(
    up: mx.array, gates: Sequence[mx.array], scales: Sequence[mx.array], biases: Sequence[mx.array]
) -> mx.array:
    """The same as a CPU computes it best."""
    return _summed(silu_by_power, gates, scales, biases) * up


def _summed(
    act: Callable[[mx.array], mx.array],
    gates: Sequence[mx.array],
    scales: Sequence[mx.array],
    biases: Sequence[mx.array],
) -> mx.array:
    """Σ_i act(a_i g + b_i), or Σ_i act(g_i) where there are no scales."""
    turned = [scale * gates[0] + bias for scale, bias in zip(scales, biases, strict=True)] or gates
    total = act(turned[0])
    for each in turned[1:]:
        total = total + act(each)
    return total


def _gelu(x: mx.array) -> mx.array:
    return x * (1 + mx.erf(x * 2**-0.5)) * 0.5


def _relu(x: mx.array) -> mx.array:
    return mx.maximum(x, 0)


_ACTS: Mapping[ShortcutAct, Callable[[mx.array], mx.array]] = MappingProxyType(
    {"gelu": _gelu, "silu": silu, "relu": _relu}
)
