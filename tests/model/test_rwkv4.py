"""RWKV-4: the mean that stands for everything seen, however it is read, and the network around it.

What a reference gives for whole models stands in test_golden.py.
"""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten

import model
from model import ModelError
from model.cache import CacheOptions, RecurrentCache
from model.config import read_config
from model.layers.wkv4 import nothing_seen, wkv
from model.weights.precision import Device, choose
from tests.checkpoints import random_checkpoint

CHANNELS = 5
LENGTHS = (1, 2, 7, 8, 9, 64, 65, 130, 521)
"""Around a span, a span of spans, and one more level."""


def by_the_equations(
    keys: np.ndarray, values: np.ndarray, time_decay: np.ndarray, time_first: np.ndarray
) -> np.ndarray:
    """arXiv 2305.13048, eq. 16, in float64: numerator, denominator and the exponent that both are kept below."""
    keys, values, decay = keys.astype(np.float64), values.astype(np.float64), np.exp(time_decay.astype(np.float64))
    above, below, highest = np.zeros_like(keys[:, 0]), np.zeros_like(keys[:, 0]), np.full_like(keys[:, 0], -1e38)
    means = []
    for key, value in zip(keys.swapaxes(0, 1), values.swapaxes(0, 1), strict=True):
        top = np.maximum(highest, time_first + key)
        old, new = np.exp(highest - top), np.exp(time_first + key - top)
        means.append((old * above + new * value) / (old * below + new))
        top = np.maximum(highest - decay, key)
        old, new = np.exp(highest - decay - top), np.exp(key - top)
        above, below, highest = old * above + new * value, old * below + new, top
    return np.stack(means, axis=1)


def drawn(length: int, seed: int, loudest: float = 3.0) -> tuple[np.ndarray, ...]:
    """Keys, values, decay and bonus; some channels forget at once, and some hardly at all."""
    random = np.random.RandomState(seed)
    shape = 2, length, CHANNELS
    keys, values = loudest * random.standard_normal(shape), random.standard_normal(shape)
    decay, first = np.linspace(-8, 3, CHANNELS), random.standard_normal(CHANNELS)
    return tuple(array.astype(np.float32) for array in (keys, values, decay, first))


def in_parts(
    parts: list[int], keys: np.ndarray, values: np.ndarray, decay: np.ndarray, first: np.ndarray
) -> np.ndarray:
    """What stretches of these lengths give, each going on from the one before."""
    seen, start, means = nothing_seen(keys.shape[0], CHANNELS), 0, []
    for length in parts:
        part = slice(start, start + length)
        mean, seen = wkv(*(mx.array(array) for array in (keys[:, part], values[:, part], decay, first)), seen)
        means.append(np.array(mean))
        start += length
    return np.concatenate(means, axis=1)


@pytest.mark.parametrize("length", LENGTHS)
def test_many_tokens_at_once_are_what_the_equations_say(length: int) -> None:
    inputs = drawn(length, seed=length)
    assert np.abs(in_parts([length], *inputs) - by_the_equations(*inputs)).max() < 5e-6


