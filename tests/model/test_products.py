"""A product in pieces is the same product, and is taken in pieces only where that can be faster."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.layers import products
from model.layers.products import Embedding, Linear, Packed, has_small_kernels, times, unpacked_from


def random(seed: int, *shape: int) -> mx.array:
    return mx.array(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))


@pytest.fixture(autouse=True)
def small_kernels(monkeypatch):
    """As if the BLAS had kernels for small products: what it computes with does not change what comes out."""
    monkeypatch.setattr(products, "small_kernels", lambda: True)


@settings(max_examples=60)
@given(
    rows=st.integers(1, 4000) | st.sampled_from([1536, 3072, 3989, 4001]),
    width=st.integers(1, 400),
    lead=st.sampled_from([(), (1,), (1, 1), (2, 3), (1, 5)]),
    seed=st.integers(0, 1000),
)
def test_a_product_in_pieces_is_the_product(rows, width, lead, seed):
    x, weight = random(seed, *lead, width), random(seed + 1, rows, width)
    result = times(x, weight)
    assert result.shape == (*lead, rows)
    assert np.allclose(np.array(result), np.array(x) @ np.array(weight).T, atol=1e-3)


def test_a_large_matrix_is_taken_in_small_pieces_of_one_size_and_a_stubborn_one_whole():
    piece = products._piece(49152, 576)
    assert 49152 % piece == 0 and piece * 576 <= 1 << 18 and piece > 200
    assert products._piece(3989, 576) == 3989, "a prime"
    assert products._piece(192, 576) == 192, "small as it is"


def test_rows_that_come_together_and_other_types_are_left_to_mlx(monkeypatch):
    monkeypatch.setattr(products, "small_kernels", None)  # would fail if it were asked
    weight = random(1, 4096, 256)
    assert times(random(2, 1, 2, 256), weight).shape == (1, 2, 4096)
    assert times(random(2, 1, 1, 256).astype(mx.bfloat16), weight.astype(mx.bfloat16)).dtype == mx.bfloat16


@pytest.mark.parametrize("bias", [False, True])
def test_a_linear_map_is_mlx_s_own_and_is_quantised_like_it(bias):
    ours, theirs = Linear(256, 2048, bias=bias), nn.Linear(256, 2048, bias=bias)
    theirs.update(ours.parameters())
    for x in (random(1, 1, 1, 256), random(1, 2, 3, 256)):
        assert np.allclose(np.array(ours(x)), np.array(theirs(x)), atol=1e-4)
    packed = [nn.QuantizedLinear.from_linear(each, 64, 4) for each in (ours, theirs)]
    assert mx.array_equal(*(each(random(1, 1, 1, 256)) for each in packed))
    assert isinstance(ours.to_quantized(64, 4), nn.QuantizedLinear)


@pytest.mark.parametrize(("mode", "group_size", "bits"), [("affine", 64, 4), ("affine", 32, 8), ("mxfp4", 32, 4)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_packed_matrix_is_unpacked_for_many_rows_only_and_gives_the_same(monkeypatch, mode, group_size, bits, bias):
    packed = Linear(256, 96, bias=bias).to_quantized(group_size, bits, mode)
    rows = [random(rows, 2, rows, 256) for rows in (4, 5)]
    expected = [packed(x) for x in rows]
    unpacked_from(nn.Sequential(packed), 9)
    shapes = []
    dequantize = mx.dequantize
    monkeypatch.setattr(
        mx, "dequantize", lambda *args, **more: shapes.append(args[0].shape) or dequantize(*args, **more)
    )
    for x, theirs, times_unpacked in zip(rows, expected, (0, 1), strict=True):
        assert np.allclose(np.array(packed(x)), np.array(theirs), atol=1e-4)
        assert len(shapes) == times_unpacked
    assert type(packed) is Packed


def test_an_embedding_is_mlx_s_own_both_ways():
    ours, theirs = Embedding(2048, 256), nn.Embedding(2048, 256)
    theirs.update(ours.parameters())
    x, tokens = random(1, 1, 1, 256), mx.array([[3, 2047]])
    assert np.allclose(np.array(ours.as_linear(x)), np.array(theirs.as_linear(x)), atol=1e-3)
    assert mx.array_equal(ours(tokens), theirs(tokens))
    assert isinstance(ours.to_quantized(64, 4), nn.QuantizedEmbedding)


@pytest.mark.parametrize(
    ("config", "has"),
    [
        ("OpenBLAS 0.3.34.481.3 DYNAMIC_ARCH NO_AFFINITY SkylakeX MAX_THREADS=64", True),
        ("OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH NO_AFFINITY Cooperlake MAX_THREADS=64", True),
        ("OpenBLAS 0.3.31 NO_AFFINITY SKYLAKEX MAX_THREADS=4", True),
        ("OpenBLAS 0.3.15 DYNAMIC_ARCH NO_AFFINITY USE_OPENMP SkylakeX MAX_THREADS=128", False),
        ("OpenBLAS 0.3.34.481.3 DYNAMIC_ARCH NO_AFFINITY Haswell MAX_THREADS=64", False),
        ("another", False),
    ],
)
def test_small_kernels_came_with_a_version_and_for_some_processors(config, has):
    assert has_small_kernels(config) is has
