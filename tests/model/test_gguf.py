"""GGUF files: converted without loss, once, whole or not at all; hostile ones get a sentence, soon."""

import json
import multiprocessing
import os
import shutil
import struct
import time
from collections.abc import Collection
from pathlib import Path

import gguf
import mlx.core as mx
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from hypothesis import given, settings
from hypothesis import strategies as st

import model
from model.errors import ModelError
from model.tokenizer import Tokenizer, Turn
from model.weights import gguf as conversion
from model.weights.conversions import FILES
from model.weights.gguf import TypeReport, conversion_report, convert, unpermuted
from model.weights.gguf_blocks import REPACKED, pack, quantised
from model.weights.gguf_header import read
from model.weights.gguf_types import FILE_TYPES, TYPES, Packing, packing
from model.weights.safetensors import read_header
from tests.model.gguf_files import HEADS, KV_HEADS, LAYERS, ROWS, SIZE, blocks, convert_and_tell, weights, write_gguf


def nothing(done: int, total: int) -> None:
    """Progress that nobody looks at."""


def loaded(folder: Path, only: Collection[str] = (), rows: int | None = None) -> dict[str, np.ndarray]:
    """The converted weights by name, all or `only` some, the first `rows` of each, dequantised by MLX in float32."""
    arrays = {name: array[:rows] for name, array in mx.load(str(folder / "model.safetensors")).items()}
    settings_of = json.loads((folder / "config.json").read_text()).get("quantization", {})
    result = {}
    for name, array in arrays.items():
        if name.endswith((".scales", ".biases")) or (only and name not in only):
            continue
        if f"{(module := name.removesuffix('.weight'))}.scales" in arrays:
            scales, biases = (arrays[f"{module}.{part}"].astype(mx.float32) for part in ("scales", "biases"))
            form = settings_of.get(module, settings_of)
            array = mx.dequantize(array, scales, biases, group_size=form["group_size"], bits=form["bits"])
        result[name] = np.array(array.astype(mx.float32))
    return result


# --- weights --------------------------------------------------------------------------------------------------------


def plain(packed: np.ndarray, scales: np.ndarray, biases: np.ndarray, form: Packing) -> np.ndarray:
    """What MLX makes of packed weights, in float32."""
    scales, biases = (mx.array(array).astype(mx.float32) for array in (scales, biases))
    return np.array(mx.dequantize(mx.array(packed), scales, biases, group_size=form.group, bits=form.bits))


HALVES = {Kind.Q4_0: 1, Kind.Q4_1: 2, Kind.Q5_0: 1, Kind.Q5_1: 2, Kind.Q8_0: 1, Kind.Q4_K: 2, Kind.Q5_K: 2}
"""How many float16 each block begins with."""


