"""A quantised checkpoint is the original in fewer bits: our reader and mlx-lm's agree on it; it is whole or absent."""

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model

import model
from model import ModelError, quantise
from model.config import read_config
from model.registry import OURS
from model.weights import deviation as deviations
from model.weights import quantise as home
from model.weights.deviation import Deviation, relative_error
from model.weights.quantise import RECIPES
from model.weights.safetensors import shards
from tests.checkpoints import random_checkpoint, speaking_checkpoint, write_checkpoint
from tests.model.test_fallback import CONFIGS, foreign_checkpoint

TOKENS = mx.array([[5, 1, 90, 17, 33, 2, 71, 8]])
WIDE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3}


@pytest.fixture
def original(tmp_path) -> Path:
    return random_checkpoint(tmp_path / "original", **WIDE)


def in_memory(folder: Path, settings: dict[str, Any]) -> Any:
    """The network of a checkpoint, quantised by MLX itself after it was loaded."""
    config = read_config(folder)
    network = OURS[config.model_type](config)
    network.load_weights(list(mx.load(str(folder / "model.safetensors")).items()))
    nn.quantize(network, class_predicate=lambda path, module: hasattr(module, "to_quantized") and settings)
    return network


@pytest.mark.parametrize(("bits", "group_size"), [(4, 64), (8, 32), (3, 64), (2, 32), (6, 64), (5, 32)])
def test_what_is_read_back_is_what_mlx_quantises_in_memory(original, tmp_path, bits, group_size):
    folder = quantise(original, tmp_path / "small", bits=bits, group_size=group_size)
    network = in_memory(original, {"bits": bits, "group_size": group_size})
    expected = dict(tree_flatten(network.parameters()))
    stored = mx.load(str(folder / "model.safetensors"))
    assert stored.keys() == expected.keys()
    assert all(mx.array_equal(stored[name], expected[name]).item() for name in stored)
    logits = np.array(model.load(folder).logits(TOKENS))
    assert np.abs(logits - np.array(network(TOKENS))).max() < 1e-4
    assert model.load(folder).traits.bits == bits
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_mlx_lm_reads_the_same_from_it(original, tmp_path, recipe):
    folder = quantise(original, tmp_path / "small", recipe=recipe)
    theirs, _ = load_model(folder)
    logits = np.array(model.load(folder).logits(TOKENS))
    assert np.abs(logits - np.array(theirs(TOKENS).astype(mx.float32))).max() < 1e-4


def test_the_words_of_transformers_5_are_spelt_out_for_mlx_lm(tmp_path):
    changes = {**WIDE, "rope_parameters": {"rope_type": "default", "rope_theta": 50.0}, "tie_word_embeddings": None}
    original = random_checkpoint(tmp_path / "original", **changes)
    config = json.loads((original / "config.json").read_text())
    del config["rope_theta"], config["tie_word_embeddings"]
    (original / "config.json").write_text(json.dumps(config))
    folder = quantise(original, tmp_path / "small")
    theirs, _ = load_model(folder)
    logits = np.array(model.load(folder).logits(TOKENS))
    assert np.abs(logits - np.array(theirs(TOKENS).astype(mx.float32))).max() < 1e-4


def test_fewer_bits_are_further_from_the_original_and_mixed_is_nearer(original, tmp_path):
    exact = np.array(model.load(original).logits(TOKENS))

    def error(**choice: Any) -> float:
        folder = quantise(original, tmp_path / "-".join(map(str, choice.values())), **choice)
        return float(np.square(np.array(model.load(folder).logits(TOKENS)) - exact).mean())

    assert error(bits=8) < error(bits=6) < error(bits=4) < error(bits=2)
    assert error(bits=4, recipe="mixed") < error(bits=4, recipe="uniform")


def test_mixed_gives_more_bits_to_what_it_names(tmp_path):
    original = random_checkpoint(tmp_path / "original", **{**WIDE, "num_hidden_layers": 16}, tie_word_embeddings=False)
    folder = quantise(original, tmp_path / "small", recipe="mixed")
    rule = read_config(folder).quantization
    assert rule is not None and rule.default.bits == 4
    assert {path: entry.bits for path, entry in rule.overrides.items()} == {
        "model.embed_tokens": 6,
        "lm_head": 6,
        **{f"model.layers.{layer}.self_attn.v_proj": 6 for layer in (0, 1, 14, 15)},
        **{f"model.layers.{layer}.mlp.down_proj": 6 for layer in (0, 1, 14, 15)},
    }
    most = quantise(original, tmp_path / "most", bits=6, recipe="mixed")
    assert read_config(most).quantization.of("lm_head").bits == 8


def test_matrices_whose_rows_no_group_divides_stay_as_they_are(tmp_path):
    original = random_checkpoint(tmp_path / "original", hidden_size=64, intermediate_size=80)
    folder = quantise(original, tmp_path / "small")
    stored = mx.load(str(folder / "model.safetensors"))
    assert "model.layers.0.mlp.up_proj.scales" in stored and "model.layers.0.mlp.down_proj.scales" not in stored
    theirs, _ = load_model(folder)
    logits = np.array(model.load(folder).logits(TOKENS))
    assert np.abs(logits - np.array(theirs(TOKENS).astype(mx.float32))).max() < 1e-4


