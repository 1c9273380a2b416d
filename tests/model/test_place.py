"""Stored tensors reach the network whole, once, and only if they are numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model

import model
from model import ModelError
from model.config import read_config
from model.registry import OURS
from model.weights.quantise import quantise
from tests.checkpoints import random_checkpoint, write_checkpoint


def changed(folder: Path, tensor: str, index: tuple[int, ...], value: float, dtype: mx.Dtype | None = None) -> Path:
    """The checkpoint with one number of one tensor replaced."""
    weights = mx.load(str(folder / "model.safetensors"))
    weights[tensor][index] = value
    weights = {name: array.astype(dtype) if dtype else array for name, array in weights.items()}
    return write_checkpoint(folder, json.loads((folder / "config.json").read_text()), weights)


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        model.load(folder)
    assert caught.value.kind == "checkpoint" and "\n" not in str(caught.value)
    return str(caught.value)


def with_header(file: Path, change: Callable[[dict[str, Any], int], None], more: bytes = b"") -> None:
    """Change what the header of `file` says, knowing how many bytes follow it, and put `more` behind them."""
    size = int.from_bytes(file.read_bytes()[:8], "little")
    header, content = json.loads(file.read_bytes()[8 : 8 + size]), file.read_bytes()[8 + size :]
    change(header, len(content))
    written = json.dumps(header).encode()
    file.write_bytes(len(written).to_bytes(8, "little") + written + content + more)


@pytest.mark.parametrize("stranger", ["a\nb\x1b[31m", "a\ud800b", "x" * 500])
def test_a_tensor_with_no_place_is_named_so_that_it_can_be_shown(tmp_path, stranger):
    folder = random_checkpoint(tmp_path / "strange")

    def added(header: dict[str, Any], end: int) -> None:
        header[stranger] = {"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]}

    with_header(folder / "model.safetensors", added, bytes(4))
    with pytest.raises(ModelError, match="strange: the weights hold") as caught:
        model.load(folder)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


@pytest.mark.parametrize("dtype", ["U8", "I8", "BOOL", "F8_E4M3"])
def test_what_is_no_number_that_is_computed_with_is_refused_by_name(tmp_path, dtype):
    """MLX opens the last as the bytes of its codes."""
    folder, tensor = random_checkpoint(tmp_path / "odd"), "model.layers.1.mlp.up_proj.weight"
    weights = mx.load(str(folder / "model.safetensors"))
    weights[tensor] = weights[tensor].astype(mx.uint8)
    write_checkpoint(folder, json.loads((folder / "config.json").read_text()), weights)
    with_header(folder / "model.safetensors", lambda header, _: header[tensor].update(dtype=dtype))
    with pytest.raises(ModelError, match=f"^odd: {tensor} is stored as {dtype}, and a weight that is not packed has"):
        model.load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_a_number_that_is_none_is_found_and_its_tensor_named(tmp_path, value, dtype):
    folder = changed(random_checkpoint(tmp_path / "broken"), "model.layers.1.mlp.up_proj.weight", (7, 3), value, dtype)
    assert refusal(folder).startswith("broken: model.layers.1.mlp.up_proj.weight holds a NaN or an infinity")


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_wherever_it_is(tmp_path, data):
    folder = random_checkpoint(tmp_path / "broken")
    weights = mx.load(str(folder / "model.safetensors"))
    tensor = data.draw(st.sampled_from(sorted(weights)))
    index = tuple(data.draw(st.integers(0, size - 1)) for size in weights[tensor].shape)
    changed(folder, tensor, index, data.draw(st.sampled_from([float("nan"), float("inf")])))
    assert f" {tensor} holds" in refusal(folder)


def test_two_infinities_that_cancel_are_found(tmp_path):
    folder = changed(random_checkpoint(tmp_path / "broken"), "model.norm.weight", (0,), float("inf"))
    changed(folder, "model.norm.weight", (1,), -float("inf"))
    assert "model.norm.weight" in refusal(folder)


def test_scales_of_packed_weights_are_looked_at(tmp_path):
    folder = quantise(random_checkpoint(tmp_path / "large", hidden_size=64), tmp_path / "small")
    for part in ("scales", "biases"):
        again = tmp_path / part
        config = json.loads((folder / "config.json").read_text())
        write_checkpoint(again, config, mx.load(str(folder / "model.safetensors")))
        changed(again, f"model.layers.0.self_attn.q_proj.{part}", (5, 0), float("nan"))
        assert f"model.layers.0.self_attn.q_proj.{part} holds a NaN" in refusal(again)


def test_numbers_whose_sum_alone_is_beyond_float32_are_numbers(tmp_path):
    folder = random_checkpoint(tmp_path / "large")
    weights = mx.load(str(folder / "model.safetensors"))
    weights["model.embed_tokens.weight"] = mx.full((96, 32), 3e38)
    write_checkpoint(folder, json.loads((folder / "config.json").read_text()), weights)
    model.load(folder)


def test_float16_sums_beyond_its_range_are_no_reason_to_refuse(tmp_path):
    folder = random_checkpoint(tmp_path / "large")
    weights = {name: array.astype(mx.float16) for name, array in mx.load(str(folder / "model.safetensors")).items()}
    weights["model.norm.weight"] = mx.full((32,), 60000.0, mx.float16)
    write_checkpoint(folder, json.loads((folder / "config.json").read_text()), weights)
    model.load(folder)


def sizes(folder: Path, **changes: Any) -> list[tuple[str, int, int]]:
    seen: list[tuple[str, int, int]] = []
    model.load(folder, progress=lambda *step: seen.append(step), **changes)
    return seen


def test_progress_is_in_bytes_and_ends_at_all_of_them(tmp_path):
    folder = random_checkpoint(tmp_path / "model", num_hidden_layers=8)
    seen = sizes(folder)
    assert {stage for stage, _, _ in seen} == {"load"}
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen}) and len(seen) > 10
    assert (
        seen[-1][1] == seen[-1][2] == sum(array.nbytes for array in mx.load(str(folder / "model.safetensors")).values())
    )


def test_weights_are_in_memory_once_while_types_change(tmp_path):
    folder = random_checkpoint(tmp_path / "model", hidden_size=256, intermediate_size=1024, num_hidden_layers=10)
    weights = {name: array.astype(mx.bfloat16) for name, array in mx.load(str(folder / "model.safetensors")).items()}
    write_checkpoint(folder, json.loads((folder / "config.json").read_text()), weights)
    size = 2 * sum(array.nbytes for array in weights.values())
    del weights
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    loaded = model.load(folder)
    assert mx.get_peak_memory() - before < 1.2 * size
    assert mx.get_active_memory() - before < 1.05 * size
    assert np.isfinite(np.array(loaded.logits(mx.arange(5)))).all()


@pytest.mark.parametrize(("mode", "group_size", "bits"), [("mxfp4", 32, 4), ("mxfp8", 32, 8), ("nvfp4", 16, 4)])
def test_every_packing_that_mlx_has_is_read_as_mlx_lm_reads_it(tmp_path, mode, group_size, bits):
    folder = random_checkpoint(tmp_path / mode, hidden_size=64, intermediate_size=128)
    config = read_config(folder)
    network = OURS[config.model_type](config)
    network.load_weights(list(mx.load(str(folder / "model.safetensors")).items()))
    packing = {"group_size": group_size, "bits": bits, "mode": mode}
    nn.quantize(network, **packing)
    fields = {**json.loads((folder / "config.json").read_text()), "quantization": packing}
    write_checkpoint(folder, fields, dict(tree_flatten(network.parameters())))
    theirs, _ = load_model(folder)
    tokens = mx.arange(9)
    assert np.abs(np.array(model.load(folder).logits(tokens)) - np.array(theirs(tokens[None])[0])).max() < 1e-4


def test_a_packed_matrix_whose_scales_are_in_another_file_is_put_together(tmp_path):
    whole = quantise(random_checkpoint(tmp_path / "large", hidden_size=64), tmp_path / "whole")
    weights = mx.load(str(whole / "model.safetensors"))
    parted = tmp_path / "parted"
    parted.mkdir()
    owners = {name: "b.safetensors" if name.endswith(("scales", "biases")) else "a.safetensors" for name in weights}
    for file in ("a.safetensors", "b.safetensors"):
        mx.save_safetensors(str(parted / file), {name: weights[name] for name in weights if owners[name] == file})
    (parted / "model.safetensors.index.json").write_text(json.dumps({"weight_map": owners}))
    (parted / "config.json").write_text((whole / "config.json").read_text())
    tokens = mx.arange(9)
    assert np.array_equal(np.array(model.load(parted).logits(tokens)), np.array(model.load(whole).logits(tokens)))
