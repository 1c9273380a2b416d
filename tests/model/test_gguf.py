"""GGUF files: converted without loss, once, whole or not at all; hostile ones get a sentence, soon."""

import json
import multiprocessing
import os
import struct
import time
from collections.abc import Callable, Collection
from pathlib import Path

import gguf
import mlx.core as mx
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import ModelError
from model.tokenizer import Tokenizer, Turn
from model.weights import gguf as conversion
from model.weights.gguf import FILES, convert, q4_1, q8_0, unpermuted
from model.weights.safetensors import read_header

HEADS, KV_HEADS, SIZE, INNER, LAYERS = 4, 2, 64, 96, 2
TOKENS = ["a", "b", "ab", "<end>", "<tool>", "[PAD5]", "1", "Ġ"]
ROWS = len(TOKENS)


def nothing(done: int, total: int) -> None:
    """Progress that nobody looks at."""


def weights(architecture: str) -> dict[str, np.ndarray]:
    """Random weights by llama.cpp's names."""
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (ROWS, SIZE), "output_norm.weight": (SIZE,)}
    head = SIZE // HEADS
    for n in range(LAYERS):
        matrices = {
            "attn_q": (SIZE, SIZE),
            "attn_k": (KV_HEADS * head, SIZE),
            "attn_v": (KV_HEADS * head, SIZE),
            "attn_output": (SIZE, SIZE),
            "ffn_gate": (INNER, SIZE),
            "ffn_up": (INNER, SIZE),
            "ffn_down": (SIZE, INNER),
        }
        shapes |= {f"blk.{n}.{name}.weight": shape for name, shape in matrices.items()}
        shapes |= {f"blk.{n}.{name}.weight": (SIZE,) for name in ("attn_norm", "ffn_norm")}
        if architecture == "qwen2":
            shapes |= {f"blk.{n}.{name}.bias": matrices[name][:1] for name in ("attn_q", "attn_k", "attn_v")}
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def write_gguf(
    path: Path,
    architecture: str = "llama",
    *,
    kind: Kind = Kind.Q4_1,
    embedding: Kind = Kind.Q8_0,
    pre: str = "qwen2",
    tensors: dict[str, np.ndarray] | None = None,
    change: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
) -> Path:
    """A small, sound GGUF file by the `gguf` package's own writer."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(512)
    writer.add_embedding_length(SIZE)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([1, 1, 1, 3, 4, 5, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(0)
    writer.add_eot_token_id(3)
    writer.add_chat_template("{{ messages[0].content }}<end>")
    change(writer)
    for name, array in (weights(architecture) if tensors is None else tensors).items():
        stored = embedding if name == "token_embd.weight" else kind
        if array.ndim == 1 or stored == Kind.F32:
            writer.add_tensor(name, array)
        elif stored == Kind.F16:
            writer.add_tensor(name, array.astype(np.float16))
        else:
            writer.add_tensor(name, gguf.quantize(array, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def loaded(folder: Path, only: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The converted weights by name, all or `only` some, dequantised by MLX in float32."""
    arrays = mx.load(str(folder / "model.safetensors"))
    settings_of = json.loads((folder / "config.json").read_text()).get("quantization", {})
    result = {}
    for name, array in arrays.items():
        module = name.rpartition(".")[0]
        if name.endswith((".scales", ".biases")) or (only and name not in only):
            continue
        if name.endswith(".weight") and f"{module}.scales" in arrays:
            scales, biases = (arrays[f"{module}.{part}"].astype(mx.float32) for part in ("scales", "biases"))
            bits = settings_of.get(module, settings_of)["bits"]
            array = mx.dequantize(array, scales, biases, group_size=32, bits=bits)
        result[name] = np.array(array.astype(mx.float32))
    return result


# --- weights --------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=40, max_size=400), st.sampled_from([(Kind.Q4_1, q4_1, 4, 20), (Kind.Q8_0, q8_0, 8, 34)]))
def test_any_block_means_the_same_to_mlx_as_to_ggml(content: bytes, form: tuple) -> None:
    kind, repack, bits, size = form
    blocks = np.frombuffer(content[: len(content) // size * size], np.uint8).reshape(1, -1, size).copy()
    halves = blocks[..., : 4 if bits == 4 else 2].view(np.float16)
    halves[~(np.abs(halves) < 500)] = 0  # no scale of a trained weight is infinite, or near it
    rows = blocks.reshape(1, -1)
    packed, scales, biases = repack(rows)
    ours = mx.dequantize(
        mx.array(packed),
        mx.array(scales).astype(mx.float32),
        mx.array(biases).astype(mx.float32),
        group_size=32,
        bits=bits,
    )
    assert np.array_equal(np.array(ours), gguf.dequantize(rows, kind))


def test_heads_are_put_back_in_order() -> None:
    def permute(rows: np.ndarray, heads: int) -> np.ndarray:  # llama.cpp, convert_hf_to_gguf.py
        return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)

    rows = np.arange(24 * 5).reshape(24, 5)
    for heads in (1, 2, 3, 4):
        assert np.array_equal(unpermuted(permute(rows, heads), heads), rows)


def test_the_starters_every_weight_survives(starter_gguf: Path, converted_starter: Path) -> None:
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(starter_gguf).tensors}
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
    ours = loaded(converted_starter, [query_name, *(f"{mine}.weight" for mine in names.values())])
    for theirs, mine in names.items():
        tensor = stored[f"{theirs}.weight"]
        assert np.array_equal(ours[f"{mine}.weight"], gguf.dequantize(tensor.data, tensor.tensor_type)), theirs
    query = gguf.dequantize(stored["blk.3.attn_q.weight"].data, Kind.Q4_1)
    assert np.array_equal(ours[query_name], unpermuted(query, 9))


