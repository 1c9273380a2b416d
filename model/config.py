"""A checkpoint's config.json, read once into typed, validated fields.

For decoders of the Qwen2 and Llama shape: embeddings, blocks of attention and gated feed-forward, a head. It
knows no MLX, no weights and no tokenizer, and it runs nothing a checkpoint brings (`auto_map` is never looked
at). Both spellings are understood, that of transformers 5 (`rope_parameters`, `dtype`) and that of 4
(`rope_theta`, `rope_scaling`, `torch_dtype`).
"""

import json
import math
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, NoReturn, cast, get_args

from model.errors import ModelError

MAX_FILE = 16 * 1024 * 1024
"""Bytes. The longest published config.json, with an override for every layer, has a hundredth of it."""

RopeType = Literal["default", "linear", "dynamic", "yarn", "llama3"]
QuantizationMode = Literal["affine", "mxfp4", "mxfp8", "nvfp4"]


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


@dataclass(frozen=True, slots=True)
class LayerQuantization:
    """How one matrix is stored: `bits` a weight, scales for every `group_size` weights of a row."""

    group_size: int
    bits: int
    mode: QuantizationMode = "affine"

    @property
    def bits_per_weight(self) -> float:
        """Bits a weight takes and its share of the scales: 16 for scale and bias each in affine, else 8."""
        return self.bits + (32 if self.mode == "affine" else 8) / self.group_size


@dataclass(frozen=True, slots=True)
class Quantization:
    """MLX's quantisation of a checkpoint: one rule, and the modules that differ from it."""

    default: LayerQuantization
    overrides: Mapping[str, LayerQuantization | None] = field(default_factory=dict, hash=False)
    """By module path ("model.layers.0.mlp.down_proj"); None: stored as it is."""

    def of(self, module: str) -> LayerQuantization | None:
        """How the module at this path is stored, if it has scales at all."""
        return self.overrides.get(module, self.default)


@dataclass(frozen=True, slots=True)
class Config:
    """The shape of a decoder. Counts are of elements, lengths of tokens; names are the checkpoint's own."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    max_position_embeddings: int
    rope: RopeParameters
    layer_windows: tuple[int | None, ...]
    """One a layer. None: a token sees all before it; W: itself and the W - 1 before it."""
    tie_word_embeddings: bool | None
    """None where the file does not say: tied exactly if the weights have no lm_head."""
    qkv_bias: bool = False
    attention_output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    """An RMSNorm over each head of q and k (Qwen3)."""
    hidden_act: str = "silu"
    quantization: Quantization | None = None
    dtype: str | None = None
    eos_token_ids: tuple[int, ...] = ()
    bos_token_id: int | None = None

    @property
    def context(self) -> int:
        """Tokens it can take; a YaRN config may keep the `max_position_embeddings` of before stretching."""
        rope = self.rope
        if rope.type == "yarn" and rope.original_max_position_embeddings is not None:
            return max(self.max_position_embeddings, int(rope.original_max_position_embeddings * rope.factor))
        return self.max_position_embeddings


def with_window(config: Config, window: int, layers: int) -> Config:
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


def read_config(folder: Path) -> Config:
    """The validated config.json of a checkpoint folder. ModelError where it is missing or cannot be true."""
    return parse_config(read_fields(folder), folder.name)


def model_type(folder: Path) -> str:
    """The architecture that config.json names. ModelError where it names none."""
    return parse_model_type(read_fields(folder), folder.name)


def read_fields(folder: Path) -> dict[str, object]:
    """config.json as it stands, its values unchecked. ModelError where it is missing or not a JSON object."""
    return read_object(folder / "config.json", folder.name)


def read_object(path: Path, name: str) -> dict[str, object]:
    """A JSON file that must hold an object. ModelError names the checkpoint, as `name`, and the file."""
    label = f"{name}: {path.name}"
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            raise ModelError(f"{label} is not a file; choose a folder that holds a checkpoint.")
        if status.st_size > MAX_FILE:
            raise ModelError(
                f"{label} has {status.st_size} bytes, no checkpoint needs more than {MAX_FILE}; get it again."
            )
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(f"{label} is missing; choose a folder that holds a whole checkpoint.") from None
    except OSError as error:
        raise ModelError(f"{label} cannot be read ({error.strerror}); check who may read it.") from None
    except ValueError:
        raise ModelError(f"{label} is not UTF-8 text; get the checkpoint again.") from None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ModelError(f"{label} is not valid JSON; get the checkpoint again.") from None
    if not isinstance(value, dict):
        raise ModelError(f"{label} holds {_kind(value)} where an object is needed; get the checkpoint again.")
    return value


def parse_model_type(fields: Mapping[str, object], name: str) -> str:
    """`model_type` of a config's fields. ModelError where it is absent, empty or not a string."""
    value = fields.get("model_type")
    if not isinstance(value, str) or not value:
        raise ModelError(f"{name}: config.json names no model_type; choose a checkpoint with its full configuration.")
    return value


