"""What a checkpoint is made of by the names of its tensors: for architectures whose shape is not described here.

Headers only; how a tensor is called decides what it is part of.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from model.config import Quantization, parse_quantization
from model.errors import ModelError

PARTS = ("embeddings", "attention", "recurrence", "feed-forward", "norms", "head", "other")
_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("norms", ("norm", "ln_", "ln0", "ln1", "ln2")),
    ("head", ("lm_head", "output.weight", "head.weight")),
    ("embeddings", ("embed", "wte", "token_embd")),
    ("recurrence", ("mixer", "time_mix", ".att.", "ssm", "conv")),
    ("attention", ("attn", "attention")),
    ("feed-forward", ("mlp", "ffn", "feed_forward", "expert", "channel_mix")),
)
"""What a tensor's name holds that belongs to a part; the first that fits decides."""


class StoredPart(NamedTuple):
    """A part as it is stored."""

    part: str
    parameters: int
    """Packed ones counted as what they stand for."""
    nbytes: int


def stored_parts(path: Path, fields: Mapping[str, object], name: str) -> tuple[StoredPart, ...]:
    """The parts of a folder or a GGUF file, in the order of `PARTS`; none where there are no weights to be read.

    `fields`: those of config.json, which say how weights are packed.
    """
    counts, sizes = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)
    try:
        for tensor, parameters, nbytes in _in_folder(path, fields, name) if path.is_dir() else _in_gguf(path):
            part = next((part for part, signs in _SIGNS if any(sign in tensor for sign in signs)), "other")
            counts[part] += parameters
            sizes[part] += nbytes
    except ModelError:
        return ()
    if not any(counts.values()):
        return ()  # nothing but scales of weights that are not there
    return tuple(StoredPart(part, counts[part], sizes[part]) for part in PARTS if sizes[part])


def _in_folder(path: Path, fields: Mapping[str, object], name: str) -> Iterator[tuple[str, int, int]]:
    from model.weights.counting import weight_count
    from model.weights.safetensors import shards

    packed = _packing(fields, name)
    for file, tensors in shards(path).items():
        for tensor, info in tensors.items():
            yield tensor, weight_count({file: {tensor: info}}, packed), info.nbytes


def _packing(fields: Mapping[str, object], name: str) -> Quantization | None:
    try:
        return parse_quantization(fields, name)
    except ModelError:
        return None  # another method's, of which the sizes are told as they are


def _in_gguf(path: Path) -> Iterator[tuple[str, int, int]]:
    from model.weights.gguf_header import read
    from model.weights.gguf_types import TYPES

    for tensor in read(path, vocabulary=False).tensors:
        parameters, form = math.prod(tensor.shape), TYPES.get(tensor.kind)
        yield tensor.name, parameters, parameters // form.block * form.size if form else 0
