"""The demonstration models: what each is, its shape, and the numbers that it begins its training with."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import mlx.core as mx
import mlx.nn as nn

WINDOW = 64


@dataclass(frozen=True)
class Subject:
    """A model to be trained. `fields` are those of its config.json, but for what the tokenizer decides."""

    about: str
    fields: Mapping[str, Any]
    length: int
    """Tokens of the rows that it learns from."""
    batch: int
    """Rows of a step."""
    steps: int
    rate: float
    """The highest learning rate."""
    begin: Callable[[nn.Module], None]
    """Sets what MLX's own beginning does not."""


def _transformer(model_type: str, **more: Any) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        **more,
    }


def begin_transformer(network: Any) -> None:
    """What layers add to the residual is made smaller, the more of them there are (GPT-2, section 2.3)."""
    layers = network.model.layers
    for layer in layers:
        for part in (layer.self_attn.o_proj, layer.mlp.down_proj):
            part.weight = part.weight * (2 * len(layers)) ** -0.5


def begin_rwkv7(network: Any) -> None:
    """Where RWKV-7 begins: channels that forget at every pace, little said through the state, nothing by the parts of
    low rank. After the published training code (BlinkDL/RWKV-LM, RWKV-v7/train_temp), but for matrices, which are
    drawn as MLX draws them."""
    layers = network.model.layers
    width = network.model.norm.weight.size
    channel = mx.arange(width) / (width - 1)
    share = mx.arange(width) / width
    for index, layer in enumerate(layers):
        depth, height = index / max(1, len(layers) - 1), 1 - index / len(layers)
        attn, ffn = layer.attn, layer.ffn
        zigzag = _zigzag(width, attn.head_dim)
        for part, power in zip("rwkvag", (0.2, 0.9, 0.7, 0.7, 0.9, 0.2), strict=True):
            attn[f"x_{part}"] = (1 - share ** (power * height)).reshape(attn[f"x_{part}"].shape)
        attn.k_k = 0.71 - 0.1 * (channel - 0.5)
        attn.k_a = mx.full((width,), 1.02)
        attn.r_k = mx.full(attn.r_k.shape, -0.04)
        _set_low_rank(attn.w_lora, -5.5 + 6 * channel ** (1 + depth**0.3) + 2.5 * zigzag)
        _set_low_rank(attn.a_lora, -0.19 + 0.3 * zigzag + 0.4 * (channel - 0.5))
        _set_low_rank(attn.g_lora, None)
        if "v_lora" in attn:
            _set_low_rank(attn.v_lora, 0.73 - 0.4 * (channel - 0.5))
        attn.k_proj.weight = attn.k_proj.weight * 0.1
        attn.o_proj.weight = mx.zeros_like(attn.o_proj.weight)
        attn.g_norm.weight = mx.full((width,), ((1 + index) / len(layers)) ** 0.7)
        ffn.x_k = (1 - share ** (height**4)).reshape(ffn.x_k.shape)
        ffn.value.weight = mx.zeros_like(ffn.value.weight)
    embeddings = network.model.embeddings
    embeddings.weight = mx.random.uniform(-1e-2, 1e-2, embeddings.weight.shape)


def _zigzag(width: int, head_dim: int) -> mx.array:
    """(width,): through each head from -1 to 1, slowly in the middle."""
    across = (mx.arange(width) % head_dim - (head_dim - 1) / 2) / ((head_dim - 1) / 2)
    return across * mx.abs(across)


def _set_low_rank(part: Any, bias: mx.array | None) -> None:
    """Nothing on the way down, little on the way up, so that `bias` alone counts at first."""
    down, _, up = part.lora
    down.weight = mx.zeros_like(down.weight)
    up.weight = mx.random.normal(up.weight.shape) * 0.1 / math.sqrt(up.weight.shape[1])
    if bias is not None:
        up.bias = bias


_RWKV7 = {
    "model_type": "rwkv7",
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "head_dim": 64,
    "num_heads": 2,
    "decay_low_rank_dim": 32,
    "a_low_rank_dim": 32,
    "v_low_rank_dim": 32,
    "gate_low_rank_dim": 32,
    "norm_eps": 1e-5,
    "norm_bias": True,
    "context_length": 1024,
    "tie_word_embeddings": False,
}

SUBJECTS: Mapping[str, Subject] = MappingProxyType(
    {
        "demo-qwen2-windows": Subject(
            f"A hybrid of Qwen2: two layers look at everything, the two above them at {WINDOW} tokens.",
            _transformer("qwen2", use_sliding_window=True, sliding_window=WINDOW, max_window_layers=2),
            length=512, batch=4, steps=1000, rate=4e-3, begin=begin_transformer,
        ),
        "demo-llama": Subject(
            "A plain Llama, to be compared with demo-pangu-pi.",
            _transformer("llama"),
            length=512, batch=4, steps=1300, rate=4e-3, begin=begin_transformer,
        ),
        "demo-pangu-pi": Subject(
            "A PanGu-π: demo-llama with augmented shortcuts and a series of activations, equally deep.",
            _transformer("pangu_pi", num_shortcuts=1, shortcut_reduction=4, num_series_activations=2),
            length=512, batch=4, steps=1300, rate=4e-3, begin=begin_transformer,
        ),
        "demo-rwkv7": Subject(
            "An RWKV-7: no attention, and a state that does not grow with the conversation.",
            _RWKV7,
            length=512, batch=4, steps=1800, rate=3e-3, begin=begin_rwkv7,
        ),
    }
)  # fmt: skip