def test_types_stay_and_what_is_not_packed_stays_bit_for_bit(original, tmp_path):
    weights = {name: array.astype(mx.bfloat16) for name, array in mx.load(str(original / "model.safetensors")).items()}
    write_checkpoint(original, json.loads((original / "config.json").read_text()), weights)
    stored = mx.load(str(quantise(original, tmp_path / "small") / "model.safetensors"))
    assert stored["model.norm.weight"].dtype == stored["model.embed_tokens.scales"].dtype == mx.bfloat16
    assert mx.array_equal(
        stored["model.layers.1.self_attn.q_proj.bias"], weights["model.layers.1.self_attn.q_proj.bias"]
    )


@pytest.mark.parametrize("kind", ["gemma3", "qwen2_moe"])
def test_what_only_mlx_lm_implements_is_quantised_too(tmp_path, kind):
    original = foreign_checkpoint(tmp_path / kind, CONFIGS[kind])
    folder = quantise(original, tmp_path / "small", bits=8, group_size=32)
    theirs, _ = load_model(folder)
    logits = np.array(model.load(folder).logits(TOKENS))
    assert np.abs(logits - np.array(theirs(TOKENS).astype(mx.float32))).max() < 1e-4
    exact = np.array(model.load(original).logits(TOKENS))
    assert np.abs(logits - exact).max() < 0.1 * np.abs(exact).max()


def test_several_files_with_an_index_hold_the_same(original, tmp_path, monkeypatch):
    whole = mx.load(str(quantise(original, tmp_path / "one") / "model.safetensors"))
    monkeypatch.setattr(home, "MOST_SHARD", 20_000)
    folder = quantise(original, tmp_path / "many")
    files = shards(folder)
    assert len(files) > 2 and not (folder / "model.safetensors").exists()
    assert all(
        sum(info.nbytes for info in tensors.values()) <= 20_000 for tensors in files.values() if len(tensors) > 3
    )
    parts = {name: array for path in files for name, array in mx.load(str(path)).items()}
    assert parts.keys() == whole.keys() and all(mx.array_equal(parts[name], whole[name]).item() for name in whole)
    theirs, _ = load_model(folder)
    assert np.abs(np.array(model.load(folder).logits(TOKENS)) - np.array(theirs(TOKENS))).max() < 1e-4


def test_a_model_in_several_files_is_read_whole(original, tmp_path):
    weights = mx.load(str(original / "model.safetensors"))
    names = sorted(weights)
    split = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    parted = tmp_path / "parted"
    parted.mkdir()
    for file, part in split.items():
        mx.save_safetensors(str(parted / file), {name: weights[name] for name in part})
    index = {"weight_map": {name: file for file, part in split.items() for name in part}}
    (parted / "model.safetensors.index.json").write_text(json.dumps(index))
    shutil.copy(original / "config.json", parted)
    folder = quantise(parted, tmp_path / "small")
    assert not (folder / "model.safetensors.index.json").exists()
    expected = mx.load(str(quantise(original, tmp_path / "other") / "model.safetensors"))
    stored = mx.load(str(folder / "model.safetensors"))
    assert all(mx.array_equal(stored[name], expected[name]).item() for name in expected)


def test_tokenizer_template_and_card_come_along_and_code_does_not(tmp_path):
    original = speaking_checkpoint(tmp_path / "original", hidden_size=64)
    (original / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (original / "LICENSE").write_text("as you like")
    (original / "modeling_odd.py").write_text("raise SystemExit")
    (original / "pytorch_model.bin").write_bytes(b"pickle")
    blob = tmp_path / "blob"
    blob.write_text("{}")
    (original / "generation_config.json").symlink_to(blob)  # as the Hub's cache has them
    folder = quantise(original, tmp_path / "small")
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "README.md",
        "LICENSE",
    }
    assert not (folder / "generation_config.json").is_symlink()
    assert model.load(folder).tokenizer.encode("hi") == model.load(original).tokenizer.encode("hi")


def test_progress_counts_bytes_up_to_all_of_them(original, tmp_path):
    seen: list[tuple[int, int]] = []
    folder = quantise(original, tmp_path / "small", progress=lambda done, total: seen.append((done, total)))
    (total,) = {total for _, total in seen}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[0] == (0, total) and seen[-1] == (total, total)
    assert total == sum(info.nbytes for info in shards(folder)[folder / "model.safetensors"].values())


class Stopped(Exception):
    pass


def test_whoever_stops_it_leaves_nothing_behind(original, tmp_path):
    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise Stopped

    with pytest.raises(Stopped):
        quantise(original, tmp_path / "place" / "small", progress=stop)
    assert list((tmp_path / "place").iterdir()) == []


