"""Products with a single row, which are most of what a CPU computes for a token, and with many, which are a prompt's.

OpenBLAS puts a matrix into another order before it multiplies by it, also where the other side is one row, and so moves
far more bytes than the matrix has. Its kernels for small matrices read them where they lie: one core then takes in as
much as the memory gives (tests/benchmarks/LOG.md). So where it has such kernels, a large matrix is taken in small
pieces. Packed matrices are multiplied as they are by a few rows, and unpacked once for many where that pays
(`model.choices`). It knows arrays, no layers.
"""

import ctypes
import re
from functools import cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from model.choices import NEVER

_SMALL = 1 << 18
"""Numbers of a piece: OpenBLAS takes up to a million for small, and shares out more than this among threads, which
wait for each other longer than they help."""
_FEWEST = 16
"""Rows of a piece, at least: calling for fewer takes longer than multiplying."""
_SINCE = (0, 3, 21)
"""The first OpenBLAS that was found to have these kernels; 0.3.15 has not."""


class Linear(nn.Linear):
    """MLX's own, by `times`: x W^T + b."""

    def __call__(self, x: mx.array) -> mx.array:
        if not small_kernels():
            return super().__call__(x)
        result = times(x, self.weight)
        return result + self.bias if "bias" in self else result

    def to_quantized(
        self, group_size: int | None = None, bits: int | None = None, mode: str = "affine", quantize_input: bool = False
    ) -> nn.Module:
        if quantize_input:
            both: nn.Module = super().to_quantized(group_size, bits, mode, quantize_input)
            return both
        settings: dict[str, Any] = {"group_size": group_size, "bits": bits, "mode": mode}
        packed: Packed = Packed.from_linear(self, **settings)
        return packed


class Packed(nn.QuantizedLinear):
    """MLX's own, unpacked for a product with many rows."""

    unpack = NEVER
    """How many those are; `unpacked_from` says it."""

    def __call__(self, x: mx.array) -> mx.array:
        if x.size < self.unpack * x.shape[-1]:
            result: mx.array = super().__call__(x)
            return result
        weight = mx.dequantize(
            self.weight,
            self.scales,
            self.get("biases"),
            group_size=self.group_size,
            bits=self.bits,
            mode=self.mode,
            dtype=x.dtype,
        )
        product = x @ weight.T
        return product + self.bias if "bias" in self else product


def unpacked_from(network: nn.Module, rows: int) -> None:
    """Let the packed matrices of `network` be unpacked for products with so many rows."""
    for module in network.modules():
        if isinstance(module, Packed):
            module.unpack = rows


class Embedding(nn.Embedding):
    """MLX's own, by `times` where it is the last map of a model too."""

    def as_linear(self, x: mx.array) -> mx.array:
        return times(x, self.weight)


def times(x: mx.array, weight: mx.array) -> mx.array:
    """x W^T: from (..., width) and (rows, width) to (..., rows)."""
    rows, width = weight.shape
    piece = _piece(rows, width) if x.size == width and x.dtype == weight.dtype == mx.float32 else rows
    if piece == rows or not small_kernels():
        return x @ weight.T
    by_piece = x.reshape(1, 1, width) @ weight.reshape(-1, piece, width).swapaxes(1, 2)  # (pieces, 1, piece)
    return by_piece.reshape(*x.shape[:-1], rows)


@cache
def small_kernels() -> bool:
    """Whether products are computed on the CPU, by an OpenBLAS that has kernels for small matrices."""
    if mx.default_device().type == mx.DeviceType.gpu:
        return False
    try:
        ask = ctypes.CDLL(None).openblas_get_config  # whoever loaded it has made its names everybody's
    except AttributeError:
        return False
    ask.restype = ctypes.c_char_p
    return has_small_kernels(ask().decode(errors="replace"))


def has_small_kernels(config: str) -> bool:
    """The same of what an OpenBLAS says of itself: they came with a version, and for AVX-512 only."""
    version = re.search(r"OpenBLAS (\d+)\.(\d+)\.(\d+)", config)
    new = version is not None and tuple(map(int, version.groups())) >= _SINCE
    return new and re.search(r"\b(SkylakeX|Cooperlake|SapphireRapids)\b", config, re.IGNORECASE) is not None


@cache
def _piece(rows: int, width: int) -> int:
    """The most rows that a small piece can have for all to be of one size; all of them where that is too few."""
    most = min(rows, max(_SMALL // width, 1))
    piece = next(count for count in range(most, 0, -1) if rows % count == 0)
    return piece if piece >= _FEWEST else rows