def parse_quantization(fields: Mapping[str, object], name: str) -> Quantization | None:
    """How a config.json says MLX packed the weights. ModelError "unsupported" for other methods' packing."""
    return _quantization(_Fields(fields, name))


def parse_config(fields: Mapping[str, object], name: str) -> Config:
    """The fields of a config.json, validated. `name` is what errors call the checkpoint.

    For the types in `SHAPES`, each by its own rules. ModelError: kind "checkpoint" for values that cannot be,
    "unsupported" for types and features that are not described here.
    """
    kind = parse_model_type(fields, name)
    if (shape := SHAPES.get(kind)) is None:
        raise ModelError(f"{name}: the shape of {_show(kind)} models is not described here.", "unsupported")
    read = _Fields(fields, name)
    heads = read.count("num_attention_heads", 4096)
    hidden = read.count("hidden_size", 1 << 18)
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
            f"{name}: hidden_act {_show(activation)} is not known for {kind}; only silu is.", "unsupported"
        )

    layers = read.count("num_hidden_layers", 4096)
    longest = read.optional_count("max_position_embeddings", 1 << 30) or shape.max_position_embeddings
    attention_bias = shape.attention_bias and read.flag("attention_bias", False)
    return Config(
        model_type=kind,
        vocab_size=read.count("vocab_size", 1 << 24),
        hidden_size=hidden,
        intermediate_size=read.count("intermediate_size", 1 << 22),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        rms_norm_eps=read.number("rms_norm_eps", 1e-6, above=0.0, most=1.0),
        max_position_embeddings=longest,
        rope=_rope(read, longest),
        layer_windows=_windows(read, shape, layers),
        tie_word_embeddings=read.optional_flag("tie_word_embeddings"),
        qkv_bias=shape.qkv_bias or attention_bias,
        attention_output_bias=attention_bias,
        mlp_bias=shape.mlp_bias and read.flag("mlp_bias", False),
        qk_norm=shape.qk_norm,
        hidden_act=activation,
        quantization=_quantization(read),
        dtype=_dtype(read),
        eos_token_ids=_token_ids(read, "eos_token_id"),
        bos_token_id=next(iter(_token_ids(read, "bos_token_id")), None),
    )


class _Shape(NamedTuple):
    """What a model type decides by itself; the defaults are those of its transformers class."""

    qkv_bias: bool = False
    attention_bias: bool = False
    """Whether the field of this name is honoured; it biases q, k, v and the output."""
    mlp_bias: bool = False
    """Whether the field of this name is honoured."""
    qk_norm: bool = False
    max_position_embeddings: int = 32768
    head_dim: int | None = None
    """None: hidden_size / num_attention_heads."""
    windows: Literal["top", "every", "listed"] = "listed"
    """What slides without `layer_types`: from `max_window_layers` on if `use_sliding_window`; all; none."""


