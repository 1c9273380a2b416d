"""How much states differ is told as it is, of whatever has layers."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_map

import model
from model.diversity import MOST, Diversity, diversities, diversity
from model.errors import ModelError
from tests.model.test_anatomy import config_of, network_of
from tests.model.test_fallback import CONFIGS as FOREIGN
from tests.model.test_fallback import foreign_checkpoint

TOKENS = [5, 7, 1, 0, 9, 9, 30, 12, 40, 41, 42, 3]


@pytest.mark.parametrize(("count", "dimension"), [(1, 1), (5, 4), (10, 8), (11, 9)])
def test_as_many_directions_are_counted_as_most_of_the_variance_lies_in(count, dimension):
    random = np.random.RandomState(count)
    apart = random.standard_normal((40, count))
    apart, _ = np.linalg.qr(apart - apart.mean(axis=0))  # columns of one length, at right angles, around nothing
    directions, _ = np.linalg.qr(random.standard_normal((24, count)))
    found = diversity(mx.array((apart @ directions.T + 3).astype(np.float32)))
    assert (found.dimension, found.limit) == (dimension, 24)
    assert found.distance == pytest.approx(count**0.5, rel=1e-4)


def test_states_that_are_all_the_same_differ_in_nothing():
    assert diversity(mx.ones((9, 4))) == Diversity(0, 4, 0.0, 0.0)
    assert diversity(mx.zeros((9, 4))) == Diversity(0, 4, 0.0, 0.0)


@settings(max_examples=40)
@given(tokens=st.integers(2, 20), width=st.integers(1, 20), seed=st.integers(0, 1000))
def test_it_is_what_a_decomposition_of_the_states_says(tokens: int, width: int, seed: int) -> None:
    states = np.random.RandomState(seed).standard_normal((tokens, width)).astype(np.float32)
    apart = states.astype(np.float64) - states.mean(axis=0)
    variances = np.linalg.svd(apart, compute_uv=False) ** 2
    found = diversity(mx.array(states))
    held = np.cumsum(variances) / variances.sum()
    assert held[found.dimension - 1] > MOST - 1e-5 and (found.dimension == 1 or held[found.dimension - 2] < MOST + 1e-5)
    assert found.distance == pytest.approx(np.linalg.norm(apart), rel=1e-4)
    assert found.share == pytest.approx(np.linalg.norm(apart) / np.linalg.norm(states), rel=1e-4)
    assert 1 <= found.dimension <= found.limit == min(tokens - 1, width)


@pytest.mark.parametrize("name", ["qwen2", "llama with biases", "pangu_pi", "rwkv", "rwkv7"])
def test_layers_that_do_nothing_give_out_what_they_are_given(name):
    network = network_of(config_of(name))
    inner = network.rwkv if "rwkv" in network else network.model
    layers = inner.blocks if "blocks" in inner else inner.layers
    for layer in layers:
        layer.update(tree_map(mx.zeros_like, layer.parameters()))
    embeddings = inner.embeddings if "embeddings" in inner else inner.embed_tokens
    given_to_them = embeddings(mx.array(TOKENS))
    if "rwkv" in name:  # whose first layer has a norm before all
        norm = layers[0].pre_ln if "pre_ln" in layers[0] else layers[0].pre_norm
        norm.weight = mx.ones_like(norm.weight)
        given_to_them = norm(given_to_them)
    found = diversities(network, TOKENS, "it")
    assert len(found) == len(layers)
    for one in found:
        assert one.dimension == diversity(given_to_them[1:]).dimension
        assert one.distance == pytest.approx(diversity(given_to_them[1:]).distance, rel=1e-4)


def test_a_network_that_was_looked_into_computes_as_before():
    network = network_of(config_of("qwen2"))
    before = network(mx.array([TOKENS]))
    told: list[tuple[int, int]] = []
    diversities(network, TOKENS, "it", progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(RuntimeError, match="enough"):
        diversities(network, TOKENS, "it", progress=raising)
    assert mx.array_equal(network(mx.array([TOKENS])), before)


def raising(done: int, total: int) -> None:
    raise RuntimeError("enough")


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_what_mlx_lm_runs_is_looked_into_too(tmp_path, name):
    loaded = model.load(foreign_checkpoint(tmp_path / name, FOREIGN[name]))
    found = diversities(loaded.network, TOKENS, name)
    assert len(found) == FOREIGN[name]["num_hidden_layers"]
    assert all(0 < one.dimension <= one.limit == len(TOKENS) - 2 for one in found)


class Hidden(nn.Module):
    """Without layers, or with some that give out something else than states."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = layers

    def __call__(self, tokens: mx.array) -> mx.array:
        x = tokens
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.mark.parametrize("layers", [[], [nn.Identity()]])
def test_what_shows_no_layers_is_one_sentence(layers):
    with pytest.raises(ModelError, match="it does not show what its layers compute") as caught:
        diversities(Hidden(layers), TOKENS, "it")
    assert caught.value.kind == "unsupported"


def test_too_short_a_text_is_one_sentence():
    with pytest.raises(ModelError, match="give a longer text"):
        diversities(network_of(config_of("qwen2")), [1, 2], "it")