def test_the_facts_about_types_are_those_of_the_gguf_package() -> None:
    def readable(kind: Kind) -> bool:
        try:
            gguf.dequantize(np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
        except NotImplementedError:
            return False
        return True

    assert {number: tuple(known[:3]) for number, known in TYPES.items()} == {
        kind.value: (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in Kind if readable(kind)
    }
    assert {number for number, known in TYPES.items() if known.kept} == {kind.value for kind in REPACKED}
    named = {kind.value: kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in gguf.LlamaFileType}
    assert FILE_TYPES.items() <= named.items()


@pytest.mark.parametrize("kind", HALVES, ids=lambda kind: kind.name)
@settings(max_examples=25)
@given(st.binary(min_size=512, max_size=512), st.lists(st.floats(-400, 400, width=16), min_size=2, max_size=2))
def test_any_block_means_the_same_to_mlx_as_to_ggml(kind: Kind, content: bytes, scales: list[float]) -> None:
    size = gguf.GGML_QUANT_SIZES[kind][1]
    blocks = np.frombuffer(content[: len(content) // size * size], np.uint8).reshape(1, -1, size).copy()
    # No scale of a trained weight is infinite, or near it.
    blocks[..., : 2 * HALVES[kind]] = np.array(scales[: HALVES[kind]], np.float16).view(np.uint8)
    rows = blocks.reshape(1, -1)
    if kind in (Kind.Q4_K, Kind.Q5_K):
        rows[..., :4] = np.array([0.013, 0.021], np.float16).view(np.uint8)
    form = packing(kind, 256, None)
    assert form == Packing(TYPES[kind].kept or 0, 32)
    packed = pack(kind, rows, form)
    ours, theirs = plain(packed.weights, packed.scales, packed.biases, form), gguf.dequantize(rows, kind)
    if kind in (Kind.Q4_K, Kind.Q5_K):  # float16 holds a product of their scales to a 2048th
        size = np.abs(theirs).max() + 0.021 * 63
        assert np.abs(ours - theirs).max() <= size / 1024
        noise = ours.size * (size * np.finfo(np.float32).eps) ** 2  # of sums in float32
        error = float(((ours - theirs).astype(np.float64) ** 2).sum())
        assert packed.error == pytest.approx(error, rel=0.02, abs=noise)
    else:
        assert np.array_equal(ours, theirs) and packed.error == 0


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([Packing(bits, group) for bits in (4, 8) for group in (32, 64)]),
    st.sampled_from([1e-9, 1e-4, 0.02, 30.0]),
    st.sampled_from([-3.0, 0.0, 0.4, 5.0]),
)
def test_the_quantiser_follows_the_rule_of_mlx(seed: int, form: Packing, size: float, offset: float) -> None:
    weights = (size * (np.random.default_rng(seed).standard_normal((3, 128)) + offset)).astype(np.float32)
    weights[1, :64] = size * offset  # all alike
    codes, scales, biases = quantised(weights, form)
    packed, *theirs = mx.quantize(mx.array(weights), form.group, form.bits)
    for ours, exact in zip((scales, biases), map(np.array, theirs), strict=True):
        assert np.allclose(ours, exact, rtol=2**-9, atol=1.2e-7)
    ours = codes * scales[..., None].astype(np.float32) + biases[..., None].astype(np.float32)
    exact = plain(np.array(packed), *map(np.array, theirs), form).reshape(ours.shape)
    step, bias = (np.abs(array[..., None].astype(np.float32)) for array in (scales, biases))
    rounding = bias * 2**-10 + 6e-8 + step * 2**-8
    assert (np.abs(ours - exact) <= 1.5 * step + rounding).all()  # that of MLX may not reach the far end
    wanted = weights.reshape(ours.shape)
    assert np.square(ours - wanted).mean() <= 1.1 * np.square(exact - wanted).mean() + np.square(rounding).mean()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_weights_that_are_no_numbers_are_told(tmp_path: Path, bad: float) -> None:
    tensors = weights("llama")
    tensors["blk.1.ffn_up.weight"][3, 5] = bad
    path = write_gguf(tmp_path / "m.gguf", kind=Kind.F32, tensors=tensors)
    with pytest.raises(ModelError, match=r"blk\.1\.ffn_up\.weight has weights that are not finite, or too large"):
        convert(path, tmp_path / "c", nothing, bits=8)


def test_heads_are_put_back_in_order() -> None:
    def permute(rows: np.ndarray, heads: int) -> np.ndarray:  # llama.cpp, convert_hf_to_gguf.py
        return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)

    rows = np.arange(24 * 5).reshape(24, 5)
    for heads in (1, 2, 3, 4):
        assert np.array_equal(unpermuted(permute(rows, heads), heads), rows)


def test_the_starters_every_weight_survives(starter_gguf: Path, converted_starter: Path) -> None:
    header = read(starter_gguf)
    data = np.memmap(starter_gguf, mode="r", offset=header.start)
    stored = {tensor.name: tensor for tensor in header.tensors}

    def theirs(name: str) -> np.ndarray:
        rows, columns = stored[name].shape if len(stored[name].shape) == 2 else (1, *stored[name].shape)
        block, size = gguf.GGML_QUANT_SIZES[Kind(stored[name].kind)]
        bytes_ = data[stored[name].offset :][: rows * columns // block * size].reshape(rows, -1)
        return gguf.dequantize(bytes_[:2000], Kind(stored[name].kind)).reshape(-1, *stored[name].shape[1:])

    modules = {name.rpartition(".")[0] for name in read_header(converted_starter / "model.safetensors")}
    assert len(modules) == len(stored) == 272
    names = {
        "token_embd": "model.embed_tokens",
        "output_norm": "model.norm",
        "blk.7.attn_norm": "model.layers.7.input_layernorm",
        "blk.7.ffn_norm": "model.layers.7.post_attention_layernorm",
        "blk.29.attn_v": "model.layers.29.self_attn.v_proj",
        "blk.0.attn_output": "model.layers.0.self_attn.o_proj",
        "blk.0.ffn_gate": "model.layers.0.mlp.gate_proj",
        "blk.0.ffn_up": "model.layers.0.mlp.up_proj",
        "blk.0.ffn_down": "model.layers.0.mlp.down_proj",
    }
    query_name = "model.layers.3.self_attn.q_proj.weight"
    ours = loaded(converted_starter, [query_name, *(f"{mine}.weight" for mine in names.values())], rows=2000)
    for name, mine in names.items():
        assert np.array_equal(ours[f"{mine}.weight"], theirs(f"{name}.weight")), name
    assert np.array_equal(ours[query_name], unpermuted(theirs("blk.3.attn_q.weight"), 9))


def expect_layer(folder: Path, source: dict[str, np.ndarray], kind: Kind, architecture: str) -> None:
    """The queries, keys and values of a layer mean what the file's do, in transformers' order."""
    ours = loaded(folder)
    assert len(ours) == len(source)
    for name, heads in (("attn_q", HEADS), ("attn_k", KV_HEADS), ("attn_v", 0)):
        expected = gguf.dequantize(gguf.quantize(source[f"blk.1.{name}.weight"], kind), kind)
        if heads and architecture == "llama":  # only llama.cpp's llama permutes
            expected = unpermuted(expected, heads)
        assert np.array_equal(ours[f"model.layers.1.self_attn.{name[-1]}_proj.weight"], expected)


LOSSLESS = [Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0, Kind.BF16, Kind.F16, Kind.F32]


@pytest.mark.parametrize("kind", LOSSLESS, ids=lambda kind: kind.name)
def test_types_that_mlx_has_too_are_converted_without_loss(tmp_path: Path, kind: Kind) -> None:
    folder = convert(write_gguf(tmp_path / "m.gguf", kind=kind), tmp_path / "c", nothing)
    expect_layer(folder, weights("llama"), kind, "llama")
    report = conversion_report(folder)
    assert all(entry.worst == entry.mean == 0 for entry in report.values())
    bits = {Kind.Q4_0: 4, Kind.Q4_1: 4, Kind.Q5_0: 8, Kind.Q5_1: 8, Kind.Q8_0: 8}
    assert {name: entry.bits for name, entry in report.items()} == {"Q8_0": 8} | (
        {kind.name: bits[kind]} if kind in bits else {}
    )


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3"])
def test_other_architectures_keep_their_rows_and_their_own_tensors(tmp_path: Path, architecture: str) -> None:
    source = weights(architecture)
    folder = convert(write_gguf(tmp_path / "m.gguf", architecture), tmp_path / "c", nothing)
    expect_layer(folder, source, Kind.Q4_1, architecture)
    ours = loaded(folder)
    config = json.loads((folder / "config.json").read_text())
    if architecture == "qwen2":
        assert np.array_equal(ours["model.layers.0.self_attn.k_proj.bias"], source["blk.0.attn_k.bias"])
    else:
        assert np.array_equal(ours["model.layers.1.self_attn.q_norm.weight"], source["blk.1.attn_q_norm.weight"])
        assert config["head_dim"] == SIZE and config["model_type"] == "qwen3"
    assert model.load(folder).logits(mx.array([1, 2, 3])).shape == (3, ROWS)


READ_ONLY = """
    Q2_K Q3_K Q4_K Q5_K Q6_K IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ1_S IQ1_M IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4
"""


@pytest.mark.parametrize("bits", [None, 4, 8])
@pytest.mark.parametrize("kind", [Kind[name] for name in READ_ONLY.split()], ids=lambda kind: kind.name)
def test_other_types_are_quantised_anew_and_the_error_is_measured(kind: Kind, bits: int | None) -> None:
    rows = blocks(np.random.default_rng(2).standard_normal((16, 256)).astype(np.float32), kind)
    form = packing(kind, 256, bits)
    assert form is not None
    packed = pack(kind, rows, form)
    ours, theirs = plain(packed.weights, packed.scales, packed.biases, form), gguf.dequantize(rows, kind)
    error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    assert np.sqrt(packed.error / packed.power) == pytest.approx(error, rel=1e-3)
    assert error < (0.01 if form.bits == 8 or kind == Kind.Q4_K else 0.15)
    if bits is None:
        assert form.bits == (8 if kind in (Kind.Q5_K, Kind.Q6_K) else 4)


def test_a_file_of_mixed_types_says_what_each_cost(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", kind=Kind.Q4_K, embedding=Kind.Q6_K, size=256, inner=512)
    folder = convert(path, tmp_path / "c", nothing)
    report = conversion_report(folder)
    assert (report["Q4_K"].tensors, report["Q4_K"].bits) == (7 * LAYERS, 4) and report["Q4_K"].worst < 5e-4
    assert (report["Q6_K"].tensors, report["Q6_K"].bits) == (1, 8) and 0 < report["Q6_K"].mean < 0.01
    stored = gguf.dequantize(blocks(np.empty((ROWS, 256)), Kind.Q6_K), Kind.Q6_K)
    ours = loaded(folder, ["model.embed_tokens.weight"])["model.embed_tokens.weight"]
    error = np.linalg.norm(ours - stored) / np.linalg.norm(stored)
    assert report["Q6_K"].worst == pytest.approx(error, rel=1e-3)
    assert json.loads((folder / "config.json").read_text())["quantization"] == {
        "group_size": 32,
        "bits": 4,
        "model.embed_tokens": {"group_size": 64, "bits": 8},
    }
    every = json.loads((folder / "conversion.json").read_text())["tensors"]
    assert len(every) == 7 * LAYERS + 1 and every["model.embed_tokens.weight"]["error"] == report["Q6_K"].worst
    (folder / "conversion.json").write_text("[]")
    with pytest.raises(ModelError, match=r"conversion\.json is damaged"):
        conversion_report(folder)


def test_the_bits_can_be_chosen(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", kind=Kind.F16, embedding=Kind.Q4_0)
    folders = {bits: convert(path, tmp_path / "c", nothing, bits=bits) for bits in (None, 4, 8)}
    assert len(set(folders.values())) == 3 and all(folder.exists() for folder in folders.values())
    reports = {bits: conversion_report(folder) for bits, folder in folders.items()}
    assert all(report["Q4_0"] == TypeReport(1, 4, 0, 0) for report in reports.values())
    assert "F16" not in reports[None]
    assert reports[4]["F16"].bits == 4 and 0.02 < reports[4]["F16"].mean < 0.12
    assert reports[8]["F16"].bits == 8 and reports[8]["F16"].worst < 0.01
    eight = write_gguf(tmp_path / "eight.gguf", kind=Kind.Q8_0)
    assert conversion_report(convert(eight, tmp_path / "c", nothing, bits=4))["Q8_0"].bits == 4
    with pytest.raises(ModelError, match="to 4 or 8 bits, not 5") as caught:
        convert(path, tmp_path / "c", nothing, bits=5)
    assert caught.value.kind == "request"


def test_a_matrix_in_many_chunks_is_the_same_as_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(tmp_path / "m.gguf", kind=Kind.Q5_1)
    whole = convert(path, tmp_path / "a", nothing)
    monkeypatch.setattr(conversion, "CHUNK", 3 * SIZE)
    parts = convert(path, tmp_path / "b", nothing)
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()


# --- everything else in the folder ----------------------------------------------------------------------------------


def test_the_starters_configuration(converted_starter: Path) -> None:
    config = json.loads((converted_starter / "config.json").read_text())
    expected = {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100_000,
        "vocab_size": 49_152,
        "tie_word_embeddings": True,
        "quantization": {"group_size": 32, "bits": 4, "model.embed_tokens": {"group_size": 32, "bits": 8}},
    }
    assert expected.items() <= config.items()


def test_the_starters_tokenizer(starter_tokenizer: Tokenizer) -> None:
    assert starter_tokenizer.size == 49_152 and starter_tokenizer.eos_ids == {2} and starter_tokenizer.bos_id == 1
    ids = starter_tokenizer.prompt([Turn("user", "What is the capital of France?")])
    assert len(ids) == 37  # as llama.cpp's and transformers' tokenizers count
    assert starter_tokenizer.decode(ids, skip_special=False) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )
    for text in ("Hello 12345 你好 😀 I'm\n\n  x", "def f(x):\n\treturn x ** 2\n"):
        assert starter_tokenizer.decode(starter_tokenizer.encode(text)) == text
    assert len(starter_tokenizer.encode("12345")) == 5


def test_token_types_decide_what_is_control_and_what_is_filler(tmp_path: Path) -> None:
    folder = convert(write_gguf(tmp_path / "m.gguf", "qwen2"), tmp_path / "c", nothing)
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.encode("ab<end><tool>") == [2, 3, 4]
    assert tokenizer.decode([2, 3, 4]) == "ab<tool>"
    assert 5 not in tokenizer.encode("[PAD5]")
    assert tokenizer.eos_ids == {0, 3}
    assert tokenizer.prompt([Turn("user", "ab")]) == [2, 3]
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [0, 3]


def test_an_untied_head_and_a_stretched_context_are_kept(tmp_path: Path) -> None:
    def stretch(writer: gguf.GGUFWriter) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(128)

    tensors = weights("qwen2") | {"output.weight": np.ones((ROWS, SIZE), np.float32)}
    path = write_gguf(tmp_path / "m.gguf", "qwen2", tensors=tensors, change=stretch)
    folder = convert(path, tmp_path / "c", nothing)
    config = json.loads((folder / "config.json").read_text())
    assert config["tie_word_embeddings"] is False and config["vocab_size"] == ROWS
    assert config["rope_scaling"]["rope_type"] == "yarn" and config["rope_scaling"]["factor"] == 4
    assert config["rope_scaling"]["original_max_position_embeddings"] == 128
    assert "lm_head.scales" in read_header(folder / "model.safetensors")


def test_llama_3s_factors_become_its_settings(tmp_path: Path) -> None:
    # The fifth wavelength is 2 pi 500,000^(8/16) = 4,443, so 8,192 tokens are 1.844 turns: between 1 and 4.
    factors = [1.0, 1.0, 1.0, 1.0, 3.2923, 32.0, 32.0, 32.0]
    tensors = weights("llama") | {"rope_freqs.weight": np.array(factors, np.float32)}
    path = write_gguf(tmp_path / "m.gguf", tensors=tensors, theta=500_000.0)
    config = json.loads((convert(path, tmp_path / "c", nothing) / "config.json").read_text())
    assert config["rope_theta"] == 500_000
    assert config["rope_scaling"] == {
        "rope_type": "llama3",
        "type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }


def test_factors_that_change_nothing_are_left_out(tmp_path: Path) -> None:
    tensors = weights("llama") | {"rope_freqs.weight": np.ones(8, np.float32)}
    folder = convert(write_gguf(tmp_path / "m.gguf", tensors=tensors), tmp_path / "c", nothing)
    assert "rope_scaling" not in json.loads((folder / "config.json").read_text())


# --- once, whole or not at all --------------------------------------------------------------------------------------


def test_a_file_is_converted_once_until_it_changes(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "my model.gguf")
    seen: list[tuple[int, int]] = []
    first = convert(path, tmp_path / "c", lambda done, total: seen.append((done, total)))
    assert seen == [(n, 20) for n in range(21)]
    seen.clear()
    link = tmp_path / "link.gguf"
    link.symlink_to(path)
    assert convert(path, tmp_path / "c", lambda done, total: seen.append((done, total))) == first and not seen
    assert first.name.startswith("my-model-")
    status = path.stat()
    other = convert(write_gguf(tmp_path / "other" / "my model.gguf"), tmp_path / "c", nothing)
    chosen = convert(path, tmp_path / "c", nothing, bits=8)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 2))
    second = convert(path, tmp_path / "c", nothing)
    assert second not in (first, chosen) and not first.exists() and not chosen.exists()  # nobody would find them again
    assert other.exists() and second.exists()


def test_what_was_converted_is_the_persons_alone(tmp_path: Path) -> None:
    folder = convert(write_gguf(tmp_path / "m.gguf"), tmp_path / "a" / "c", nothing)
    assert {path.name for path in folder.iterdir()} == set(FILES)
    for made in (folder, folder.parent):
        assert made.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())


def test_leftovers_of_a_dead_run_go_and_a_damaged_folder_is_made_again(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    folder = convert(path, tmp_path / "c", nothing)
    leftover = tmp_path / "c" / ".other-0123.unfinished"
    leftover.mkdir()
    (leftover / "model.safetensors").write_bytes(b"half")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1])
    assert convert(path, tmp_path / "c", nothing) == folder
    assert (folder / "model.safetensors").read_bytes() == whole
    assert not leftover.exists()
    (folder / "tokenizer.json").unlink()
    assert convert(path, tmp_path / "c", nothing) == folder and (folder / "tokenizer.json").exists()


def test_a_run_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(write_gguf(tmp_path / "m.gguf"), tmp_path / "c", stop)
    assert [path.name for path in (tmp_path / "c").iterdir()] == [".lock"]


def test_two_at_once_both_succeed(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.SimpleQueue[str] = context.SimpleQueue()
    processes = [context.Process(target=convert_and_tell, args=(path, tmp_path / "c", results)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    folder = Path(results.get())
    assert results.get() == str(folder) and {path.name for path in folder.iterdir()} == set(FILES)


def test_a_file_that_changes_meanwhile_is_not_kept(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")

    def touch(done: int, total: int) -> None:
        os.utime(path, ns=(0, done))

    with pytest.raises(ModelError, match="changed while it was read"):
        convert(path, tmp_path / "c", touch)


def test_a_full_disk_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ModelError, match=r"needs 32 MiB in .*, where 1 are free"):
        convert(write_gguf(tmp_path / "m.gguf"), tmp_path / "c", nothing)


# --- what bad files get ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence", "kind"),
    [
        ({"tensors": {"output_norm.weight": np.ones(64, np.int8)}}, "as type 24, which is unknown", "unsupported"),
        ({"architecture": "gemma3"}, "architecture gemma3", "unsupported"),
        ({"pre": "chatglm-bpe"}, "text split as chatglm-bpe", "unsupported"),
        ({"change": lambda w: w.add_head_count_kv([1, 2])}, "does not say llama.attention.head_count_kv", "checkpoint"),
        ({"change": lambda w: w.add_array("tokenizer.ggml.merges", ["a 1"])}, "damaged vocabulary", "checkpoint"),
        ({"change": lambda w: w.add_head_count(8)}, r"has the shape \[32, 64\], not \[16, 64\]", "checkpoint"),
        ({"change": lambda w: w.add_expert_count(8)}, "mixture of experts", "unsupported"),
        ({"change": lambda w: w.add_rope_dimension_count(8)}, "only part of each head", "unsupported"),
        ({"change": lambda w: w.add_uint16("split.count", 3)}, "one part of several", "unsupported"),
        ({"tensors": {}}, "lacks the tensor model.embed_tokens", "checkpoint"),
        ({"tensors": {"blk.0.ffn_up_exps.weight": np.ones((2, 2, 64))}}, "mixture of experts", "unsupported"),
        ({"tensors": weights("qwen2")}, "which a llama model does not have", "unsupported"),
        ({"tensors": weights("llama") | {"rope_freqs.weight": 2 * np.ones(8)}}, "not Llama 3's", "unsupported"),
        (
            {"tensors": weights("llama") | {"token_embd.weight": np.ones((2, SIZE))}},
            "8 tokens and weights for 2",
            "checkpoint",
        ),
    ],
)
def test_what_cannot_be_run_is_named(tmp_path: Path, arguments: dict, sentence: str, kind: str) -> None:
    if "tensors" in arguments:
        arguments["tensors"] = {
            name: array.astype(np.float32) if array.dtype == np.float64 else array
            for name, array in arguments["tensors"].items()
        }
    path = write_gguf(tmp_path / "m.gguf", **arguments)
    with pytest.raises(ModelError, match=sentence) as caught:
        convert(path, tmp_path / "c", nothing)
    assert caught.value.kind == kind and str(path) in str(caught.value)


HUGE = 1 << 60


def text(content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(content) if length is None else length) + content


LLAMA = text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")


def header(tensors: int = 0, entries: int = 0, body: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries) + body + bytes(64)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "no GGUF file"),
        (b"GGUF", "ends inside its header"),
        (b"version https://git-lfs", "no GGUF file"),
        (header(version=1), "GGUF version 1"),
        (header(version=3 << 24), "big-endian"),
        (header(tensors=HUGE), f"announces {HUGE} tensors"),
        (header(entries=HUGE), f"announces {HUGE} metadata entries"),
        (header(entries=1, body=text(b"", HUGE)), "bytes long"),
        (header(entries=1, body=text(b"", 60_000)), "ends inside its header"),
        (header(entries=1, body=text(b"a") + struct.pack("<IQ", 8, HUGE)), "bytes long"),
        (header(entries=1, body=text(b"a") + struct.pack("<I", 99)), "unknown type"),
        (header(entries=1, body=text(b"a") + struct.pack("<IIQ", 9, 8, HUGE)), f"announces {HUGE} items"),
        (header(entries=1, body=text(b"a") + struct.pack("<IIQ", 9, 0, HUGE)), f"announces {HUGE} items"),
        (
            header(entries=1, body=text(b"a") + struct.pack("<IIQ", 9, 0, 99_999) + bytes(99_999)),
            "announces 99999 items",
        ),
        (header(entries=1, body=text(b"a") + struct.pack("<IIQ", 9, 9, 1)), "array of an unknown type"),
        (header(entries=1, body=text(b"a") + struct.pack("<IIQQ", 9, 8, 1, HUGE)), "ends inside its header"),
        (header(entries=1, body=text(b"\xff")), "is no text"),
        (header(entries=2, body=(text(b"a") + struct.pack("<IB", 0, 1)) * 2), "a occurs twice"),
        (header(entries=1, body=text(b"general.alignment") + struct.pack("<II", 4, 3)), "alignment"),
        (header(1, body=text(b"output.weight") + struct.pack("<I", 0)), "0 dimensions"),
        (header(1, body=text(b"output.weight") + struct.pack("<IQQIQ", 2, HUGE, HUGE, 0, 0)), "impossible shape"),
        (
            header(1, 1, LLAMA + text(b"output.weight") + struct.pack("<IQQIQ", 2, 1 << 20, 8, 0, 0)),
            "ends 32.0 MiB early",
        ),
        (header(1, 1, LLAMA + text(b"output.weight") + struct.pack("<IQQIQ", 2, 32, 1, 0, HUGE)), "EiB early"),
        (header(1, 1, LLAMA + text(b"output.weight") + struct.pack("<IQQIQ", 2, 33, 8, 8, 0)), "not blocks of 32"),
        (header(1, 1, LLAMA + text(b"output.weight") + struct.pack("<IQQIQ", 2, 32, 8, 999, 0)), "type 999"),
        (header(1, 1, LLAMA + text(b"../../x") + struct.pack("<IQIQ", 1, 1, 0, 0)), "no architecture supported"),
        (header(), "does not say|architecture nothing"),
    ],
)
def test_a_hostile_header_gets_a_sentence_at_once(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    start = time.process_time()
    with pytest.raises(ModelError, match=sentence) as caught:
        convert(path, tmp_path / "c", nothing)
    assert time.process_time() - start < 0.5
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(ModelError, match="is not a file"):
        convert(tmp_path / "pipe.gguf", tmp_path / "c", nothing)
    with pytest.raises(ModelError, match="does not exist"):
        convert(tmp_path / "nowhere.gguf", tmp_path / "c", nothing)


def test_a_truncated_download_is_told(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ModelError, match=r"ends .* early, inside .*; download it again"):
        convert(path, tmp_path / "c", nothing)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("a file")
    with pytest.raises(ModelError, match="cannot be converted into"):
        convert(write_gguf(tmp_path / "m.gguf"), tmp_path / "c", nothing)


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_gguf(tmp_path_factory.mktemp("sound") / "m.gguf").read_bytes()


@settings(max_examples=120)
@given(st.data())
def test_no_damage_gets_out_as_anything_but_a_model_error(
    sound: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, 2400))  # header and tensor table
        content[at : at + data.draw(st.sampled_from([0, 1, 1, 1, 8]))] = data.draw(st.binary(min_size=1, max_size=8))
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "m.gguf").write_bytes(content)
    try:
        made = convert(folder / "m.gguf", folder / "c", nothing)
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        read_header(made / "model.safetensors")
        Tokenizer.from_folder(made)