@pytest.mark.parametrize("kind", [Kind.Q4_1, Kind.Q8_0, Kind.F16, Kind.F32])
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_every_supported_type_is_converted(tmp_path: Path, architecture: str, kind: Kind) -> None:
    source = weights(architecture)
    folder = convert(write_gguf(tmp_path / "m.gguf", architecture, kind=kind), tmp_path / "c", nothing)
    ours = loaded(folder)
    assert len(ours) == len(source)
    for name, heads in (("attn_q", HEADS), ("attn_k", KV_HEADS), ("attn_v", 0)):
        matrix = source[f"blk.1.{name}.weight"]
        expected = gguf.dequantize(gguf.quantize(matrix, kind), kind)
        if heads and architecture == "llama":  # only llama.cpp's llama permutes
            expected = unpermuted(expected, heads)
        assert np.array_equal(ours[f"model.layers.1.self_attn.{name[-1]}_proj.weight"], expected)
    if architecture == "qwen2":
        assert np.array_equal(ours["model.layers.0.self_attn.k_proj.bias"], source["blk.0.attn_k.bias"])


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
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert convert(path, tmp_path / "c", nothing) != first


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


def convert_and_tell(path: Path, conversions: Path, result: "multiprocessing.SimpleQueue[str]") -> None:
    result.put(str(convert(path, conversions, nothing)))


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
    usage = conversion.shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ModelError, match=r"needs 32 MiB in .*, where 1 are free"):
        convert(write_gguf(tmp_path / "m.gguf"), tmp_path / "c", nothing)


# --- what bad files get ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence", "kind"),
    [
        ({"kind": Kind.Q4_0}, "stores .* as Q4_0, which is not supported yet; use a Q4_1 or Q8_0 file", "unsupported"),
        ({"kind": Kind.BF16}, "as BF16", "unsupported"),
        ({"architecture": "gemma3"}, "architecture gemma3", "unsupported"),
        ({"pre": "llama-bpe"}, "text split as llama-bpe", "unsupported"),
        ({"change": lambda w: w.add_expert_count(8)}, "mixture of experts", "unsupported"),
        ({"change": lambda w: w.add_rope_dimension_count(8)}, "only part of each head", "unsupported"),
        ({"change": lambda w: w.add_uint16("split.count", 3)}, "one part of several", "unsupported"),
        ({"tensors": {}}, "lacks the tensor model.layers.0", "checkpoint"),
        ({"tensors": weights("qwen2")}, "which a llama model does not have", "unsupported"),
        ({"tensors": weights("llama") | {"rope_freqs.weight": np.ones(8, np.float32)}}, "rope_freqs", "unsupported"),
        (
            {"tensors": weights("llama") | {"token_embd.weight": np.ones((2, SIZE))}},
            "8 tokens and weights for 2",
            "checkpoint",
        ),
    ],
)
def test_what_cannot_be_run_is_named(tmp_path: Path, arguments: dict, sentence: str, kind: str) -> None:
    if "tensors" in arguments:
        arguments["tensors"] = {name: array.astype(np.float32) for name, array in arguments["tensors"].items()}
    path = write_gguf(tmp_path / "m.gguf", **arguments)
    with pytest.raises(ModelError, match=sentence) as caught:
        convert(path, tmp_path / "c", nothing)
    assert caught.value.kind == kind and str(path) in str(caught.value)


HUGE = 1 << 60


def text(content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(content) if length is None else length) + content


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
        (header(1, body=text(b"output.weight") + struct.pack("<IQQIQ", 2, 1 << 20, 8, 0, 0)), "ends 32.0 MiB early"),
        (header(1, body=text(b"output.weight") + struct.pack("<IQQIQ", 2, 32, 1, 0, HUGE)), "EiB early"),
        (header(1, body=text(b"output.weight") + struct.pack("<IQQIQ", 2, 33, 8, 8, 0)), "not blocks of 32"),
        (header(1, body=text(b"output.weight") + struct.pack("<IQQIQ", 2, 32, 8, 999, 0)), "type 999"),
        (header(1, body=text(b"../../x") + struct.pack("<IQIQ", 1, 1, 0, 0)), "no architecture supported"),
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


@settings(max_examples=250, deadline=None)
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
