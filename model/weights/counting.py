"""What the tensors of a checkpoint tell by their names and shapes, from the headers of its files. It knows no MLX."""

import math
from collections.abc import Mapping
from pathlib import Path

from model.config import Quantization
from model.weights.safetensors import TensorInfo

HEADS = ("lm_head.weight", "head.weight")
"""What the head is called, by Hugging Face and by RWKV's author."""


def has_head(files: Mapping[Path, Mapping[str, TensorInfo]]) -> bool:
    """Whether a head is stored; where none is, the embedding is it, whatever a configuration says."""
    return any(head in tensors for tensors in files.values() for head in HEADS)


def weight_count(files: Mapping[Path, Mapping[str, TensorInfo]], quantization: Quantization | None) -> int:
    """Parameters, packed ones counted as what they stand for; scales and biases of a packing are none."""
    total = 0
    for tensors in files.values():
        for tensor, info in tensors.items():
            module, _, kind = tensor.rpartition(".")
            packing = quantization.of(module) if quantization and info.dtype == "U32" else None
            weights = math.prod(info.shape)
            if packing:
                total += weights * 32 // packing.bits
            elif kind not in ("scales", "biases"):
                total += weights
    return total