@pytest.mark.parametrize("kind", ["ours", "qwen2_moe"])
def test_the_deviation_of_each_packed_module_is_told(tmp_path, kind):
    if kind == "ours":
        original = random_checkpoint(tmp_path / "original", **WIDE)
    else:
        original = foreign_checkpoint(tmp_path / "original", CONFIGS[kind])  # whose experts are stacked
    told: list[Deviation] = []
    folder = quantise(original, tmp_path / "small", group_size=32, measured=told.append)
    before, _ = load_model(original)
    after, _ = load_model(folder)
    packed = {path: module for path, module in after.named_modules() if "scales" in module}
    assert {deviation.module for deviation in told} == packed.keys() and len(told) == len(packed)
    modules = dict(before.named_modules())
    for deviation in told:
        weights, module = np.array(modules[deviation.module].weight, np.float64), packed[deviation.module]
        stands_for = mx.dequantize(module.weight, module.scales, module.biases, 32, 4)
        assert deviation.weights == pytest.approx(np.square(weights).sum(), rel=1e-5)
        assert deviation.differences == pytest.approx(np.square(weights - np.array(stands_for)).sum(), rel=1e-4)
    differences, weights = sum(one.differences for one in told), sum(one.weights for one in told)
    assert relative_error(told) == pytest.approx((differences / weights) ** 0.5)


def test_more_bits_deviate_less_and_what_is_nothing_not_at_all(original, tmp_path):
    def error(bits: int) -> float:
        told: list[Deviation] = []
        quantise(original, tmp_path / str(bits), bits=bits, measured=told.append)
        return relative_error(told)

    assert 0 < error(8) < error(4) / 10 < error(2) / 20
    assert relative_error([Deviation("zeros", 0.0, 0.0)]) == relative_error([]) == 0


def test_a_matrix_is_looked_at_a_slab_at_a_time_with_the_same_result(original, tmp_path, monkeypatch):
    told: dict[int, list[Deviation]] = {0: [], 1: []}
    quantise(original, tmp_path / "whole", measured=told[0].append)
    monkeypatch.setattr(deviations, "SLAB", 640)  # ten rows of 64, and there are 96 and 32
    quantise(original, tmp_path / "slabs", measured=told[1].append)
    for one, other in zip(told[0], told[1], strict=True):
        assert (one.module, one.differences) == (other.module, pytest.approx(other.differences, rel=1e-5))


def refusal(*arguments: Any, **choice: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        quantise(*arguments, **choice)
    assert "\n" not in str(caught.value)
    return caught.value


def test_what_cannot_be_done_is_refused_before_anything_is_written(original, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    small = quantise(original, tmp_path / "small")
    assert "quantised already" in str(refusal(small, place / "again"))
    assert "exists already" in str(refusal(original, small))
    (place / "dangling").symlink_to(place / "nowhere")
    assert "exists already" in str(refusal(original, place / "dangling"))
    assert "2, 3, 4, 5, 6 or 8 bits" in str(refusal(original, place / "x", bits=7))
    assert "32, 64 or 128" in str(refusal(original, place / "x", group_size=48))
    assert "mixed or uniform" in str(refusal(original, place / "x", recipe="soup"))
    assert "not a model folder" in str(refusal(tmp_path / "missing", place / "x"))
    assert "choose a smaller group" in str(refusal(random_checkpoint(tmp_path / "narrow"), place / "x"))
    odd = write_checkpoint(tmp_path / "odd", {"model_type": "perceptron_9000"}, {"weight": mx.zeros((2, 2))})
    assert refusal(odd, place / "x").kind == "unsupported"
    assert [path.name for path in place.iterdir()] == ["dangling"]


def test_too_little_room_is_said_with_both_sizes(original, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=5 * 1024**2)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    sentence = str(refusal(original, tmp_path / "place" / "small"))
    assert "has 5.0 MiB left" in sentence and "MiB when quantised" in sentence
    assert list((tmp_path / "place").iterdir()) == []


def test_too_little_memory_is_said_before_anything_is_written(original, tmp_path):
    sentence = str(refusal(original, tmp_path / "place" / "small", memory=100 * 1024**2, name="the very one"))
    assert "the very one needs 128.0 MiB" in sentence and "100.0 MiB are free" in sentence
    assert not (tmp_path / "place").exists()
    assert quantise(original, tmp_path / "small", memory=200 * 1024**2).is_dir()


def test_a_place_that_may_not_be_written_is_named(original, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    assert str(file / "small") in str(refusal(original, file / "small"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_not_passed_on(original, tmp_path, value):
    weights = mx.load(str(original / "model.safetensors"))
    weights["model.layers.1.mlp.gate_proj.weight"][3, 7] = value
    write_checkpoint(original, json.loads((original / "config.json").read_text()), weights)
    sentence = str(refusal(original, tmp_path / "place" / "small"))
    assert "original: model.layers.1.mlp.gate_proj.weight holds a NaN or an infinity" in sentence
    assert list((tmp_path / "place").iterdir()) == []


def test_memory_holds_a_module_at_a_time(tmp_path):
    original = random_checkpoint(
        tmp_path / "original", hidden_size=256, intermediate_size=1024, num_hidden_layers=12, vocab_size=512
    )
    size = (original / "model.safetensors").stat().st_size
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    quantise(original, tmp_path / "small", measured=lambda deviation: None)
    assert mx.get_peak_memory() - before < size // 6
    assert mx.get_active_memory() - before < size // 100
