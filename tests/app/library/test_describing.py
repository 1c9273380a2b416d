"""What a checkpoint folder or a GGUF file tells about itself without being loaded, and what is said of broken ones."""

import json
import os
import struct
import time
from pathlib import Path

import gguf
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.library import headers
from app.library.describing import describe, licence
from app.library.records import InstalledModel
from app.library.starter import starter_file
from model.checkpoint import load
from model.facts import is_tied, stored_bytes
from model.weights import gguf_header
from model.weights.gguf import convert
from tests.app.library.disks import WEIGHTS, Tensors, checkpoint, safetensors, tree
from tests.model.gguf_files import weights, write_gguf


def described(path: Path) -> InstalledModel:
    return describe(path, "folder")


def problem(path: Path) -> str:
    """The sentence that is said of what lies there."""
    said = described(path).problem or ""
    assert said.endswith(".") and said.isprintable() and len(said) < 400 and str(path) not in said
    return said


# --- checkpoint folders ---------------------------------------------------------------------------


def test_a_model_is_described_from_configuration_headers_and_card(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "Qwen2.5-0.5B-Instruct-4bit")
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\nlicense: none\n")
    (folder / "more").mkdir()
    (folder / "more/notes.bin").write_bytes(bytes(1000))
    (folder / "again").symlink_to(folder / "more/notes.bin")
    model = described(folder)
    assert (model.name, model.path, model.architecture) == ("Qwen2.5-0.5B-Instruct-4bit", folder, "qwen2")
    assert (model.parameters, model.bits, model.stored) == (494_032_768, 4.5, "4 bit")
    assert (model.context, model.licence, model.runs, model.problem) == (32768, "apache-2.0", "quietly", None)
    assert model.weights == 100
    assert model.size == sum((folder / name).stat().st_size for name in tree(folder) - {"more", "again"})
    assert model.config is not None and model.config.num_hidden_layers == 24


@pytest.mark.parametrize(
    ("tensors", "said", "tied"),
    [
        ({"lm_head.weight": ("F16", (4, 4))}, None, False),
        ({"lm_head.weight": ("F16", (4, 4))}, True, True),
        ({"model.norm.weight": ("F16", (4,))}, None, True),
        ({"model.norm.weight": ("F16", (4,))}, False, True),
    ],
)
def test_embeddings_are_tied_as_they_are_loaded(
    tmp_path: Path, tensors: Tensors, said: bool | None, tied: bool
) -> None:
    model = described(checkpoint(tmp_path / "m", safetensors(tensors), tie_word_embeddings=said))
    assert model.config is not None and is_tied(model.config) is tied


@pytest.mark.parametrize(
    ("tensors", "changes", "bits", "stored"),
    [
        ({"a.weight": ("BF16", (1000,))}, {"quantization": None}, 16, "bf16"),
        ({"a.weight": ("F16", (100,)), "b.weight": ("F32", (1000,))}, {"quantization": None}, 30.55, "f32"),
        ({"a.weight": ("U32", (8, 8))}, {"quantization": {"group_size": 32, "bits": 8}}, 9, "8 bit"),
        ({"a.weight": ("U32", (8, 8))}, {"quantization": {"group_size": 32, "mode": "mxfp4", "bits": 4}}, 4.25,
         "MXFP4"),
        (
            {"a.weight": ("U32", (64, 8)), "a.scales": ("F16", (64, 1)), "a.biases": ("F16", (64, 1)),
             "b.weight": ("U32", (64, 16)), "b.scales": ("F16", (64, 1)), "b.biases": ("F16", (64, 1))},
            {"quantization": {"group_size": 64, "bits": 4, "b": {"group_size": 64, "bits": 8}}},
            6.5,
            "4 bit",
        ),
        ({"a.qweight": ("I32", (8, 8))}, {"quantization": None, "quantization_config": {"quant_method": "gptq"}}, None,
         "gptq"),
    ],
)  # fmt: skip
def test_how_weights_are_stored_is_told_from_their_headers(
    tmp_path: Path, tensors: Tensors, changes: dict[str, object], bits: float | None, stored: str
) -> None:
    model = described(checkpoint(tmp_path / "m", safetensors(tensors), **changes))
    assert (model.bits, model.stored) == (bits, stored)