@pytest.mark.parametrize(("loudest", "near"), [(60.0, 1e-4), (1e4, 1e-2)])
def test_keys_that_no_float_could_raise_e_to_are_no_trouble(loudest: float, near: float) -> None:
    inputs = drawn(70, seed=1, loudest=loudest)
    for parts in ([70], [1] * 70):
        assert np.abs(in_parts(parts, *inputs) - by_the_equations(*inputs)).max() < near


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.soak), 500])
def test_ten_thousand_tokens_stay_what_the_equations_say(size: int) -> None:
    keys, values, _, first = drawn(10_000, seed=2)
    decay = np.array([-30, -12, -8, 60, 100], np.float32)  # from what forgets nothing to what is more than a float
    with np.errstate(over="ignore"):
        expected = by_the_equations(keys, values, decay, first)
    assert np.abs(in_parts([size] * (10_000 // size), keys, values, decay, first) - expected).max() < 1e-3 / size**0.5


@settings(max_examples=40)
@given(parts=st.lists(st.integers(1, 80), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_every_split_gives_the_same(parts: list[int], seed: int) -> None:
    inputs = drawn(sum(parts), seed)
    assert np.abs(in_parts(parts, *inputs) - by_the_equations(*inputs)).max() < 2e-5


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = {"hidden_size": 64, "attention_hidden_size": 32, "intermediate_size": 96, "tie_word_embeddings": False}
    return random_checkpoint(tmp_path_factory.mktemp("rwkv4") / "tiny", model_type="rwkv", **changes)


def read(opened: model.LanguageModel, length: int, chunk: int) -> tuple[np.ndarray, list[RecurrentCache]]:
    """The logits of so many tokens, read in chunks, and the caches behind them."""
    caches = opened.network.make_cache(CacheOptions())
    tokens = mx.array([[index * 7 % 96 for index in range(length)]])
    logits = []
    for start in range(0, length, chunk):
        logits.append(opened.network(tokens[:, start : start + chunk], caches).astype(mx.float32))
        mx.eval(logits[-1], [cache.state for cache in caches])
    return np.array(mx.concatenate(logits, axis=1))[0], caches


def test_the_state_is_float32_and_as_large_after_many_tokens_as_after_one(tiny: Path) -> None:
    low = model.load(tiny, dtype="bfloat16")
    kept = {path for path, array in tree_flatten(low.network.parameters()) if array.dtype == mx.float32}
    assert kept == {f"rwkv.blocks.{n}.attention.time_{part}" for n in (0, 1) for part in ("decay", "first")}
    for length in (1, 2, 70):
        _, caches = read(low, length, 70)
        assert [array.dtype for array in caches[0].arrays] == [mx.float32] * 2 + [mx.bfloat16] * 2
        assert sum(cache.nbytes for cache in caches) == 2 * (2 * 32 * 4 + 2 * 64 * 2)


def test_in_bfloat16_it_is_as_near_to_float32_after_four_thousand_tokens_as_at_the_start(tiny: Path) -> None:
    exact, _ = read(model.load(tiny), 4096, 512)
    coarse, _ = read(model.load(tiny, dtype="bfloat16"), 4096, 512)
    apart = np.sqrt(((coarse - exact) ** 2).mean(axis=1))
    assert 0 < apart[3840:].mean() <= 1.2 * apart[:256].mean()


def test_no_window_can_be_put_on_it(tiny: Path) -> None:
    with pytest.raises(ModelError, match="no attention"):
        model.load(tiny, window=8)


def test_float16_is_not_trusted_because_a_file_is_stored_in_it() -> None:
    assert choose(mx.float16, "rwkv", Device(gpu=True, architecture="applegpu_g15s")).safe == mx.bfloat16


def test_in_four_bits_the_vectors_stay_as_they_are(tiny: Path, tmp_path: Path) -> None:
    packed = model.load(model.quantise(tiny, tmp_path / "packed", bits=4, group_size=32))
    whole = dict(tree_flatten(model.load(tiny).network.parameters()))
    for path, array in tree_flatten(packed.network.parameters()):
        assert ("time_" in path or "ln" in path) == mx.array_equal(array, whole[path]), path
    assert packed.traits.bits == 4 and len(list(packed.generate([1, 2, 3], max_tokens=5))) == 5


def test_the_mixed_recipe_knows_its_embeddings_and_its_head(tiny: Path, tmp_path: Path) -> None:
    quantization = read_config(model.quantise(tiny, tmp_path / "mixed", group_size=32, recipe="mixed")).quantization
    assert quantization is not None
    modules = "rwkv.embeddings", "head", "rwkv.blocks.0.attention.key"
    assert [quantization.of(module).bits for module in modules] == [6, 6, 4]
