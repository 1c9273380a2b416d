"""How a config.json says that MLX packed the weights. It knows no architecture."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

from model.config.fields import Fields, choice_of, show
from model.errors import ModelError

QuantizationMode = Literal["affine", "mxfp4", "mxfp8", "nvfp4"]


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


def parse_quantization(fields: Mapping[str, object], name: str) -> Quantization | None:
    """How a config.json says MLX packed the weights. ModelError "unsupported" for other methods' packing."""
    return quantization_of(Fields(fields, name))


_GROUPS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "affine": ((64, 32, 128), (4, 2, 3, 5, 6, 8)),
    "mxfp4": ((32,), (4,)),
    "mxfp8": ((32,), (8,)),
    "nvfp4": ((16,), (4,)),
}
"""What MLX's kernels take, by mode: group sizes and bits, its defaults first."""


def quantization_of(read: Fields) -> Quantization | None:
    """mlx-lm's entry, under either key; those of other methods (they name a `quant_method`) are refused."""
    where = "quantization" if read.get("quantization") is not None else "quantization_config"
    if read.get(where) is None:
        return None
    inner = read.inner(where)
    if "bits" not in inner.fields or inner.get("quant_method") not in (None, "mlx"):
        method = inner.text("quant_method") or "an unnamed method"
        raise ModelError(
            f"{read.name}: the weights are quantised by {show(method)}; choose an MLX version of the model.",
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


def _layer_quantization(read: Fields, default: LayerQuantization | None = None) -> LayerQuantization:
    mode = read.text("mode") or (default.mode if default else "affine")
    if mode not in _GROUPS:
        raise ModelError(f"{read.name}: {read.label('mode')} is {show(mode)}, which MLX does not know.", "unsupported")
    groups, widths = _GROUPS[mode]
    usual = default if default is not None and default.mode == mode else LayerQuantization(groups[0], widths[0])
    group_size = read.integer("group_size", usual.group_size, least=1, most=1 << 20)
    bits = read.integer("bits", usual.bits, least=1, most=64)
    if group_size not in groups:
        read.refuse("group_size", f"MLX takes {choice_of(groups)}", value=group_size)
    if bits not in widths:
        read.refuse("bits", f"MLX takes {choice_of(widths)}", value=bits)
    return LayerQuantization(group_size, bits, cast(QuantizationMode, mode))
