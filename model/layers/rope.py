"""Rotary position embeddings (Su et al. 2021, arXiv 2104.09864) and the ways published checkpoints stretch them.

A scaling is nothing but another set of wavelengths, found once at load: the kernel that rotates is always MLX's own.
"""

import math

import mlx.core as mx
import mlx.nn as nn

from model.config import RopeParameters


class RotaryEmbedding(nn.Module):
    """Rotates the halves of each head: (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin), positions from `offset` on.

    x: (batch, heads, length, head_dim), any float type; the result has its shape and type. `offset` may be an array,
    of one position for all or of one for each of the batch. `rotate_half` order, as Hugging Face's checkpoints have it.
    """

    def __init__(self, head_dim: int, rope: RopeParameters, max_position_embeddings: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.theta = rope.theta
        self.position_scale = 1.0 / rope.factor if rope.type == "linear" else 1.0
        # YaRN sharpens attention by scaling cos and sin, which is the same as scaling x (arXiv 2309.00071, eq. 22).
        self.magnitude = 1.0
        self._wavelengths: mx.array | None = None  # the underscore keeps it out of the module's parameters
        trained_length = rope.original_max_position_embeddings or max_position_embeddings
        if rope.type == "yarn":
            self._wavelengths = _yarn_wavelengths(head_dim, rope, trained_length)
            self.magnitude = _yarn_magnitude(rope)
        elif rope.type == "llama3":
            self._wavelengths = _llama3_wavelengths(head_dim, rope, trained_length)

    def __call__(self, x: mx.array, offset: int | mx.array = 0) -> mx.array:
        if self.magnitude != 1.0:
            x = self.magnitude * x
        return mx.fast.rope(
            x,
            self.head_dim,
            traditional=False,
            base=None if self._wavelengths is not None else self.theta,
            scale=self.position_scale,
            offset=offset,
            freqs=self._wavelengths,
        )


def _plain_wavelengths(head_dim: int, theta: float) -> mx.array:
    """(head_dim / 2,): theta^(2i / head_dim), the reciprocals of the angular frequencies."""
    return mx.power(theta, mx.arange(0, head_dim, 2, dtype=mx.float32) / head_dim)


def _yarn_wavelengths(head_dim: int, rope: RopeParameters, trained_length: int) -> mx.array:
    """YaRN's blend: fast dimensions as trained, slow ones stretched by the factor (arXiv 2309.00071, eq. 17-20)."""

    def dimension_turning(rotations: float) -> float:
        """The dimension that makes this many full turns over the trained length."""
        return head_dim * math.log(trained_length / (rotations * 2 * math.pi)) / (2 * math.log(rope.theta))

    low, high = dimension_turning(rope.beta_fast), dimension_turning(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if high == low:
        high += 0.001  # a ramp of no width would divide by zero
    ramp = mx.clip((mx.arange(head_dim // 2, dtype=mx.float32) - low) / (high - low), 0, 1)
    wavelengths = _plain_wavelengths(head_dim, rope.theta)
    return 1.0 / (ramp / (rope.factor * wavelengths) + (1 - ramp) / wavelengths)


def _yarn_magnitude(rope: RopeParameters) -> float:
    """The factor on cos and sin, with DeepSeek's two mscales where a config gives them (transformers, as above)."""

    def temperature(mscale: float) -> float:
        return 0.1 * mscale * math.log(rope.factor) + 1.0 if rope.factor > 1 else 1.0

    if rope.attention_factor is not None:
        return rope.attention_factor
    if rope.mscale and rope.mscale_all_dim:
        return temperature(rope.mscale) / temperature(rope.mscale_all_dim)
    return temperature(1.0)


def _llama3_wavelengths(head_dim: int, rope: RopeParameters, trained_length: int) -> mx.array:
    """Llama 3.1's piecewise stretch: long waves by the factor, short ones not, a smooth blend between.

    Source: transformers, modeling_rope_utils._compute_llama3_parameters.
    """
    wavelengths = _plain_wavelengths(head_dim, rope.theta)
    turns = trained_length / (2 * math.pi * wavelengths)
    low, high = rope.low_freq_factor or 1.0, rope.high_freq_factor or 4.0
    smooth = mx.clip((turns - low) / (high - low), 0, 1)
    return 1.0 / ((1 - smooth) / (rope.factor * wavelengths) + smooth / wavelengths)
