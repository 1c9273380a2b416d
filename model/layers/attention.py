"""Which keys a query may see, and the product that follows from it."""

import mlx.core as mx

Mask = mx.array | str | None
"""What MLX's fused attention takes: None (all keys), "causal" (aligned at the last query and key), or booleans."""


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


def attend(queries: mx.array, keys: mx.array, values: mx.array, mask: Mask) -> mx.array:
    """softmax(Q K^T / sqrt(head_dim)) V, softmax in float32 (Vaswani et al. 2017, eq. 1).

    queries: (batch, heads, length, head_dim); keys, values: (batch, kv_heads, keys, head_dim), where query head j reads
    KV head j // (heads / kv_heads): multi-head, grouped-query and multi-query attention are one case.
    """
    scale = queries.shape[-1] ** -0.5
    return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
