"""Attention in its four forms is one function, whatever the heads, the mask and the way the keys are kept."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.cache import FullCache, KVQuantisation, RotatingCache
from model.layers.attention import attend, blocked, causal_mask, explicit

HEADS = {"multi-head": (4, 4), "grouped-query": (6, 2), "multi-query": (4, 1)}


def random(seed: int, *shape: int) -> mx.array:
    return mx.array(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))


def reference(queries: mx.array, keys: mx.array, values: mx.array, visible: np.ndarray) -> np.ndarray:
    """The equation in float64, head by head. visible: (batch or 1, queries, keys)."""
    q, k, v = (np.array(array, np.float64) for array in (queries, keys, values))
    group = q.shape[1] // k.shape[1]
    result = np.empty((*q.shape[:3], v.shape[-1]))
    for row in range(q.shape[0]):
        for head in range(q.shape[1]):
            scores = q[row, head] @ k[row, head // group].T / np.sqrt(q.shape[-1])
            scores = np.where(visible[row % visible.shape[0]], scores, -np.inf)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            result[row, head] = weights / weights.sum(-1, keepdims=True) @ v[row, head // group]
    return result


@settings(max_examples=60)
@given(
    heads=st.sampled_from(sorted(HEADS)),
    length=st.integers(1, 9),
    before=st.integers(0, 20),
    window=st.none() | st.integers(1, 12),
    block=st.integers(1, 11),
    seed=st.integers(0, 1000),
)
def test_all_forms_are_the_equation(heads, length, before, window, block, seed):
    count, kv_count = HEADS[heads]
    queries = random(seed, 2, count, length, 8)
    keys, values = random(seed + 1, 2, kv_count, before + length, 8), random(seed + 2, 2, kv_count, before + length, 8)
    positions = np.arange(before + length)
    at = positions[before:, None]
    visible = (positions[None] <= at) & ((positions[None] > at - window) if window else True)
    expected = reference(queries, keys, values, visible[None])
    mask = causal_mask(length, before + length, window)
    for result in (
        attend(queries, keys, values, mask),
        attend(queries, keys, values, mask, "explicit"),
        attend(queries, keys, values, mask, "fused"),
        attend(queries, keys, values, mask, "grouped"),
        blocked(queries, keys, values, mask, block),
    ):
        assert np.abs(np.array(result) - expected).max() < 1e-5


def test_a_mask_for_each_row_of_a_batch_means_the_same_in_all_forms():
    queries, keys, values = random(1, 3, 4, 5, 8), random(2, 3, 2, 7, 8), random(3, 3, 2, 7, 8)
    visible = np.tril(np.ones((5, 7), bool), 2)[None].repeat(3, axis=0)
    visible[1, :, 1] = visible[2, :, 2] = False  # padding
    expected = reference(queries, keys, values, visible)
    mask = mx.array(visible)[:, None]
    for form in ("explicit", "fused", "grouped", "blocked"):
        assert np.abs(np.array(attend(queries, keys, values, mask, form)) - expected).max() < 1e-5


def test_explicit_weights_are_a_distribution_over_what_is_visible():
    queries, keys, values = random(1, 1, 4, 6, 8), random(2, 1, 2, 6, 8), random(3, 1, 2, 6, 8)
    _, weights = explicit(queries, keys, values, causal_mask(6, 6, 3))
    weights = np.array(weights)
    assert weights.shape == (1, 4, 6, 6)
    assert np.allclose(weights.sum(-1), 1)
    assert (weights[0, 0][np.triu_indices(6, 1)] == 0).all() and weights[0, 0, 5, 2] == 0


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_softmax_is_in_float32_whatever_the_type(dtype):
    """4,096 equal keys: in half precision their weights would sum to something else than one."""
    queries, keys = mx.zeros((1, 2, 1, 64), dtype), mx.zeros((1, 2, 4096, 64), dtype)
    values = mx.ones((1, 2, 4096, 64), dtype)
    for form in ("explicit", "fused", "blocked"):
        assert np.allclose(np.array(attend(queries, keys, values, None, form).astype(mx.float32)), 1, atol=4e-3)


def test_on_the_cpu_float32_is_attended_without_mlx_s_fallback_and_other_types_by_it(monkeypatch):
    called = []
    fused = mx.fast.scaled_dot_product_attention
    monkeypatch.setattr(mx.fast, "scaled_dot_product_attention", lambda *a, **k: called.append(1) or fused(*a, **k))
    queries, keys = random(1, 1, 4, 3, 8), random(2, 1, 2, 9, 8)
    single = attend(queries, keys, keys, "causal")
    assert not called
    half = attend(*(array.astype(mx.float16) for array in (queries, keys, keys)), "causal")
    assert called and half.dtype == mx.float16
    assert np.abs(np.array(single) - np.array(half.astype(mx.float32))).max() < 1e-2


def test_grouped_rows_in_which_nothing_is_visible_stay_numbers_and_disturb_no_other():
    """Padding sees nothing; what it became would reach others as a key in the next layer, even with a weight of 0."""
    queries, keys, values = random(1, 1, 4, 3, 8), random(2, 1, 2, 3, 8), random(3, 1, 2, 3, 8)
    visible = mx.array([[False, False, False], [False, True, False], [False, True, True]])
    result = np.array(attend(queries, keys, values, visible, "grouped"))
    assert np.isfinite(result).all()
    expected = np.array(attend(queries[:, :, 1:], keys, values, visible[1:], "explicit"))
    assert np.abs(result[:, :, 1:] - expected).max() < 1e-5


def test_grouped_scores_far_from_zero_neither_overflow_nor_vanish():
    queries, keys, values = 300 * random(1, 1, 4, 5, 8), 300 * random(2, 1, 2, 7, 8), random(3, 1, 2, 7, 8)
    expected = np.array(attend(queries, keys, values, "causal", "explicit"))
    assert np.abs(np.array(attend(queries, keys, values, "causal", "grouped")) - expected).max() < 1e-2
    key, value = keys[:, :1, :1], values[:, :1, :1]
    assert np.array_equal(np.array(attend(-1000 * key, key, value, None, "grouped")), np.array(value))


def test_scores_that_would_not_fit_are_taken_in_blocks(monkeypatch):
    monkeypatch.setattr("model.layers.attention.MOST_SCORES", 1000)
    monkeypatch.setattr(mx.fast, "scaled_dot_product_attention", None)
    queries, keys, values = random(1, 1, 4, 9, 8), random(2, 1, 2, 9, 8), random(3, 1, 2, 9, 8)
    expected = reference(queries, keys, values, np.tril(np.ones((1, 9, 9), bool)))
    assert np.abs(np.array(attend(queries, keys, values, "causal")) - expected).max() < 1e-5


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("rotating", [False, True])
def test_quantised_caches_give_what_their_quantised_keys_give(bits, rotating):
    """Against explicit attention over keys and values quantised by hand, in whatever chunks they came."""
    packing = KVQuantisation(bits=bits, group_size=32, start=5)
    keys, values, queries = random(1, 1, 2, 40, 32), random(2, 1, 2, 40, 32), random(3, 1, 4, 40, 32)

    def by_hand(rows: mx.array) -> mx.array:
        packed = mx.quantize(rows[..., 5:, :], group_size=32, bits=bits)
        unpacked = mx.dequantize(*packed, group_size=32, bits=bits)
        return mx.concatenate([rows[..., :5, :], unpacked], axis=2)

    window = 12 if rotating else None
    expected, _ = explicit(queries, by_hand(keys), by_hand(values), causal_mask(40, 40, window))
    for chunk in (1, 7, 40):
        cache = RotatingCache(12, slack=3, quantisation=packing) if rotating else FullCache(packing)
        parts = []
        for start in range(0, 40, chunk):
            mask = cache.make_mask(min(chunk, 40 - start))
            seen = cache.update_and_fetch(keys[..., start : start + chunk, :], values[..., start : start + chunk, :])
            parts.append(attend(queries[..., start : start + chunk, :], *seen, mask))
        assert np.abs(np.array(mx.concatenate(parts, axis=2)) - np.array(expected)).max() < 1e-4, f"chunks of {chunk}"


def test_quantised_caches_are_smaller():
    keys = random(1, 1, 2, 256, 64)
    plain, packed = FullCache(), FullCache(KVQuantisation(bits=4, group_size=64))
    for cache in (plain, packed):
        cache.update_and_fetch(keys, keys)
    assert packed.nbytes < plain.nbytes / 5
