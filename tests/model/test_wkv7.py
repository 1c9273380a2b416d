"""RWKV-7's recurrence: many tokens at once give what one after the other gives, whatever they are."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.layers import wkv7
from model.layers.wkv7 import scan, step

Parts = dict[str, np.ndarray]


def parts(random: np.random.RandomState, batch: int, length: int, heads: int, dim: int) -> Parts:
    """As a model makes them: keys to be taken out have length 1, rates and decays their ranges."""
    shape = (batch, length, heads, dim)
    key = random.standard_normal(shape)
    key /= np.linalg.norm(key, axis=-1, keepdims=True)
    return {
        "r": random.standard_normal(shape),
        "log_w": -0.606531 * random.random_sample(shape),
        "k": random.standard_normal(shape),
        "v": random.standard_normal(shape),
        "key": key,
        "rate": random.random_sample(shape),
    }


def reference(state: np.ndarray, given: Parts) -> tuple[np.ndarray, np.ndarray]:
    """The paper's equation, in float64."""
    read = []
    for r, log_w, k, v, key, rate in zip(*(np.moveaxis(each, 1, 0) for each in given.values()), strict=True):
        taken = state @ key[..., None] * (rate * key)[..., None, :]
        state = state * np.exp(log_w)[..., None, :] - taken + v[..., None] * k[..., None, :]
        read.append((state @ r[..., None])[..., 0])
    return np.stack(read, axis=1), state


def arrays(given: Parts) -> dict[str, mx.array]:
    return {name: mx.array(each.astype(np.float32)) for name, each in given.items()}


def worst(found: tuple[mx.array, mx.array], expected: tuple[np.ndarray, np.ndarray]) -> float:
    return max(np.abs(np.array(f) - e).max() / max(1, np.abs(e).max()) for f, e in zip(found, expected, strict=True))


@settings(max_examples=50)
@given(
    batch=st.integers(1, 3),
    length=st.integers(1, 50) | st.sampled_from([127, 128, 129, 160, 177, 300, 333]),
    heads=st.integers(1, 3),
    dim=st.sampled_from([1, 4, 8]),
    seed=st.integers(0, 1000),
)
def test_many_tokens_at_once_are_the_recurrence(batch: int, length: int, heads: int, dim: int, seed: int) -> None:
    random = np.random.RandomState(seed)
    given, state = parts(random, batch, length, heads, dim), random.standard_normal((batch, heads, dim, dim))
    found = scan(mx.array(state.astype(np.float32)), **arrays(given))
    assert worst(found, reference(state, given)) < 1e-5


@pytest.mark.parametrize("length", [64, 65, 200])
def test_more_tokens_than_are_scanned_at_once_are_scanned_in_pieces(monkeypatch, length) -> None:
    monkeypatch.setattr(wkv7, "AT_ONCE", 64)
    random = np.random.RandomState(3)
    given, state = parts(random, 2, length, 2, 4), random.standard_normal((2, 2, 4, 4))
    assert worst(scan(mx.array(state.astype(np.float32)), **arrays(given)), reference(state, given)) < 1e-5


def test_one_token_is_the_recurrence() -> None:
    random = np.random.RandomState(0)
    given, state = parts(random, 2, 1, 3, 8), random.standard_normal((2, 3, 8, 8))
    assert worst(step(mx.array(state.astype(np.float32)), **arrays(given)), reference(state, given)) < 1e-6


@pytest.mark.parametrize("log_w", [-0.606531, -0.01, -1e-6, 0.0], ids=["strongest", "weak", "weakest", "none"])
def test_equal_tokens_and_the_ends_of_the_decay_lose_no_digits(log_w: float) -> None:
    """A run of one token, taken out whole and put in again: the triangular system at its worst."""
    random = np.random.RandomState(1)
    given = {name: np.repeat(each, 200, axis=1) for name, each in parts(random, 1, 1, 2, 64).items()}
    given |= {"log_w": np.full_like(given["r"], log_w), "rate": np.ones_like(given["r"])}
    state = random.standard_normal((1, 2, 64, 64))
    found = scan(mx.array(state.astype(np.float32)), **arrays(given))
    assert worst(found, reference(state, given)) < 2e-5


@pytest.mark.parametrize("length", [5, 160])
def test_gradients_are_those_of_the_recurrence(length: int) -> None:
    random = np.random.RandomState(2)
    given = arrays(parts(random, 1, length, 2, 4))
    wanted = mx.array(random.standard_normal((1, length, 2, 4)).astype(np.float32))

    def at_once(given: dict[str, mx.array]) -> mx.array:
        read, state = scan(mx.zeros((1, 2, 4, 4)), **given)
        return (read * wanted).sum() + mx.square(state).sum()

    def one_by_one(given: dict[str, mx.array]) -> mx.array:
        state, total = mx.zeros((1, 2, 4, 4)), mx.array(0.0)
        for index in range(length):
            read, state = step(state, **{name: each[:, index : index + 1] for name, each in given.items()})
            total = total + (read * wanted[:, index : index + 1]).sum()
        return total + mx.square(state).sum()

    for name, gradient in mx.grad(at_once)(given).items():
        expected = mx.grad(one_by_one)(given)[name]
        assert mx.abs(gradient - expected).max().item() < 1e-4 * max(1.0, mx.abs(expected).max().item()), name
