"""Which keys a query may see, and the product that follows from it, in four interchangeable forms.

`explicit` writes the equation out and can hand out its weights; `fused` is MLX's kernel; `grouped` is the equation in
the operations that MLX's CPU back end is quick at, which has no such kernel; `blocked` walks over the keys in blocks
and never holds a whole row of scores, for caches that are quantised and prompts whose scores would not fit.
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import Literal, Protocol

import mlx.core as mx

from model import allocation
from model.allocation import BLOCK, MOST_SCORES

Mask = mx.array | str | None
"""None (all keys), "causal" (aligned at the last query and key), or booleans (..., queries, keys)."""


class Blocks(Protocol):
    """Keys or values that are read a few at a time, because they are not stored as an array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(batch, kv_heads, keys, head_dim)"""

    def block(self, first: int, last: int) -> mx.array:
        """Those from `first` to `last`."""


Form = Literal["explicit", "fused", "grouped", "blocked"]

_LOG2_E = math.log2(math.e)
_HIDDEN = -3.4e38
"""What a hidden key's score is lowered by: so far that its weight is 0, and no infinity, which in a row where nothing
is visible would become no number."""


def causal_mask(queries: int, keys: int, window: int | None = None) -> Mask:
    """The mask of the last `queries` of `keys` positions: a query at q sees k iff k <= q, and k > q - window.

    So a window of W holds W keys, the query's own included, as transformers has it since 4.56 (masking_utils.py).
    Returns None where one query sees everything, "causal" where no window cuts in, else (queries, keys) booleans.
    """
    if window is None or keys <= window:
        return None if queries == 1 else "causal"
    q = mx.arange(keys - queries, keys)[:, None]
    k = mx.arange(keys)[None]
    return (k <= q) & (k > q - window)


def attend(
    queries: mx.array,
    keys: mx.array | Blocks,
    values: mx.array | Blocks,
    mask: Mask,
    form: Form | None = None,
) -> mx.array:
    """softmax(Q K^T / sqrt(head_dim)) V, softmax in float32 (Vaswani et al. 2017, eq. 1).

    queries: (batch, heads, length, head_dim); keys, values: (batch, kv_heads, keys, head_dim), where query head j reads
    KV head j // (heads / kv_heads): multi-head, grouped-query and multi-query attention are one case. Without `form`
    it is chosen: `blocked` for keys that are not plain arrays or scores that would not fit, `grouped` for float32 on a
    CPU, else `fused`.
    """
    if not (isinstance(keys, mx.array) and isinstance(values, mx.array)):
        return blocked(queries, keys, values, mask)
    form = form or _best(queries, keys)
    if form == "fused":
        scale = queries.shape[-1] ** -0.5
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
    if form == "blocked":
        return blocked(queries, keys, values, mask)
    if form == "grouped":
        return grouped(queries, keys, values, mask)
    return explicit(queries, keys, values, mask)[0]


def _best(queries: mx.array, keys: mx.array) -> Form:
    """What `attend` takes where it may choose."""
    batch, heads, length, dim = queries.shape
    if 4 * batch * heads * length * keys.shape[2] > MOST_SCORES and allocation.holds_scores(_on_gpu(), dim):
        return "blocked"
    return "grouped" if not _on_gpu() and queries.dtype == keys.dtype == mx.float32 else "fused"


def explicit(queries: mx.array, keys: mx.array, values: mx.array, mask: Mask) -> tuple[mx.array, mx.array]:
    """As `attend`, with the weights (batch, heads, length, keys), float32, beside the result."""
    grouped = _grouped(queries, keys.shape[1])
    scores = _scores(grouped, keys[:, :, None])
    scores = mx.where(_booleans(mask, queries.shape[2], keys.shape[2]), scores, -math.inf)
    weights = mx.softmax(scores, axis=-1, precise=True)
    mixed = weights @ values[:, :, None].astype(mx.float32)
    return (
        mixed.reshape(queries.shape[:-1] + values.shape[-1:]).astype(queries.dtype),
        weights.reshape(*queries.shape[:-1], keys.shape[2]),
    )


def grouped(queries: mx.array, keys: mx.array, values: mx.array, mask: Mask) -> mx.array:
    """As `attend`, for float32 on MLX's CPU back end, whose own form is a fallback made of these parts in a row.

    There all query heads that read the same keys are rows of one product, so that these are read once; a power of two
    takes a third of the time of an exponential; and a mask is added, which takes a tenth of choosing by it, and only
    where it hides something (tests/benchmarks/LOG.md).
    """
    batch, kv_heads, total, dim = keys.shape
    length = queries.shape[2]
    rows = (queries * (dim**-0.5 * _LOG2_E)).reshape(batch, kv_heads, -1, dim)  # (batch, kv_heads, group * length, dim)
    scores = rows @ keys.swapaxes(-1, -2)
    if mask is not None:
        start = total - length if isinstance(mask, str) else 0  # all before the new keys is visible to all of them
        lowered = mx.where(_booleans(mask, length, total, start), 0.0, _HIDDEN)
        of_each = scores.reshape(batch, kv_heads, -1, length, total)
        scores = of_each.at[..., start:].add(lowered).reshape(scores.shape)
    weights = mx.power(2.0, scores - scores.max(axis=-1, keepdims=True))
    mixed = (weights @ values) / weights.sum(axis=-1, keepdims=True)
    return mixed.reshape(queries.shape[:-1] + values.shape[-1:])


def blocked(
    queries: mx.array, keys: mx.array | Blocks, values: mx.array | Blocks, mask: Mask, block: int = BLOCK
) -> mx.array:
    """As `attend`, by the online softmax (Dao 2023, FlashAttention-2, algorithm 1, forward), `block` keys at a time."""
    length, total = queries.shape[2], keys.shape[2]
    grouped = _grouped(queries, keys.shape[1])
    highest = mx.full((*grouped.shape[:-1], 1), -math.inf)  # (batch, kv_heads, group, length, 1)
    mass = mx.zeros(highest.shape)
    mixed: mx.array | None = None
    for start, end in _blocks(total, block):
        some_keys, some_values = _block(keys, start, end), _block(values, start, end)
        if mixed is not None:
            # One block after the other: MLX would else compute the scores of all of them before it mixes the first.
            some_keys, some_values = mx.depends([some_keys, some_values], [mixed, mass])
        scores = _scores(grouped, some_keys[:, :, None])
        scores = mx.where(_booleans(mask, length, total, start, end), scores, -math.inf)
        higher = mx.maximum(highest, scores.max(axis=-1, keepdims=True))
        # Where nothing is visible yet, -inf - -inf would be no number.
        base = mx.where(higher == -math.inf, 0.0, higher)
        weights = mx.exp(scores - base)
        shrink = mx.exp(highest - base)
        part = weights @ some_values[:, :, None].astype(mx.float32)
        mixed = part if mixed is None else mixed * shrink + part
        mass = mass * shrink + weights.sum(axis=-1, keepdims=True)
        highest = higher
    assert mixed is not None
    result = mixed / mass
    return result.reshape(queries.shape[:-1] + result.shape[-1:]).astype(queries.dtype)


def _grouped(queries: mx.array, kv_heads: int) -> mx.array:
    """(batch, kv_heads, heads / kv_heads, length, head_dim): the query heads beside the KV head they read."""
    batch, heads, length, dim = queries.shape
    return queries.reshape(batch, kv_heads, heads // kv_heads, length, dim)


def _scores(grouped: mx.array, keys: mx.array) -> mx.array:
    scale = grouped.shape[-1] ** -0.5
    return mx.matmul(grouped.astype(mx.float32) * scale, keys.astype(mx.float32).swapaxes(-1, -2))


def _booleans(mask: Mask, queries: int, keys: int, start: int = 0, end: int | None = None) -> mx.array:
    """The mask's columns from `start` to `end` as booleans that fit (batch, kv_heads, group, queries, columns)."""
    end = keys if end is None else end
    if mask is None:
        return mx.ones((1, 1), mx.bool_)
    if isinstance(mask, str):
        return mx.greater_equal(mx.arange(keys - queries, keys)[:, None], mx.arange(start, end)[None])
    columns: mx.array = mask[..., start:end]
    return columns[:, :, None] if columns.ndim == 4 else columns


def _blocks(total: int, block: int) -> Iterator[tuple[int, int]]:
    for start in range(0, total, block):
        yield start, min(start + block, total)


def _block(rows: mx.array | Blocks, start: int, end: int) -> mx.array:
    return rows[..., start:end, :] if isinstance(rows, mx.array) else rows.block(start, end)


@cache
def _on_gpu() -> bool:
    return bool(mx.default_device().type == mx.DeviceType.gpu)
