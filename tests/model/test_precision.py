"""Which type a model computes in: what suits the device, and float16 only where the model holds in it.

Apple's devices are played by facts about them; the arithmetic is this machine's own. What an M1 gains by it is unproven
here.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

import model
from model import ModelError
from model.config import read_config
from model.registry import OURS
from model.weights import place, precision
from model.weights.place import Placement
from model.weights.precision import Choice, Device, agree, choose
from model.weights.quantise import quantise
from model.weights.safetensors import shards
from tests.checkpoints import random_checkpoint, write_checkpoint

CPU = Device(gpu=False, architecture="")
M1, M2, M3 = (Device(gpu=True, architecture=f"applegpu_{name}") for name in ("g13g", "g14s", "g15d"))
M5 = Device(gpu=True, architecture="applegpu_g17p")
CUDA = Device(gpu=True, architecture="sm_90")
F16, BF16, F32 = mx.float16, mx.bfloat16, mx.float32
TOKENS = mx.array([[5, 1, 90, 17, 33, 2, 71, 8]])


def stored_as(dtype: mx.Dtype, folder: Path, change: Any = None, **config: Any) -> Path:
    """A random checkpoint with its weights in `dtype`, after `change` had a look at them."""
    random_checkpoint(folder, **config)
    weights = mx.load(str(folder / "model.safetensors"))
    if change:
        change(weights)
    weights = {name: array.astype(dtype) for name, array in weights.items()}
    return write_checkpoint(folder, json.loads((folder / "config.json").read_text()), weights)


def filled(folder: Path, device: Device, dtype: Any = None) -> Any:
    """A network of ours with the weights of `folder`, as it would be on `device`."""
    config = read_config(folder)
    network = OURS[config.model_type](config)
    Placement(network, config, shards(folder), folder.name, True, dtype, device).fill(lambda done, total: None)
    return network


def types(network: Any) -> set[mx.Dtype]:
    return {array.dtype for _, array in tree_flatten(network.parameters()) if mx.issubdtype(array.dtype, mx.floating)}


# --- the choice -----------------------------------------------------------------------------------------------------


def test_m1_and_m2_have_no_bfloat16_and_everything_later_has():
    assert not M1.native_bfloat16 and not M2.native_bfloat16
    assert M3.native_bfloat16 and M5.native_bfloat16 and CUDA.native_bfloat16


@pytest.mark.parametrize(
    ("stored", "kind", "device", "choice"),
    [
        (BF16, "qwen2", CPU, Choice(F32)),
        (F16, "llama", CPU, Choice(F32)),
        (BF16, "qwen2", M3, Choice(BF16)),
        (BF16, "llama", CUDA, Choice(BF16)),
        (F16, "llama", M3, Choice(F16)),
        (F16, "qwen2", M3, Choice(BF16)),
        (BF16, "llama", M1, Choice(BF16, F16)),
        (BF16, "qwen2", M2, Choice(BF16, F16)),
        (F16, "llama", M1, Choice(F16)),
        (F16, "qwen2", M1, Choice(BF16, F16)),
        (F32, "llama", M1, Choice(F32)),
        (F32, "qwen2", CUDA, Choice(F32)),
    ],
)
def test_the_type_follows_the_device_the_file_and_the_model(stored, kind, device, choice):
    assert choose(stored, kind, device) == choice


def test_qwen2_never_gets_float16_untested():
    for stored, device, asked in itertools.product(
        (F16, BF16, F32), (CPU, M1, M2, M3, CUDA), (None, "float16", "bfloat16", "float32")
    ):
        assert choose(stored, "qwen2", device, asked).safe != F16


def test_what_is_asked_for_wins():
    assert choose(BF16, "llama", M1, "bfloat16") == Choice(BF16)
    assert choose(BF16, "llama", CPU, "bfloat16") == Choice(BF16)
    assert choose(F16, "llama", CPU, "float16") == Choice(F16)
    assert choose(BF16, "llama", M3, "float16") == Choice(BF16, F16, asked=True)
    with pytest.raises(ModelError, match="choose float32, float16, bfloat16"):
        choose(BF16, "llama", M3, "float8")


# --- the self-test --------------------------------------------------------------------------------------------------


def loud(weights: dict[str, mx.array]) -> None:
    """Activations of some 10^6 inside the first feed-forward, from weights that float16 holds easily."""
    for part in ("gate_proj", "up_proj"):
        weights[f"model.layers.0.mlp.{part}.weight"] *= 1000
    weights["model.layers.0.mlp.down_proj.weight"] *= 1e-4


def huge(weights: dict[str, mx.array]) -> None:
    """One weight beyond float16, in a row that the self-test does not read."""
    weights["model.embed_tokens.weight"][1, 3] = 1e5


@pytest.mark.parametrize("device", [M1, M2])
def test_a_model_that_holds_gets_float16_where_bfloat16_is_slow(tmp_path, device):
    folder = stored_as(BF16, tmp_path / "quiet")
    network = filled(folder, device)
    assert types(network) == {F16}
    exact = np.array(filled(folder, CPU)(TOKENS))
    assert np.abs(np.array(network(TOKENS).astype(F32)) - exact).max() < 0.02 * np.abs(exact).max()


@pytest.mark.parametrize("change", [loud, huge])
def test_a_model_that_runs_over_stays_in_bfloat16_bit_for_bit(tmp_path, change):
    folder = stored_as(BF16, tmp_path / "loud", change)
    network = filled(folder, M2)
    assert types(network) == {BF16}
    stored = mx.load(str(folder / "model.safetensors"))
    assert all(mx.array_equal(array, stored[name]).item() for name, array in tree_flatten(network.parameters()))


def test_where_bfloat16_is_native_nothing_is_tried(tmp_path):
    assert types(filled(stored_as(BF16, tmp_path / "quiet"), M3)) == {BF16}
    assert types(filled(stored_as(F16, tmp_path / "half"), M3)) == {BF16}, "qwen2"
    assert types(filled(stored_as(F16, tmp_path / "llama", model_type="llama"), M3)) == {F16}


def test_a_quantised_model_has_its_scales_tried(tmp_path):
    folder = quantise(stored_as(BF16, tmp_path / "large", hidden_size=64), tmp_path / "small")
    assert types(filled(folder, M1)) == {F16}
    assert types(filled(folder, M3)) == {BF16}
    loud_one = quantise(stored_as(BF16, tmp_path / "loud", loud, hidden_size=64), tmp_path / "loud-small")
    assert types(filled(loud_one, M1)) == {BF16}


def test_asking_for_float16_is_answered_by_float16_or_a_refusal(tmp_path):
    quiet, over = stored_as(BF16, tmp_path / "quiet"), stored_as(BF16, tmp_path / "loud", loud)
    assert types(model.load(quiet, dtype="float16").network) == {F16}
    assert types(model.load(quiet, dtype="bfloat16").network) == {BF16}
    assert types(model.load(quiet).network) == {F32}
    with pytest.raises(ModelError, match="loud cannot compute in float16") as raised:
        model.load(over, dtype="float16")
    assert raised.value.kind == "request"
    assert types(model.load(over, dtype="bfloat16").network) == {BF16}


def test_the_device_is_asked_of_mlx(tmp_path, monkeypatch):
    folder = stored_as(BF16, tmp_path / "quiet")
    monkeypatch.setattr(place, "this_device", lambda: M1)
    assert types(model.load(folder).network) == {F16}
    monkeypatch.undo()
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu, 0))
    monkeypatch.setattr(mx, "device_info", lambda: {"architecture": "applegpu_g14s", "device_name": "Apple M2 Pro"})
    assert precision.this_device() == M2


def test_logits_agree_where_each_choice_is_as_good():
    reference = mx.array([[0.0, 10.0, 9.9, -10.0]])
    assert agree(reference, mx.array([[0.0, 9.9, 10.0, -10.0]])), "a tie is decided by rounding"
    assert not agree(reference, mx.array([[10.0, 9.0, 9.0, -10.0]]))
    assert not agree(reference, mx.array([[0.0, float("inf"), 9.9, -10.0]]))
    assert not agree(reference, mx.array([[0.0, 10.0, float("nan"), -10.0]]))
    assert not agree(mx.array([[float("nan")] * 4]), reference)


# --- sums in float32 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F16, BF16])
def test_a_sum_in_the_type_itself_would_stall(dtype):
    """What the two tests below would see if norms and softmax did not sum in float32."""
    stalled = mx.array(2048 if dtype == F16 else 256, dtype)
    assert (stalled + mx.array(1, dtype)).item() == stalled.item()


@pytest.mark.parametrize("dtype", [F16, BF16])
@pytest.mark.parametrize("length", [4096, 16384])
def test_norms_sum_squares_in_float32(dtype, length):
    """4096 and more ones sum up to themselves, and squares of 300 beyond float16 do too."""
    weight = mx.ones((length,), dtype)
    for value in (1.0, 300.0, 20000.0):
        normed = mx.fast.rms_norm(mx.full((1, length), value, dtype), weight, 1e-6)
        assert np.abs(np.array(normed.astype(F32)) - 1).max() < 0.01


@pytest.mark.parametrize("dtype", [F16, BF16])
@pytest.mark.parametrize("queries", [1, 9])
def test_softmax_sums_in_float32(dtype, queries):
    """Of 5000 keys that are all alike each weighs 1/5000; a sum that stalls at 256 would give 20 times that."""
    keys = mx.ones((1, 2, 5000, 64), dtype)
    values = mx.ones((1, 2, 5000, 64), dtype)
    mixed = mx.fast.scaled_dot_product_attention(mx.ones((1, 4, queries, 64), dtype), keys, values, scale=0.125)
    assert np.abs(np.array(mixed.astype(F32)) - 1).max() < 0.02
