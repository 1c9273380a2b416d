"""PanGu-π beside Llama: the same where its modules do nothing, and the paper's equations where they do something."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

import model
from model import LanguageModel, ModelError
from model.config import TransformerConfig, parse_config
from model.pangu_pi import Block, SeriesSwiGLU
from model.weights.precision import NumberType
from tests.checkpoints import TINY_QWEN2, random_checkpoint, write_checkpoint

PROMPT = [index * 7 % 96 for index in range(40)]
LLAMA = {**TINY_QWEN2, "model_type": "llama"}
PANGU = {**TINY_QWEN2, "model_type": "pangu_pi", "shortcut_reduction": 4}


def described(**choices: Any) -> TransformerConfig:
    config = parse_config({**PANGU, **choices}, "tiny")
    assert isinstance(config, TransformerConfig)
    return config


def stored(folder: Path) -> dict[str, mx.array]:
    tensors = mx.load(str(folder / "model.safetensors"))
    assert isinstance(tensors, dict)
    return tensors


def answers(language_model: LanguageModel) -> tuple[np.ndarray, np.ndarray]:
    """The logits of a whole pass, and those of a step behind it."""
    session = language_model.session()
    session.prefill(PROMPT)
    step = session.step(mx.array(5)).astype(mx.float32)
    return np.array(language_model.logits(mx.array(PROMPT))), np.array(step)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoint(tmp_path_factory.mktemp("pangu") / "llama", model_type="llama")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("shape", ["unit", "scalar"])
def test_without_shortcuts_and_with_one_plain_activation_it_is_llama_bit_for_bit(
    llama: Path, tmp_path: Path, dtype: NumberType, shape: str
) -> None:
    size = LLAMA["intermediate_size"] if shape == "unit" else 1
    plain = {"num_shortcuts": 0, "num_series_activations": 1, "series_shape": shape}
    series = {
        f"model.layers.{layer}.mlp.series_{part}": fill((1, size))
        for layer in range(LLAMA["num_hidden_layers"])
        for part, fill in (("scale", mx.ones), ("bias", mx.zeros))
    }
    folder = write_checkpoint(tmp_path / "pangu", {**PANGU, **plain}, {**stored(llama), **series})
    theirs, ours = (answers(model.load(each, dtype=dtype)) for each in (llama, folder))
    assert all(np.array_equal(one, other) for one, other in zip(theirs, ours, strict=True))


def test_one_projection_is_llama_too(llama: Path, tmp_path: Path) -> None:
    plain = {"num_shortcuts": 0, "num_series_activations": 1, "series_shape": "projection"}
    folder = write_checkpoint(tmp_path / "pangu", {**PANGU, **plain}, stored(llama))
    theirs, ours = (answers(model.load(each)) for each in (llama, folder))
    assert all(np.array_equal(one, other) for one, other in zip(theirs, ours, strict=True))


def test_a_shortcut_that_gives_nothing_is_none_bit_for_bit(tmp_path: Path) -> None:
    folder = random_checkpoint(tmp_path / "with", model_type="pangu_pi", shortcut_reduction=4, num_shortcuts=2)
    weights = stored(folder)
    silent = {name: mx.zeros_like(array) if ".shortcuts." in name else array for name, array in weights.items()}
    silent |= {name: array for name, array in weights.items() if ".shortcuts." in name and ".down_proj." in name}
    without = {name: array for name, array in weights.items() if ".shortcuts." not in name}
    one = write_checkpoint(tmp_path / "silent", {**PANGU, "num_shortcuts": 2}, silent)
    other = write_checkpoint(tmp_path / "without", {**PANGU, "num_shortcuts": 0}, without)
    pairs = zip(answers(model.load(one)), answers(model.load(other)), strict=True)
    assert all(np.array_equal(left, right) for left, right in pairs)


# --- the equations --------------------------------------------------------------------------------------------------


ACTS: dict[str, Callable[[Any], Any]] = {
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))) / 2,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
}


def randomised(module: Any) -> dict[str, np.ndarray]:
    """Give every parameter a value of its own; all of them as the reference wants them."""
    random = np.random.RandomState(0)
    parameters: Any = tree_flatten(module.parameters())
    values = {name: np.asarray(0.3 * random.standard_normal(array.shape)) for name, array in parameters}
    module.load_weights([(name, mx.array(value.astype(np.float32))) for name, value in values.items()])
    return values


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("read", ["normed", "residual"])
def test_what_goes_past_attention_is_the_residual_and_every_shortcut(act: str, read: str) -> None:
    block = Block(described(num_shortcuts=3, shortcut_act=act, shortcut_input=read), None)
    weights = randomised(block)
    x, normed = (np.random.RandomState(seed).standard_normal((1, 3, 32)) for seed in (1, 2))
    z = normed if read == "normed" else x
    expected = x + sum(
        ACTS[act](z @ weights[f"self_attn.shortcuts.{index}.down_proj.weight"].T)
        @ weights[f"self_attn.shortcuts.{index}.up_proj.weight"].T
        for index in range(3)
    )
    found = block.past(mx.array(x.astype(np.float32)), mx.array(normed.astype(np.float32)))
    assert np.abs(np.array(found) - expected).max() < 1e-5


@pytest.mark.parametrize("shape", ["unit", "scalar", "projection"])
@pytest.mark.parametrize("joined", [False, True], ids=["apart", "joined"])
def test_the_feed_forward_sums_its_activations(shape: str, joined: bool) -> None:
    config = described(num_series_activations=3, series_shape=shape)
    assert config.pangu is not None
    part = SeriesSwiGLU(32, 48, config.pangu)
    weights = randomised(part)
    x = np.random.RandomState(1).standard_normal((1, 4, 32))
    gate, up = (x @ weights[f"{name}_proj.weight"].T for name in ("gate", "up"))
    if shape == "projection":
        gates = np.split(gate, 3, axis=-1)
    else:
        gates = [a * gate + b for a, b in zip(weights["series_scale"], weights["series_bias"], strict=True)]
    expected = (sum(map(ACTS["silu"], gates)) * up) @ weights["down_proj.weight"].T
    if joined:
        part.join()
    assert np.abs(np.array(part(mx.array(x.astype(np.float32)))) - expected).max() < 1e-4


def test_activations_begin_apart_so_that_training_can_tell_them_from_each_other() -> None:
    pangu = described().pangu
    assert pangu is not None
    part: Any = SeriesSwiGLU(32, 48, pangu)
    x = mx.random.normal((1, 4, 32))

    def loss(parameters: Any) -> Any:
        part.update(parameters)
        return part(x).square().sum()

    moved = mx.grad(loss)(part.parameters())["series_scale"]
    assert not mx.allclose(moved[0], moved[1], rtol=0.05)


# --- the file -------------------------------------------------------------------------------------------------------


def test_what_the_paper_leaves_open_is_read_as_the_documents_say() -> None:
    usual = described(shortcut_reduction=None).pangu
    assert usual is not None
    assert (usual.num_shortcuts, usual.shortcut_reduction, usual.shortcut_act) == (1, 32, "gelu")
    assert (usual.shortcut_input, usual.num_series_activations, usual.series_shape) == ("normed", 2, "unit")
    assert [usual.shortcut_size(4096), usual.gate_size(11008), usual.series_size(11008)] == [128, 11008, 11008]


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"shortcut_reduction": 5}, "shortcut_reduction = 5, but it must divide the hidden_size, 32"),
        ({"num_series_activations": 0}, "num_series_activations"),
        ({"num_shortcuts": -1}, "num_shortcuts"),
        ({"shortcut_act": "tanh"}, 'shortcut_act is "tanh", which is not known here; gelu, silu, relu are'),
        ({"shortcut_input": "both"}, "shortcut_input"),
        ({"series_shape": ""}, "series_shape"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(choices: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        described(**choices)


def test_it_is_packed_as_others_are_and_narrow_shortcuts_stay_whole(tmp_path: Path) -> None:
    folder = random_checkpoint(tmp_path / "whole", model_type="pangu_pi", hidden_size=64, shortcut_reduction=4)
    packed = model.quantise(folder, tmp_path / "packed", 8, 32)
    assert "model.layers.0.self_attn.shortcuts.0.down_proj.scales" in stored(packed)
    assert "model.layers.0.self_attn.shortcuts.0.up_proj.scales" not in stored(packed)
    before, after = (np.array(model.load(each).logits(mx.array(PROMPT))) for each in (folder, packed))
    assert np.abs(before - after).mean() < 0.05 * before.std()


# --- openPangu ------------------------------------------------------------------------------------------------------


def test_openpangu_is_llama_with_a_bias_on_all_of_attention(llama: Path, tmp_path: Path) -> None:
    openpangu = random_checkpoint(tmp_path / "openpangu", model_type="PanguEmbedded")
    biased = {name.split(".")[-2] for name in stored(openpangu) if name.endswith(".bias")}
    assert biased == {"q_proj", "k_proj", "v_proj", "o_proj"}
    twin = write_checkpoint(tmp_path / "llama", {**LLAMA, "attention_bias": True}, stored(openpangu))
    plain = write_checkpoint(tmp_path / "plain", {**LLAMA, "model_type": "PanguEmbedded", "bias": False}, stored(llama))
    for one, other in ((openpangu, twin), (plain, llama)):
        pairs = zip(answers(model.load(one)), answers(model.load(other)), strict=True)
        assert all(np.array_equal(left, right) for left, right in pairs)
