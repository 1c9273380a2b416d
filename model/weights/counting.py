"""How many weights the tensors of a checkpoint hold, from the headers of its files. It knows no MLX."""

import math
from collections.abc import Mapping
from pathlib import Path

from model.config import Quantization
from model.weights.safetensors import TensorInfo


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
