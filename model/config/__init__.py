"""A checkpoint's config.json, read once into typed, validated fields.

It knows no MLX, no weights and no tokenizer, and it runs nothing a checkpoint brings (`auto_map` is never looked at).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from model.config.base import UNBOUNDED, Config
from model.config.fields import MAX_FILE, Fields, parse_model_type, read_fields, read_object, show
from model.config.quantization import LayerQuantization, Quantization, parse_quantization
from model.config.rwkv import RWKV4_END, RecurrentConfig, Rwkv4Config, Rwkv7Config, parse_rwkv4, parse_rwkv7
from model.config.transformer import TRANSFORMERS, RopeParameters, TransformerConfig, parse_transformer, with_window
from model.errors import ModelError

__all__ = [
    "MAX_FILE",
    "RWKV4_END",
    "SHAPES",
    "UNBOUNDED",
    "Config",
    "LayerQuantization",
    "Quantization",
    "RecurrentConfig",
    "RopeParameters",
    "Rwkv4Config",
    "Rwkv7Config",
    "TransformerConfig",
    "model_type",
    "parse_config",
    "parse_model_type",
    "parse_quantization",
    "read_config",
    "read_fields",
    "read_object",
    "with_window",
]

SHAPES: Mapping[str, Callable[[Fields, str], Config]] = MappingProxyType(
    {**dict.fromkeys(TRANSFORMERS, parse_transformer), "rwkv": parse_rwkv4, "rwkv7": parse_rwkv7}
)
"""Who reads the fields of which model type."""


def read_config(folder: Path) -> Config:
    """The validated config.json of a checkpoint folder. ModelError where it is missing or cannot be true."""
    return parse_config(read_fields(folder), folder.name)


def model_type(folder: Path) -> str:
    """The architecture that config.json names. ModelError where it names none."""
    return parse_model_type(read_fields(folder), folder.name)


def parse_config(fields: Mapping[str, object], name: str) -> Config:
    """The fields of a config.json, validated. `name` is what errors call the checkpoint.

    For the types in `SHAPES`, each by its own rules. ModelError: kind "checkpoint" for values that cannot be,
    "unsupported" for types and features that are not described here.
    """
    kind = parse_model_type(fields, name)
    if (parse := SHAPES.get(kind)) is None:
        raise ModelError(f"{name}: the shape of {show(kind)} models is not described here.", "unsupported")
    return parse(Fields(fields, name), kind)
