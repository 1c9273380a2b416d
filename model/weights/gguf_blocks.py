"""ggml's blocks of weights as MLX's affine quantisation: scale * code + bias, in numpy.

Where a type of ggml's means just that, its codes are kept and only packed differently. All others are dequantised by
the `gguf` package and quantised anew, which costs precision; how much is measured. It knows no files and no MLX.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, dequantize
from gguf.quants import Q4_K

from model.weights.gguf_types import GROUP, TYPES, Packing

Array = npt.NDArray[Any]
Affine = tuple[Array, Array, Array]
"""Codes uint8 (rows, groups, group size), scales and biases float32 (rows, groups)."""

_EPSILON = np.float32(1e-7)
"""The least scale that mx.quantize gives."""


@dataclass(frozen=True)
class Packed:
    """Rows in MLX's form: weights uint32 (rows, columns * bits / 32), scales and biases float16 (rows, groups)."""

    weights: Array
    scales: Array
    biases: Array
    error: float
    """Sum of the squared differences from what the file means; 0 where nothing was rounded."""
    power: float
    """Sum of the squares of what the file means; 0 where nothing was rounded."""


def pack(kind: GGMLQuantizationType, rows: Array, form: Packing) -> Packed:
    """Rows as ggml stores them, (rows, bytes) uint8, in MLX's form.

    ArithmeticError where the weights are not finite or beyond float16, in which MLX keeps the scales.
    """
    if kind in REPACKED and TYPES[kind].kept == form.bits:
        with np.errstate(all="ignore"):  # scales that are no numbers; `_halves` tells of them
            codes, exact_scales, exact_biases = REPACKED[kind](rows)
        scales, biases = _halves(exact_scales), _halves(exact_biases)
        scale_off, bias_off = scales - exact_scales, biases - exact_biases
        if not scale_off.any() and not bias_off.any():
            return Packed(packed_codes(codes, form.bits), scales, biases, 0.0, 0.0)
        values = codes.astype(np.float32)
        off = values * scale_off[..., None] + bias_off[..., None]
        weights = values * exact_scales[..., None] + exact_biases[..., None]
    else:
        weights = dequantised(kind, rows)
        codes, scales, biases = quantised(weights, form)
        weights = weights.reshape(codes.shape)
        off = codes * scales[..., None].astype(np.float32) + biases[..., None].astype(np.float32)
        off -= weights
    return Packed(packed_codes(codes, form.bits), scales, biases, _power(off), _power(weights))


def dequantised(kind: GGMLQuantizationType, rows: Array) -> Array:
    """Rows as ggml stores them, (rows, bytes) uint8, as float32 (rows, columns)."""
    if kind == GGMLQuantizationType.F32:
        return rows.view("<f4")
    if kind == GGMLQuantizationType.F16:
        return rows.view("<f2").astype(np.float32)
    with np.errstate(all="ignore"):  # hostile scales; what they make of the weights is looked at afterwards
        weights: Array = dequantize(rows, kind)
    return weights


def quantised(weights: Array, form: Packing) -> Affine:
    """float32 (rows, columns) by the rule of mx.quantize, but for scales and biases, which are float16 here.

    Of each group the end that is farther from 0 is hit exactly, and 0 is a code where it lies between the ends
    (mlx/backend/cpu/quantized.cpp, `quantize`). The codes fit the rounded scales and biases.
    """
    groups = weights.reshape(len(weights), -1, form.group)
    low = high = groups
    while low.shape[-1] > 1:  # far faster than a reduction over so short an axis
        half = low.shape[-1] // 2
        low, high = np.minimum(low[..., :half], low[..., half:]), np.maximum(high[..., :half], high[..., half:])
    low, high = low[..., 0], high[..., 0]
    top = 2**form.bits - 1
    with np.errstate(all="ignore"):  # weights that are no numbers; `_halves` tells of them
        down = np.abs(low) > np.abs(high)
        scales = np.maximum((high - low) / np.float32(top), _EPSILON) * np.where(down, np.float32(1), np.float32(-1))
        edges = np.where(down, low, high)
        steps = np.rint(edges / scales)
        rounded = np.where(steps == 0, scales, edges / np.where(steps == 0, np.float32(1), steps))
        scales, biases = _halves(rounded), _halves(np.where(steps == 0, np.float32(0), edges))
        # Rounded away from 0, for the codes to reach as far as the weights do.
        scales = np.where(
            np.abs(scales) < np.abs(rounded), np.nextafter(scales, np.copysign(np.float16(np.inf), scales)), scales
        )
    codes = groups - biases[..., None].astype(np.float32)
    codes *= np.float32(1) / scales[..., None].astype(np.float32)
    np.rint(codes, out=codes)
    np.clip(codes, 0, top, out=codes)
    return codes.astype(np.uint8), scales, biases


