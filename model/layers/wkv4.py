"""RWKV-4's WKV: channel by channel a weighted mean of all values so far (arXiv 2305.13048, eq. 16).

A value weighs e^key, and e^-decay less with each token behind it. What was seen of a channel is a pair: the logarithm,
to the base of two, of what all its values weigh together, and their mean. Two neighbouring stretches join to a pair
again, in any grouping; so a prompt is read span by span, all of its spans at once, then the spans of spans, and so on.
The published numerator, denominator and running maximum are the same in three numbers instead of two.

It knows no weights, and computes in float32 whatever it is given.
"""

import math
from collections.abc import Iterable
from itertools import accumulate

import mlx.core as mx

from model.compiling import on_gpu

Seen = tuple[mx.array, mx.array]
"""Level and mean, float32: (batch, channels), or with the pairs of several stretches on an axis between."""

_SPAN = 8
"""Pairs that are joined one after the other; measured with 4, 8, 16 and all (tests/benchmarks/LOG.md)."""
_NOTHING = -1e38
"""The level of nothing: it weighs 0 beside whatever comes, and is finite, so that no difference is a NaN."""
_FARTHEST = 64.0
"""Levels farther apart than this are as far apart as can be in float32."""
_BITS = math.log2(math.e)


def nothing_seen(batch: int, channels: int) -> Seen:
    return mx.full((batch, channels), _NOTHING), mx.zeros((batch, channels))


def wkv(
    keys: mx.array, values: mx.array, time_decay: mx.array, time_first: mx.array, seen: Seen
) -> tuple[mx.array, Seen]:
    """What each token gets of the values up to its own, (batch, length, channels), and what was seen after the last.

    `keys` and `values` are (batch, length, channels). `time_decay` and `time_first` (channels,) are as checkpoints have
    them: a token's own value weighs e^(time_first + key), one n + 1 tokens back e^(key - n * e^time_decay).
    """
    levels, values = keys.astype(mx.float32) * _BITS, values.astype(mx.float32)
    bonus = time_first.astype(mx.float32) * _BITS
    decay = mx.exp(time_decay.astype(mx.float32)) * _BITS
    if keys.shape[1] == 1:
        one = levels[:, 0], values[:, 0]
        _, mean = _joined(seen, (one[0] + bonus, one[1]))
        return mean[:, None], _joined(_faded(seen, decay), one)
    level, mean = _running(levels, values, decay, seen)
    _, means = _joined((level[:, :-1], mean[:, :-1]), (levels + bonus, values))
    # Not as slices, which would keep all that they were cut from for as long as the state lives.
    return means, (mx.contiguous(level[:, -1]), mx.contiguous(mean[:, -1]))


def _running(levels: mx.array, means: mx.array, decay: mx.array, seen: Seen) -> Seen:
    """What was seen before the first of neighbouring stretches (batch, stretches, channels), and after each of them.

    `decay` is what levels lose over one stretch.
    """

    def follow(before: Seen, stretch: Seen) -> Seen:
        return _joined(_faded(before, decay), stretch)

    batch, count, channels = levels.shape
    if count <= _SPAN:
        stretches = [(levels[:, index], means[:, index]) for index in range(count)]
        return _stacked(accumulate(stretches, follow, initial=seen), axis=1)
    spare = [(0, 0), (0, -count % _SPAN), (0, 0)]
    spans = batch, -1, _SPAN, channels
    levels = mx.pad(levels, spare, constant_values=_NOTHING).reshape(spans)
    means = mx.pad(means, spare).reshape(spans)
    within = list(accumulate([(levels[:, :, index], means[:, :, index]) for index in range(_SPAN)], follow))
    level, mean = _running(*within[-1], decay * _SPAN, seen)
    before = level[:, :-1, None], mean[:, :-1, None]
    passed = mx.arange(1, _SPAN + 1)[:, None] * decay
    level, mean = _joined(_faded(before, passed), _stacked(within, axis=2))
    return _behind(seen[0], level, count), _behind(seen[1], mean, count)


def _behind(first: mx.array, spans: mx.array, count: int) -> mx.array:
    """`first` (batch, channels), and the first `count` of what follows it (batch, spans, _SPAN, channels), in a row."""
    batch, channels = first.shape
    return mx.concatenate([first[:, None], spans.reshape(batch, -1, channels)[:, :count]], axis=1)


def _faded(seen: Seen, decay: mx.array) -> Seen:
    level, mean = seen
    return level - decay, mean


def _joined(earlier: Seen, later: Seen) -> Seen:
    """One stretch after the other."""
    level, mean = on_gpu(_join, otherwise=_join)(*earlier, *later)
    return level, mean


def _join(level: mx.array, mean: mx.array, later_level: mx.array, later_mean: mx.array) -> Seen:
    """By powers of two: on the CPU MLX's exponential takes three times as long."""
    ratio = mx.power(2.0, mx.minimum(level - later_level, _FARTHEST))
    share = ratio / (1 + ratio)
    return mx.maximum(level, later_level + mx.log2(1 + ratio)), later_mean + (mean - later_mean) * share


def _stacked(pairs: Iterable[Seen], axis: int) -> Seen:
    levels, means = map(list, zip(*pairs, strict=True))
    return mx.stack(levels, axis), mx.stack(means, axis)