SHAPES: Mapping[str, _Shape] = MappingProxyType(
    {
        "qwen2": _Shape(qkv_bias=True, windows="top"),
        "qwen3": _Shape(attention_bias=True, qk_norm=True, head_dim=128, windows="top"),
        "llama": _Shape(attention_bias=True, mlp_bias=True, max_position_embeddings=2048),
        "mistral": _Shape(max_position_embeddings=4096 * 32, windows="every"),
    }
)
"""The model types that `parse_config` describes."""


def _windows(read: "_Fields", shape: _Shape, layers: int) -> tuple[int | None, ...]:
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
            raise ModelError(f"{read.name}: layer_types has {_show(one)}, which is not known here.", "unsupported")
    if window is None and "sliding_attention" in types:
        why = "use_sliding_window is false" if not switch else "sliding_window is not set"
        read.refuse("layer_types", f"some layers slide while {why}", value="sliding_attention")
    return tuple(window if one == "sliding_attention" else None for one in types)


def _rope(read: "_Fields", longest: int) -> RopeParameters:
    """Both spellings merged as transformers does: `rope_scaling` if it is there, else `rope_parameters`."""
    where = "rope_scaling" if read.get("rope_scaling") else "rope_parameters"
    rope = read.inner(where)
    if any(isinstance(value, dict) for value in rope.fields.values()):
        raise ModelError(f"{read.name}: {where} differs by layer, which is not known here.", "unsupported")
    kind = rope.text("rope_type") or rope.text("type") or "default"
    theta = rope if rope.get("rope_theta") is not None else read
    base = theta.number("rope_theta", 10000.0, above=1.0, most=1e12)
    if kind not in get_args(RopeType):
        raise ModelError(f"{read.name}: {where} has the type {_show(kind)}, which is not known here.", "unsupported")
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


_GROUPS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "affine": ((64, 32, 128), (4, 2, 3, 5, 6, 8)),
    "mxfp4": ((32,), (4,)),
    "mxfp8": ((32,), (8,)),
    "nvfp4": ((16,), (4,)),
}
"""What MLX's kernels take, by mode: group sizes and bits, its defaults first."""


def _quantization(read: "_Fields") -> Quantization | None:
    """mlx-lm's entry, under either key; those of other methods (they name a `quant_method`) are refused."""
    where = "quantization" if read.get("quantization") is not None else "quantization_config"
    if read.get(where) is None:
        return None
    inner = read.inner(where)
    if "bits" not in inner.fields or inner.get("quant_method") not in (None, "mlx"):
        method = inner.text("quant_method") or "an unnamed method"
        raise ModelError(
            f"{read.name}: the weights are quantised by {_show(method)}; choose an MLX version of the model.",
            "unsupported",
        )
    default = _layer_quantization(inner)
    overrides: dict[str, LayerQuantization | None] = {}
    for key, value in inner.fields.items():
        if isinstance(value, dict):
            overrides[key] = _layer_quantization(inner.inner(key), default)
        elif value is False and "." in key:
            overrides[key] = None
    return Quantization(default, overrides)


def _layer_quantization(read: "_Fields", default: LayerQuantization | None = None) -> LayerQuantization:
    mode = read.text("mode") or (default.mode if default else "affine")
    if mode not in _GROUPS:
        raise ModelError(f"{read.name}: {read.label('mode')} is {_show(mode)}, which MLX does not know.", "unsupported")
    groups, widths = _GROUPS[mode]
    usual = default if default is not None and default.mode == mode else LayerQuantization(groups[0], widths[0])
    group_size = read.integer("group_size", usual.group_size, least=1, most=1 << 20)
    bits = read.integer("bits", usual.bits, least=1, most=64)
    if group_size not in groups:
        read.refuse("group_size", f"MLX takes {_choice(groups)}", value=group_size)
    if bits not in widths:
        read.refuse("bits", f"MLX takes {_choice(widths)}", value=bits)
    return LayerQuantization(group_size, bits, cast(QuantizationMode, mode))


