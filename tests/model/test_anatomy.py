"""What is counted and priced from a configuration is what the network of that configuration is made of."""

import json
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

from model.anatomy import anatomy
from model.cache import CacheOptions
from model.config import Config, RecurrentConfig, parse_config
from model.facts import parameters, state_bytes, stored_bytes
from model.registry import OURS
from tests.checkpoints import GOLDEN

SMALL = {"vocab_size": 192, "hidden_size": 128, "num_hidden_layers": 3, "intermediate_size": 320}
HEADS = {**SMALL, "num_attention_heads": 4, "num_key_value_heads": 2}
LOW_RANK = {"decay_low_rank_dim": 64, "a_low_rank_dim": 64, "v_low_rank_dim": 32, "gate_low_rank_dim": 64}
CONFIGS: dict[str, dict[str, Any]] = {
    "qwen2": {**HEADS, "model_type": "qwen2"},
    "qwen2, tied": {**HEADS, "model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": {**HEADS, "model_type": "qwen3", "head_dim": 64},
    "llama with biases": {**HEADS, "model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "rwkv": {**SMALL, "model_type": "rwkv", "attention_hidden_size": 192},
    "rwkv7": {**SMALL, **LOW_RANK, "model_type": "rwkv7"},
    "rwkv7 with small heads": {**SMALL, **LOW_RANK, "model_type": "rwkv7", "head_dim": 32, "norm_bias": False},
    "pangu_pi": {**HEADS, "model_type": "pangu_pi", "shortcut_reduction": 2},
    "pangu_pi, all of it": {
        **HEADS,
        "model_type": "pangu_pi",
        "num_shortcuts": 2,
        "num_series_activations": 3,
        "series_shape": "projection",
    },
    "pangu_pi, little of it": {**HEADS, "model_type": "pangu_pi", "num_shortcuts": 0, "series_shape": "scalar"},
}


def config_of(name: str, **more: object) -> Config:
    return parse_config({**CONFIGS[name], **more}, name)


def network_of(config: Config) -> nn.Module:
    """With weights that nobody has computed yet."""
    return OURS[config.model_type](config)


def stored(network: nn.Module) -> dict[str, mx.array]:
    return dict(tree_flatten(network.parameters()))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_is_counted_and_every_matrix_is_known(name):
    config = config_of(name)
    weights = stored(network_of(config))
    assert parameters(config).total == sum(weight.size for weight in weights.values())
    told = {
        f"{path}.weight": (matrix.rows, matrix.columns)
        for _, path, matrix in anatomy(config, bool(config.tie_word_embeddings)).matrices()
    }
    matrices = (nn.Linear, nn.Embedding)
    found = {
        f"{path}.weight": tuple(module.weight.shape)
        for path, module in network_of(config).named_modules()
        if isinstance(module, matrices)
    }
    assert told == found


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("bits", "group_size"), [(4, 64), (8, 32)])
def test_packed_weights_take_what_is_said(name, bits, group_size):
    config = config_of(name, quantization={"bits": bits, "group_size": group_size})
    network = network_of(config)
    network.set_dtype(mx.bfloat16)
    rule = getattr(network, "quant_predicate", lambda path, module: True)
    nn.quantize(
        network,
        group_size=group_size,
        bits=bits,
        class_predicate=lambda path, module: (
            hasattr(module, "to_quantized") and module.weight.shape[-1] % group_size == 0 and rule(path, module)
        ),
    )
    assert stored_bytes(config) == sum(weight.nbytes for weight in stored(network).values())


@pytest.mark.parametrize(
    "case", ["qwen2_full_gqa", "qwen15_mha_tied", "rwkv4", "rwkv7", "rwkv7_small_head", "pangu_pi"]
)
def test_published_checkpoints_hold_what_is_counted(case):
    config = parse_config(json.loads((GOLDEN / case / "config.json").read_text()), case)
    recipes = json.loads((GOLDEN / case / "weights.json").read_text())
    held = sum(mx.zeros(recipe["shape"]).size for recipe in recipes.values())
    assert parameters(config).total == held


@pytest.mark.parametrize("name", ["rwkv", "rwkv7", "rwkv7 with small heads"])
def test_a_state_is_as_large_as_it_is_said_and_grows_with_nothing(name):
    config = config_of(name)
    assert isinstance(config, RecurrentConfig)
    network = network_of(config)
    for element, dtype in ((4, mx.float32), (2, mx.bfloat16)):
        network.apply(lambda weight, dtype=dtype: weight.astype(dtype))
        mx.eval(network.parameters())
        caches = network.make_cache(CacheOptions())
        before = mx.get_active_memory()
        for length in (1, 40, 200):
            network(mx.zeros((1, length), mx.int32), caches)
            mx.eval([cache.state for cache in caches])
            assert sum(cache.nbytes for cache in caches) == state_bytes(config, element)
        # What MLX holds for it too: a slice of many tokens' numbers would keep them all.
        assert mx.get_active_memory() - before < 1.2 * state_bytes(config, element) + 64 * 1024
