"""A model's shape and its vocabulary, read from what lies on disk: config.json, headers, the tokenizer's files.

It never reads weights, and loads no MLX.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import QuietlyError
from app.home import expanded
from app.inspecting.stored import StoredPart, stored_parts
from app.inspecting.vocabulary import open_tokenizer
from model.config import Config, parse_config, read_object
from model.errors import ModelError
from model.facts import is_tied
from model.weights.blinkdl import read_fields
from model.weights.conversions import is_pth
from model.weights.counting import has_head

if TYPE_CHECKING:
    from model.tokenizer import Tokenizer
    from model.weights.safetensors import TensorInfo

    Files = Mapping[Path, Mapping[str, TensorInfo]]

_FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""What a config calls the types of numbers in safetensors."""


@dataclass(frozen=True)
class Shape:
    """The architecture, where it is one that `model.config` describes."""

    config: Config
    tied: bool


@dataclass(frozen=True)
class Undescribed:
    """Another architecture, as far as the headers of its weights tell."""

    why: str
    """The sentence that says so."""
    parts: tuple[StoredPart, ...]


@dataclass(frozen=True)
class Inspection:
    """All that is known about one model. Where its tokenizer cannot be read there is a sentence instead."""

    name: str
    shape: Shape | Undescribed
    tokenizer: "Tokenizer | str"
    asked: int | None
    """Tokens of conversation to price; None is all that it was trained on."""

    @property
    def context(self) -> int:
        """Tokens of conversation that are priced; 0 where the shape is not known."""
        return self.asked or (self.shape.config.trained if isinstance(self.shape, Shape) else 0)


def inspect(reference: str, context: int | None, folders: Iterable[Path]) -> Inspection:
    """Read what `reference` means: a config.json, a folder with one, a GGUF file, or an installed model by name.

    `context` is in tokens. QuietlyError where there is no such model, its configuration cannot be true, or neither its
    shape nor its weights tell what it is made of.
    """
    name, path = located(reference, folders)
    try:
        shape = _shape(path, name)
    except ModelError as error:
        raise QuietlyError(str(error)) from None
    return Inspection(name, shape, _tokenizer(path, name), context)


def located(reference: str, folders: Iterable[Path]) -> tuple[str, Path]:
    """The name of what `reference` means, and where it lies: a folder, a GGUF file, or a .json file by itself."""
    path = expanded(reference)
    if path.suffix == ".json":
        alone = path.name not in ("config.json", "tokenizer.json")
        return path.stem if alone else path.absolute().parent.name, path
    from app.library.local import find

    found = find(reference, folders)
    return found.name, found.path


def _shape(path: Path, name: str) -> Shape | Undescribed:
    """The shape, or what is known instead. ModelError where there is nothing to be known."""
    fields: Mapping[str, object] = {}
    folder = path if path.is_dir() or not path.exists() else path.parent
    try:
        if path.suffix == ".json":
            fields = read_object(path, name)
        else:
            fields = _file_fields(path) if path.is_file() else read_fields(path)
        config = parse_config(fields, name)
    except ModelError as error:
        if error.kind != "unsupported":
            raise
        parts = stored_parts(folder if path.suffix == ".json" else path, fields, name)
        if not parts:
            raise
        return Undescribed(str(error), parts)
    files = _weights(folder) if path.suffix == ".json" or path.is_dir() else {}
    return Shape(
        replace(config, dtype=_stored_type(files) or config.dtype),
        is_tied(config, not has_head(files) if files else None),
    )


def _tokenizer(path: Path, name: str) -> "Tokenizer | str":
    try:
        return open_tokenizer(path, name)
    except QuietlyError as error:
        return str(error)


def _file_fields(path: Path) -> dict[str, object]:
    """What config.json would say, from the file's header."""
    return _pth_fields(path) if is_pth(path) else _gguf_fields(path)


def _pth_fields(path: Path) -> dict[str, object]:
    from model.weights.blinkdl import fields_of
    from model.weights.pth import read

    return fields_of(read(path), path.stem)


def _gguf_fields(path: Path) -> dict[str, object]:
    from model.weights.gguf_header import read
    from model.weights.gguf_shape import ROPE_FACTORS, config_of, our_name
    from model.weights.gguf_types import TYPES, packing

    header = read(path, vocabulary=False)
    tensors = {our_name(path, tensor.name): tensor for tensor in header.tensors if tensor.name != ROPE_FACTORS}
    forms = {
        name: form
        for name, tensor in tensors.items()
        if len(tensor.shape) == 2 and tensor.kind in TYPES and (form := packing(tensor.kind, tensor.shape[1], None))
    }
    # Factors of a stretched rope change angles, not costs.
    return config_of(header, {name: tensor.shape for name, tensor in tensors.items()}, forms, None)


def _weights(folder: Path) -> "Files":
    """The tensors of its files; none where there are no weights, or none that can be read."""
    from model.weights.safetensors import shards

    try:
        return shards(folder)
    except ModelError:
        return {}


def _stored_type(files: "Files") -> str | None:
    """The type of what is not packed, whatever config.json says of it: that of most bytes; None where none tells."""
    sizes = Counter[str]()
    for tensors in files.values():
        for tensor in tensors.values():
            sizes[tensor.dtype] += tensor.nbytes if tensor.dtype in _FLOATS else 0
    found = sizes.most_common(1)
    return _FLOATS.get(found[0][0]) if found else None