def _dtype(read: "_Fields") -> str | None:
    value = read.text("dtype") or read.text("torch_dtype")
    return value.removeprefix("torch.") if value else None


def _token_ids(read: "_Fields", key: str) -> tuple[int, ...]:
    value = read.get(key)
    values = value if isinstance(value, list) else [] if value is None else [value]
    for one in values:
        if not isinstance(one, int) or isinstance(one, bool) or not 0 <= one < 1 << 31:
            read.refuse(key, "token ids are whole numbers from 0 on")
    return tuple(values)


class _Fields:
    """A JSON object, its values taken by type and range; a refusal names checkpoint, field and value.

    JSON's true is a Python int and its NaN a float, so each reader checks for them. A null counts as absent.
    """

    def __init__(self, fields: Mapping[str, object], name: str, above: str = "") -> None:
        self.fields = fields
        self.name = name
        self._above = above

    def get(self, key: str) -> object:
        return self.fields.get(key)

    def label(self, key: str) -> str:
        """The field as a person finds it, outer objects first; in ASCII and short, whatever a file has."""
        return self._above + json.dumps(key[:40])[1:-1]

    def refuse(self, key: str, because: str, value: object = None) -> NoReturn:
        shown = _show(self.fields.get(key) if value is None else value)
        raise ModelError(f"{self.name}: config.json has {self.label(key)} = {shown}, but {because}; get it again.")

    def inner(self, key: str) -> "_Fields":
        value = self.get(key)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            self.refuse(key, "an object is needed")
        return _Fields(cast(dict[str, object], value), self.name, f"{self.label(key)}.")

    def integer(self, key: str, absent: int | None, *, least: int, most: int) -> int:
        """A whole number within bounds; without the field `absent`, or ModelError where that is None too."""
        value = self.get(key)
        if value is None:
            if absent is None:
                raise ModelError(
                    f"{self.name}: config.json has no {self.label(key)}; choose a checkpoint with all of it."
                )
            return absent
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(key, "a whole number is needed")
        if not least <= value <= most:
            self.refuse(key, f"it must lie between {least} and {most}")
        return value

    def count(self, key: str, most: int) -> int:
        return self.integer(key, None, least=1, most=most)

    def optional_count(self, key: str, most: int) -> int | None:
        return None if self.get(key) is None else self.count(key, most)

    def number(self, key: str, absent: float | None, *, above: float = -math.inf, most: float = math.inf) -> float:
        """A finite number, `above < number <= most`; `absent` as in `integer`."""
        value = self.get(key)
        if value is None and absent is not None:
            return absent
        if value is None:
            raise ModelError(f"{self.name}: config.json has no {self.label(key)}; choose a checkpoint with all of it.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(key, "a number is needed")
        if not (abs(value) < 1e300 and above < value <= most):
            self.refuse(key, f"a finite number above {above:g} and up to {most:g} is needed")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        return None if self.get(key) is None else self.number(key, None, above=0.0, most=1e6)

    def optional_flag(self, key: str) -> bool | None:
        value = self.get(key)
        if value is not None and not isinstance(value, bool):
            self.refuse(key, "true or false is needed")
        return value

    def flag(self, key: str, absent: bool) -> bool:
        value = self.optional_flag(key)
        return absent if value is None else value

    def text(self, key: str) -> str | None:
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            self.refuse(key, "a string is needed")
        return value


def _show(value: object) -> str:
    """A value of a file inside a sentence: on one line, in ASCII, and never long."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return _kind(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _choice(values: tuple[int, ...]) -> str:
    values = tuple(sorted(values))
    return f"{', '.join(map(str, values[:-1]))} or {values[-1]}" if len(values) > 1 else str(values[0])