def test_shapes_that_are_unknown_here_are_counted_by_index_or_headers(tmp_path: Path) -> None:
    packed = {"a.weight": ("U32", (64, 8)), "a.scales": ("F16", (64, 1)), "a.biases": ("F16", (64, 1))}
    folder = checkpoint(tmp_path / "moe", safetensors(packed), model_type="qwen3_moe")
    assert (described(folder).parameters, described(folder).runs) == (64 * 64, "mlx-lm")
    index = {"metadata": {"total_parameters": 30_000_000_000}, "weight_map": {"a.weight": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    model = described(folder)
    assert (model.parameters, model.bits, model.context) == (30_000_000_000, 4.5, 32768)
    assert model.problem is None and model.config is None, "mlx-lm runs it"


def test_what_nothing_here_runs_is_told_apart(tmp_path: Path) -> None:
    def runs(kind: str) -> str | None:
        model = described(checkpoint(tmp_path / kind.replace("/", "_"), model_type=kind))
        assert (model.runs is None) == ("nothing here runs those" in (model.problem or ""))
        return model.runs

    assert [runs(kind) for kind in ("mistral", "kimi_k2", "gemma3")] == ["quietly", "mlx-lm", "mlx-lm"]
    assert [runs(kind) for kind in ("bert", "../../json", "weird\x1b", "x" * 200)] == [None] * 4


def test_shapes_of_ours_that_ask_for_the_unknown_say_so(tmp_path: Path) -> None:
    assert "rope_scaling" in problem(checkpoint(tmp_path / "a", rope_scaling={"type": "longrope", "factor": 2}))
    assert "quantised by" in problem(
        checkpoint(tmp_path / "b", quantization=None, quantization_config={"quant_method": "awq", "bits": 4})
    )
    assert described(tmp_path / "a").runs is None


def test_what_answers_no_one_is_told_apart(tmp_path: Path) -> None:
    (checkpoint(tmp_path / "embedding") / "modules.json").write_text("[]")
    assert "embedding model" in problem(tmp_path / "embedding")
    assert "sorts texts" in problem(checkpoint(tmp_path / "reward", architectures=["Qwen2ForSequenceClassification"]))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapters.safetensors").write_bytes(WEIGHTS)
    assert "is an adapter for another model" in problem(adapter)
    assert described(checkpoint(tmp_path / "chat", architectures=["Qwen2ForCausalLM", 3, None])).problem is None


def test_what_is_broken_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    checkpoint(tmp_path / "unweighted", weights=b"")
    checkpoint(tmp_path / "hollow", weights=b"").joinpath("model.safetensors").touch()
    (checkpoint(tmp_path / "pickled", weights=b"") / "pytorch_model.bin").write_bytes(b"pickle")
    (checkpoint(tmp_path / "damaged") / "config.json").write_text("{")
    checkpoint(tmp_path / "lying", num_attention_heads=0)
    checkpoint(tmp_path / "odd-bits", quantization={"bits": 77}, model_type="gemma3")
    (checkpoint(tmp_path / "sharded", weights=b"") / "model-00001-of-00002.safetensors").write_bytes(b"w")
    shards = {"weight_map": {"a": "model.safetensors", "b": "gone.safetensors"}}
    (checkpoint(tmp_path / "indexed") / "model.safetensors.index.json").write_text(json.dumps(shards))
    (checkpoint(tmp_path / "misindexed") / "model.safetensors.index.json").write_text('{"weight_map": 3}')
    (checkpoint(tmp_path / "garbled") / "model.safetensors.index.json").write_bytes(b'{"weight_map": {"\xd1": "x"}}')
    outside = {"weight_map": {"a": "../indexed/model.safetensors"}}
    (checkpoint(tmp_path / "outside") / "model.safetensors.index.json").write_text(json.dumps(outside))
    checkpoint(tmp_path / "cut", weights=WEIGHTS[:-1])
    checkpoint(tmp_path / "noise", weights=b"\xff" * 5000)
    checkpoint(tmp_path / "endless", weights=struct.pack("<Q", headers.LONGEST + 1) + bytes(100))
    checkpoint(tmp_path / "pointer", weights=b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n")
    (checkpoint(tmp_path / "dangling", weights=b"") / "model.safetensors").symlink_to(tmp_path / "gone")
    checkpoint(tmp_path / "piped", weights=b"")
    os.mkfifo(tmp_path / "piped/model.safetensors")
    os.mkfifo(tmp_path / "piped/README.md")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe/config.json")
    for name, words in {
        "bare": "config.json is missing",
        "unweighted": "no weights",
        "hollow": "1 of 1 weight files are missing",
        "pickled": "pickles",
        "damaged": "not valid JSON",
        "lying": "num_attention_heads = 0",
        "odd-bits": "quantization.bits = 77",
        "sharded": "1 of 2 weight files",
        "indexed": "1 of 2 weight files",
        "misindexed": "index.json is damaged",
        "garbled": "index.json is damaged",
        "outside": "1 of 1 weight files are missing",
        "cut": "cut/model.safetensors ends 1 bytes early",
        "noise": "announces a header of",
        "endless": "announces a header of",
        "pointer": "is a git-LFS pointer",
        "dangling": "1 of 1 weight files are missing",
        "piped": "no weights",
        "pipe": "is not a file",
    }.items():
        assert words in problem(tmp_path / name), name


def test_what_macos_leaves_beside_files_on_foreign_disks_is_passed_over(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    for name in ("._weights.safetensors", "._config.json", ".DS_Store"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    assert described(folder).problem is None


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\r\nlicense: 'mit'\r\n---\r\n", "mit"),
        ("---\nlicense:\n- apache-2.0\n- mit\n---\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: qwen-research\n---\n", "qwen-research"),
        ("license: mit\n", None),
        ("---\ntags: []\n---\nlicense: mit\n", None),
        ("---\nlicense: \x1b[2J\n---\n", None),
        ("", None),
    ],
)
def test_the_licence_is_read_from_the_card_s_front_matter(tmp_path: Path, card: str, said: str | None) -> None:
    (tmp_path / "README.md").write_text(card, newline="")
    assert licence(tmp_path / "README.md") == said


def test_looking_again_reads_what_has_changed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, file = checkpoint(tmp_path / "m"), write_gguf(tmp_path / "m.gguf")
    first = described(folder), described(file)
    with monkeypatch.context() as patch:
        for name in ("shards", "read"):
            patch.setattr(headers, name, None)
        assert (described(folder), described(file)) == first
    (folder / "model.safetensors").write_bytes(WEIGHTS[:-1])
    file.write_bytes(file.read_bytes()[:-1])
    assert "early" in problem(folder) and "early" in problem(file)


# --- GGUF files -----------------------------------------------------------------------------------


def test_a_gguf_file_is_described_from_its_header(tmp_path: Path) -> None:
    def change(writer: GGUFWriter) -> None:
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
        writer.add_license("apache-2.0")

    file = write_gguf(tmp_path / "Tiny-Q4_K_M.gguf", "qwen2", change=change)
    model = described(file)
    assert (model.name, model.architecture, model.runs, model.problem) == ("Tiny-Q4_K_M", "qwen2", "quietly", None)
    assert (model.stored, model.context, model.licence) == ("Q4_K_M", 512, "apache-2.0")
    assert model.parameters == sum(array.size for array in weights("qwen2").values())
    assert model.size == file.stat().st_size
    assert model.config is not None and model.config.tie_word_embeddings is True
    stored = gguf.GGUFReader(file).tensors
    assert model.bits == pytest.approx(sum(t.n_bytes for t in stored) * 8 / model.parameters, abs=0.005)


@pytest.mark.parametrize("kind", [Kind.Q4_1, Kind.Q8_0, Kind.F16, Kind.IQ4_NL], ids=lambda kind: kind.name)
def test_a_gguf_file_s_weights_are_those_of_its_conversion(tmp_path: Path, kind: Kind) -> None:
    file = write_gguf(tmp_path / "m.gguf", kind=kind, embedding=kind)
    converted = describe(convert(file, tmp_path / "c", lambda done, total: None), "folder")
    model = described(file)
    assert model.weights == converted.weights and model.config is not None and converted.config is not None
    assert stored_bytes(model.config) == pytest.approx(model.weights, rel=0.02), "but for the norms, in float32"
    assert model.config.quantization == converted.config.quantization
    assert model.parameters == converted.parameters


def test_the_starter_s_header_is_read_in_milliseconds() -> None:
    path = starter_file()
    assert path is not None
    start = time.process_time()
    header = gguf_header.read(path, vocabulary=False)
    assert time.process_time() - start < 0.2 and "tokenizer.ggml.tokens" in header.values
    assert header.values["tokenizer.ggml.tokens"] is None, "skipped, not kept"


def test_gguf_files_that_are_no_chat_models_say_what_they_are(tmp_path: Path) -> None:
    def of(kind: str) -> Path:
        return write_gguf(tmp_path / f"{kind}.gguf", change=lambda writer: writer.add_type(kind))

    for path, words in {
        of("adapter"): "adapter is an adapter for another model",
        of("imatrix"): "imatrix is what was measured",
        of("mmproj"): "mmproj is the part of a model that sees",
        write_gguf(tmp_path / "clip.gguf", "clip"): "clip is the part of a model that sees",
        write_gguf(tmp_path / "nomic.gguf", "nomic-bert"): "nomic is an embedding model",
        write_gguf(
            tmp_path / "pooled.gguf", "qwen2", change=lambda writer: writer.add_pooling_type(gguf.PoolingType.LAST)
        ): "pooled is an embedding model",
        write_gguf(tmp_path / "gemma.gguf", "gemma3"): "gemma holds a model of the architecture gemma3",
        write_gguf(tmp_path / "moe.gguf", change=lambda writer: writer.add_expert_count(8)): "mixture of experts",
        write_gguf(tmp_path / "pre.gguf", pre="chatglm-bpe"): "text split as chatglm-bpe",
    }.items():
        model = described(path)
        assert words in problem(path) and model.runs is None and model.config is None and model.parameters


def test_a_file_in_parts_is_one_row(tmp_path: Path) -> None:
    for part in (1, 2):
        (tmp_path / f"big-{part:05d}-of-00002.gguf").write_bytes(b"GGUF" + bytes(100))
    first = tmp_path / "big-00001-of-00002.gguf"
    assert (described(first).name, described(first).size) == ("big", 208)
    assert "big is in 2 parts: merge them" in problem(first)
    (tmp_path / "big-00002-of-00002.gguf").unlink()
    assert "big: 1 of 2 parts are here" in problem(first)


def test_gguf_files_that_are_broken_say_so(tmp_path: Path) -> None:
    sound = write_gguf(tmp_path / "sound.gguf").read_bytes()
    for name, content, words in [
        ("empty", b"", "empty is empty or cannot be read"),
        ("text", b"hello, this is no model", "text is no GGUF file"),
        ("magic", b"GGUF", "magic ends inside its header"),
        ("cut", sound[:-100], "cut ends 100 bytes early"),
        ("head", sound[:300], "head ends inside its header"),
        ("many", b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "announces"),
    ]:
        (tmp_path / f"{name}.gguf").write_bytes(content)
        assert words in problem(tmp_path / f"{name}.gguf")
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "empty or cannot be read" in problem(tmp_path / "pipe.gguf")


def test_a_header_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_header, "MAX_HEADER", 1 << 20)
    key = struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 8, 1000)
    file = tmp_path / "endless.gguf"
    with file.open("wb") as out:
        out.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key)
        for _ in range(100):
            out.write(struct.pack("<Q", 1 << 16) + bytes(1 << 16))
    assert "it is longer than 1.0 MiB" in problem(file)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1), content=st.binary(min_size=1, max_size=12), cut=st.booleans())
def test_whatever_is_wrong_with_a_file_becomes_a_sentence(
    tmp_path: Path, sound: bytes, at: float, content: bytes, cut: bool
) -> None:
    where = int(at * (len(sound) - len(content)))
    file = tmp_path / f"{time.monotonic_ns()}.gguf"
    file.write_bytes(sound[:where] if cut else sound[:where] + content + sound[where + len(content) :])
    start = time.process_time()
    model = described(file)
    assert time.process_time() - start < 1
    assert model.problem is None or (model.problem.isprintable() and model.problem.endswith("."))
    file.unlink()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole GGUF file."""
    return write_gguf(tmp_path_factory.mktemp("sound") / "m.gguf").read_bytes()


def test_a_gguf_file_without_its_suffix_opens_as_one(tmp_path: Path) -> None:
    blob = write_gguf(tmp_path / f"sha256-{'a' * 64}")
    assert described(blob).problem is None
    model = load(blob, conversions=tmp_path / "c")
    assert (model.traits.architecture, model.traits.path) == ("llama", blob)
    assert [token.id for token in model.generate([0, 1, 2], max_tokens=2)]