def packed_codes(codes: Array, bits: int) -> Array:
    """Codes (rows, groups, group size) as MLX packs them, the first lowest: uint32 (rows, columns * bits / 32)."""
    if bits == 4:
        pairs = np.ascontiguousarray(codes).view("<u2")
        codes = (pairs | (pairs >> 4)).astype(np.uint8)
    return np.ascontiguousarray(codes).reshape(len(codes), -1).view("<u4")


def _halves(values: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        halves = values.astype("<f2")
    if not np.isfinite(halves).all():
        raise ArithmeticError("weights that are not finite, or too large for half precision")
    return halves


def _power(values: Array) -> float:
    flat = values.reshape(-1)
    return float(np.dot(flat, flat))


# --- the types that mean what MLX means -----------------------------------------------------------------------------


def _blocks(rows: Array, size: int) -> Array:
    return rows.reshape(len(rows), -1, size)


def _half(blocks: Array, at: int) -> Array:
    """The float16 at byte `at` of each block, as float32."""
    halves: Array = blocks[..., at : at + 2].copy().view("<f2")[..., 0].astype(np.float32)
    return halves


def _nibbles(packed: Array) -> Array:
    """The low halves of the bytes, then the high ones."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def _fifth_bits(blocks: Array, at: int) -> Array:
    """The 32 bits at byte `at` of each block, each where it belongs in a code of 5 bits."""
    return np.unpackbits(blocks[..., at : at + 4], axis=-1, bitorder="little") << 4


def _scaled(codes: Array, scale: Array, zero: int) -> Affine:
    return codes, scale, scale * np.float32(-zero)


def _q4_0(rows: Array) -> Affine:
    blocks = _blocks(rows, 18)
    return _scaled(_nibbles(blocks[..., 2:]), _half(blocks, 0), 8)


def _q4_1(rows: Array) -> Affine:
    blocks = _blocks(rows, 20)
    return _nibbles(blocks[..., 4:]), _half(blocks, 0), _half(blocks, 2)


def _q5_0(rows: Array) -> Affine:
    blocks = _blocks(rows, 22)
    return _scaled(_nibbles(blocks[..., 6:]) | _fifth_bits(blocks, 2), _half(blocks, 0), 16)


def _q5_1(rows: Array) -> Affine:
    blocks = _blocks(rows, 24)
    return _nibbles(blocks[..., 8:]) | _fifth_bits(blocks, 4), _half(blocks, 0), _half(blocks, 2)


def _q8_0(rows: Array) -> Affine:
    blocks = _blocks(rows, 34)
    return _scaled(blocks[..., 2:] ^ 0x80, _half(blocks, 0), 128)  # signed there, unsigned here


def _q4_k(rows: Array) -> Affine:
    return _of_eight(_blocks(rows, 144), 16)


def _q5_k(rows: Array) -> Affine:
    blocks = _blocks(rows, 176)
    codes, scales, biases = _of_eight(blocks, 48)
    # Byte n holds the fifth bits of the n-th weights of the eight groups.
    bits = np.unpackbits(blocks[..., 16:48, None], axis=-1, bitorder="little").swapaxes(-1, -2)
    return codes | (bits << 4).reshape(codes.shape), scales, biases


def _of_eight(blocks: Array, codes_at: int) -> Affine:
    """Blocks of eight groups, each with a scale and a minimum of 6 bits: those of the block times these."""
    rows, count, _ = blocks.shape
    scale, least = Q4_K.get_scale_min(np.ascontiguousarray(blocks[..., 4:16]).reshape(-1, 12))
    scales = _half(blocks, 0)[..., None] * scale.reshape(rows, count, 8).astype(np.float32)
    biases = -_half(blocks, 2)[..., None] * least.reshape(rows, count, 8).astype(np.float32)
    codes = _nibbles(blocks[..., codes_at:].reshape(rows, count, 4, 32))
    return codes.reshape(rows, -1, GROUP), scales.reshape(rows, -1), biases.reshape(rows, -1)


_T = GGMLQuantizationType
REPACKED: dict[GGMLQuantizationType, Callable[[Array], Affine]] = {
    _T.Q4_0: _q4_0,
    _T.Q4_1: _q4_1,
    _T.Q4_K: _q4_k,
    _T.Q5_0: _q5_0,
    _T.Q5_1: _q5_1,
    _T.Q5_K: _q5_k,
    _T.Q8_0: _q8_0,
}
"""How to get at the codes of the types that are kept. All are exact, but for Q4_K and Q5_K: there a scale is the
product of a float16 and 6 bits, which float16 holds to a 2048th."""
