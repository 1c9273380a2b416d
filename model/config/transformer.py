"""Decoders with attention: Qwen2, Llama and their neighbours, as their config.json describes them.

Both spellings are understood, that of transformers 5 (`rope_parameters`, `dtype`) and that of 4 (`rope_theta`,
`rope_scaling`, `torch_dtype`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, NamedTuple, cast, get_args

from model.config.base import Config, common
from model.config.fields import Fields, show
from model.config.pangu import PanguPi, parse_pangu
from model.errors import ModelError

RopeType = Literal["default", "linear", "dynamic", "yarn", "llama3"]


@dataclass(frozen=True, slots=True)
class RopeParameters:
    """Rotary position embedding, merged from either spelling. What a type does not use is None.

    Names and defaults as in transformers' modeling_rope_utils; YaRN: arXiv 2309.00071.
    """

    type: RopeType
    theta: float
    factor: float = 1.0
    original_max_position_embeddings: int | None = None
    """Tokens the frequencies were trained for; set for "yarn" and "llama3"."""
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    """Multiplies cos and sin; None: derived from the factor and the two mscales."""
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig(Config):
    """Embeddings, blocks of attention and gated feed-forward, a head."""

    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    max_position_embeddings: int
    rope: RopeParameters
    layer_windows: tuple[int | None, ...]
    """One a layer. None: a token sees all before it; W: itself and the W - 1 before it."""
    qkv_bias: bool = False
    attention_output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    """An RMSNorm over each head of q and k (Qwen3)."""
    hidden_act: str = "silu"
    pangu: PanguPi | None = None
    """What PanGu-π adds to it; None in all others."""

    @property
    def context(self) -> int:
        """Tokens it can take; a YaRN config may keep the `max_position_embeddings` of before stretching."""
        rope = self.rope
        if rope.type == "yarn" and rope.original_max_position_embeddings is not None:
            return max(self.max_position_embeddings, int(rope.original_max_position_embeddings * rope.factor))
        return self.max_position_embeddings

    @property
    def trained(self) -> int:
        return self.context


def with_window(config: TransformerConfig, window: int, layers: int) -> TransformerConfig:
    """The same model with its top `layers` layers sliding over `window` tokens, a token's own included.

    The layers below keep what they have, and a layer that slides already keeps the narrower window. Such a model is
    off the distribution it was trained on: answers get worse, most of all once the conversation is longer than the
    window. ModelError "request" where there is no such window, or are not that many layers.
    """
    if window < 1:
        raise ModelError(f"A window of {window} tokens holds nothing; choose a larger one.", "request")
    if not 0 <= layers <= config.num_hidden_layers:
        raise ModelError(
            f"{layers} layers cannot slide in a model of {config.num_hidden_layers}; choose 0 to "
            f"{config.num_hidden_layers}.",
            "request",
        )
    kept = config.num_hidden_layers - layers
    top = tuple(min(window, own or window) for own in config.layer_windows[kept:])
    return replace(config, layer_windows=config.layer_windows[:kept] + top)


def parse_transformer(read: Fields, kind: str) -> TransformerConfig:
    """The fields of a model of the type `kind`, one of `TRANSFORMERS`. ModelError as in `parse_config`."""
    shape = TRANSFORMERS[kind]
    shared = common(read, kind)
    hidden, layers = shared["hidden_size"], shared["num_hidden_layers"]
    heads = read.count("num_attention_heads", 4096)
    kv_heads = read.optional_count("num_key_value_heads", 4096) or heads
    if heads % kv_heads:
        read.refuse("num_key_value_heads", f"{heads} attention heads cannot share it evenly")
    head_dim = read.optional_count("head_dim", 4096) or shape.head_dim
    if head_dim is None:
        if hidden % heads:
            read.refuse("hidden_size", f"{heads} attention heads cannot divide it")
        head_dim = hidden // heads
    if head_dim % 2:
        read.refuse("head_dim", f"rotary embeddings turn pairs, and {head_dim} is odd", value=head_dim)
    activation = read.text("hidden_act") or "silu"
    if activation != "silu":
        raise ModelError(
            f"{read.name}: hidden_act {show(activation)} is not known for {kind}; only silu is.", "unsupported"
        )
    longest = read.optional_count("max_position_embeddings", 1 << 30) or shape.max_position_embeddings
    attention_bias = shape.attention_bias and read.flag("attention_bias", False)
    attention_bias = attention_bias or (shape.bias and read.flag("bias", True))
    return TransformerConfig(
        **shared,
        intermediate_size=read.count("intermediate_size", 1 << 22),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        rms_norm_eps=read.number("rms_norm_eps", 1e-6, above=0.0, most=1.0),
        max_position_embeddings=longest,
        rope=_rope(read, longest),
        layer_windows=_windows(read, shape, layers),
        qkv_bias=shape.qkv_bias or attention_bias,
        attention_output_bias=attention_bias,
        mlp_bias=shape.mlp_bias and read.flag("mlp_bias", False),
        qk_norm=shape.qk_norm,
        hidden_act=activation,
        pangu=parse_pangu(read, hidden) if shape.pangu else None,
    )


class _Shape(NamedTuple):
    """What a model type decides by itself; the defaults are those of its transformers class."""

    qkv_bias: bool = False
    attention_bias: bool = False
    """Whether the field of this name is honoured; it biases q, k, v and the output."""
    bias: bool = False
    """Whether the field of this name does so; openPangu has it in the other's place, and true where it is absent."""
    mlp_bias: bool = False
    """Whether the field of this name is honoured."""
    qk_norm: bool = False
    max_position_embeddings: int = 32768
    head_dim: int | None = None
    """None: hidden_size / num_attention_heads."""
    windows: Literal["top", "every", "listed"] = "listed"
    """What slides without `layer_types`: from `max_window_layers` on if `use_sliding_window`; all; none."""
    pangu: bool = False
    """Whether the fields of PanGu-π are read (model.config.pangu)."""


TRANSFORMERS: Mapping[str, _Shape] = MappingProxyType(
    {
        "qwen2": _Shape(qkv_bias=True, windows="top"),
        "qwen3": _Shape(attention_bias=True, qk_norm=True, head_dim=128, windows="top"),
        "llama": _Shape(attention_bias=True, mlp_bias=True, max_position_embeddings=2048),
        "mistral": _Shape(max_position_embeddings=4096 * 32, windows="every"),
        "pangu_pi": _Shape(max_position_embeddings=2048, pangu=True),
        "PanguEmbedded": _Shape(bias=True),
    }
)
"""The model types that `parse_transformer` describes."""


def _windows(read: Fields, shape: _Shape, layers: int) -> tuple[int | None, ...]:
    """Each layer's window by transformers' rule since 4.53: `layer_types`, else the model type's custom."""
    switch = shape.windows != "top" or read.flag("use_sliding_window", False)
    absent = 4096 if shape.windows != "listed" and "sliding_window" not in read.fields else None
    window = (read.optional_count("sliding_window", 1 << 30) or absent) if switch else None
    types = read.get("layer_types")
    if types is None:
        if window is None or shape.windows == "listed":
            return (None,) * layers
        first = read.integer("max_window_layers", 28, least=0, most=1 << 30) if shape.windows == "top" else 0
        return tuple(window if layer >= first else None for layer in range(layers))
    if not isinstance(types, list) or len(types) != layers:
        read.refuse("layer_types", f"a list of {layers} names is needed, one a layer")
    for one in types:
        if one not in ("full_attention", "sliding_attention"):
            raise ModelError(f"{read.name}: layer_types has {show(one)}, which is not known here.", "unsupported")
    if window is None and "sliding_attention" in types:
        why = "use_sliding_window is false" if not switch else "sliding_window is not set"
        read.refuse("layer_types", f"some layers slide while {why}", value="sliding_attention")
    return tuple(window if one == "sliding_attention" else None for one in types)


def _rope(read: Fields, longest: int) -> RopeParameters:
    """Both spellings merged as transformers does: `rope_scaling` if it is there, else `rope_parameters`."""
    where = "rope_scaling" if read.get("rope_scaling") else "rope_parameters"
    rope = read.inner(where)
    if any(isinstance(value, dict) for value in rope.fields.values()):
        raise ModelError(f"{read.name}: {where} differs by layer, which is not known here.", "unsupported")
    kind = rope.text("rope_type") or rope.text("type") or "default"
    theta = rope if rope.get("rope_theta") is not None else read
    base = theta.number("rope_theta", 10000.0, above=1.0, most=1e12)
    if kind not in get_args(RopeType):
        raise ModelError(f"{read.name}: {where} has the type {show(kind)}, which is not known here.", "unsupported")
    partial = rope if rope.get("partial_rotary_factor") is not None else read
    if partial.number("partial_rotary_factor", 1.0) != 1.0:
        raise ModelError(f"{read.name}: a partial_rotary_factor is not known here.", "unsupported")
    if kind == "default":
        return RopeParameters(type="default", theta=base)
    original = None
    if kind in ("yarn", "llama3"):
        outer = read if read.get("original_max_position_embeddings") is not None else rope
        original = outer.optional_count("original_max_position_embeddings", 1 << 30) or longest
    if rope.get("factor") is None and kind == "yarn" and original is not None:
        factor = longest / original
    else:
        factor = rope.number("factor", None, above=0.0, most=1e6)
    low = high = None
    if kind == "llama3":
        low = rope.number("low_freq_factor", None, above=0.0, most=1e6)
        high = rope.number("high_freq_factor", None, above=0.0, most=1e6)
        if high <= low:
            rope.refuse("high_freq_factor", f"it must be above low_freq_factor, {low:g}")
    return RopeParameters(
        type=cast(RopeType, kind),
        theta=base,
        factor=factor,
        original_max_position_embeddings=original,
        beta_fast=rope.number("beta_fast", 32.0, above=0.0, most=1e6),
        beta_slow=rope.number("beta_slow", 1.0, above=0.0, most=1e6),
        attention_factor=rope.optional_number("attention_factor"),
        mscale=rope.optional_number("mscale"),
        mscale_all_dim=rope.optional_number("mscale_all_dim"),
        truncate=rope.flag("truncate", True),
        low_freq_factor=low,
        high_freq_factor=high,
    )
