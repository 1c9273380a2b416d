"""Safetensors headers: what is sound is read exactly, and what lies gets one sentence."""

import json
import os
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from model.errors import ModelError
from model.weights.safetensors import TensorInfo, read_header, shards

WEIGHTS: dict[str, np.ndarray] = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.arange(4, dtype=np.float16),
    "scalar": np.array(7, dtype=np.int64),
    "empty": np.zeros((0, 5), dtype=np.uint8),
}
SOUND = save(WEIGHTS, {"format": "mlx"})


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: object = "F32", shape: object = (2,), start: object = 0, end: object = 8) -> dict[str, object]:
    return {
        "dtype": dtype,
        "shape": list(shape) if isinstance(shape, tuple) else shape,
        "data_offsets": [start, end],
    }


def write(folder: Path, content: bytes, name: str = "model.safetensors") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_tensors_are_where_the_header_says(tmp_path: Path) -> None:
    path = write(tmp_path, SOUND)
    tensors = read_header(path)
    assert set(tensors) == set(WEIGHTS)
    assert tensors["a"].dtype == "F32" and tensors["a"].shape == (2, 3)
    content = path.read_bytes()
    for name, array in WEIGHTS.items():
        assert content[tensors[name].start : tensors[name].end] == array.tobytes()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "only 0 bytes"),
        (b"\x00" * 7, "only 7 bytes"),
        (struct.pack("<Q", 2**63), "announces a header"),
        (struct.pack("<Q", 5000) + b"{}", "ends 4.9 KiB early, inside its header"),
        (raw(b"[]"), "no readable header"),
        (raw(b"{"), "damaged header"),
        (raw(b"{\xff}"), "damaged header"),
        (raw(b'{"a":' * 50000), "too deeply nested"),
        (raw(b'{"a":NaN}'), "NaN is no number"),
        (raw(b'{"a":' + b"9" * 5000 + b"}"), "damaged header"),
        (raw(b'{"a":{},"a":{}}'), "occurs twice"),
        (raw({"a": 3}), "are wanted"),
        (raw({"a": {**entry(), "more": 1}}, b"\0" * 8), "are wanted"),
        (raw({"a": entry(dtype="Q4_K")}, b"\0" * 8), "stored as Q4_K"),
        (raw({"a": entry(dtype=None)}, b"\0" * 8), "stored as None"),
        (raw({"a": entry(shape=(-2,))}, b"\0" * 8), "its shape"),
        (raw({"a": entry(shape=(True, 2))}, b"\0" * 8), "its shape"),
        (raw({"a": entry(shape=(2.0,))}, b"\0" * 8), "its shape"),
        (raw({"a": entry(shape=(2**62,) * 4000)}, b"\0" * 8), "its shape"),
        (raw({"a": entry(shape=7)}, b"\0" * 8), "its shape"),
        (raw({"a": entry(start=8, end=0)}, b"\0" * 8), "-8 bytes"),
        (raw({"a": entry(end=4)}, b"\0" * 8), "4 bytes for shape [2] of F32"),
        (raw({"a": entry(start="0")}, b"\0" * 8), "its offsets"),
        (raw({"a": entry(end=2**64)}, b"\0" * 8), "its offsets"),
        (raw({"a": entry(), "b": entry(start=4, end=12)}, b"\0" * 12), "overlaps"),
        (raw({"a": entry(start=4, end=12)}, b"\0" * 12), "leaves a hole"),
        (raw({"a": entry()}, b"\0" * 7), "ends 1 bytes early"),
        (raw({"a": entry()}, b"\0" * 9), "1 bytes longer"),
        (raw({"__metadata__": {"format": 1}}), "metadata is not text"),
        (raw({"__metadata__": []}), "metadata is not text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "git-LFS pointer"),
    ],
)
def test_a_lying_file_gets_one_sentence_that_names_it(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ModelError) as caught:
        read_header(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_metadata_may_be_null_as_mlx_writes_it(tmp_path: Path) -> None:
    header = {"__metadata__": None, "a": entry()}
    assert read_header(write(tmp_path, raw(header, b"\0" * 8)))["a"].nbytes == 8


def test_a_truncated_download_says_how_much_is_missing(tmp_path: Path) -> None:
    header = {"a": entry("F16", (1 << 30,), 0, 2 << 30)}
    with pytest.raises(ModelError, match=r"ends 2\.0 GiB early; download it again"):
        read_header(write(tmp_path, raw(header, b"\0")))


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(ModelError, match="is not a file"):
            read_header(path)
    with pytest.raises(ModelError, match="does not exist"):
        read_header(tmp_path / "nowhere")


def test_links_into_a_download_cache_are_followed(tmp_path: Path) -> None:
    blob = write(tmp_path, SOUND, "blob")
    link = tmp_path / "model.safetensors"
    link.symlink_to(blob)
    assert shards(tmp_path) == {link: read_header(blob)}


def sharded(folder: Path, weight_map: object) -> None:
    save_file({"a": WEIGHTS["a"]}, folder / "one.safetensors")
    save_file({"b": WEIGHTS["b"]}, folder / "two.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_an_index_leads_to_every_shard(tmp_path: Path) -> None:
    sharded(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    assert {p.name: list(t) for p, t in shards(tmp_path).items()} == {
        "one.safetensors": ["a"],
        "two.safetensors": ["b"],
    }


@pytest.mark.parametrize(
    ("weight_map", "sentence"),
    [
        ({"a": "one.safetensors", "c": "three.safetensors"}, "three.safetensors is missing"),
        ({"a": "one.safetensors", "z": "two.safetensors"}, "does not hold the tensor z"),
        ({"a": "../one.safetensors"}, "points outside"),
        ({"a": "/etc/passwd"}, "points outside"),
        ({"a": "sub/one.safetensors"}, "points outside"),
        ({"a": ".."}, "points outside"),
        ({"a": "..\\one.safetensors"}, "points outside"),
        ({"a": "one.safetensors\0"}, "points outside"),
        ({"a": ""}, "points outside"),
        ({"a": 1}, "no readable weight_map"),
        ({}, "no readable weight_map"),
        (None, "no readable weight_map"),
    ],
)
def test_a_wrong_index_is_named(tmp_path: Path, weight_map: object, sentence: str) -> None:
    sharded(tmp_path, weight_map)
    with pytest.raises(ModelError, match=sentence):
        shards(tmp_path)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    sharded(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    save_file({"a": WEIGHTS["a"], "b": WEIGHTS["b"]}, tmp_path / "two.safetensors")
    with pytest.raises(ModelError, match="a is in both"):
        shards(tmp_path)


def test_an_empty_folder_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no model\.safetensors"):
        shards(tmp_path)


@settings(max_examples=300)
@given(st.data())
def test_no_damage_gets_past_the_reader_as_anything_but_a_model_error(data: st.DataObject) -> None:
    content = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["set", "cut", "insert"])):
            case "set":
                content[at] = data.draw(st.integers(0, 255))
            case "cut":
                del content[at : at + data.draw(st.integers(1, 40))]
            case _:
                content[at:at] = data.draw(st.binary(min_size=1, max_size=8))
        if not content:
            break
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), bytes(content))
        try:
            tensors = read_header(path)
        except ModelError:
            return
    position = 8 + int.from_bytes(content[:8], "little")
    for tensor in tensors.values():
        assert isinstance(tensor, TensorInfo)
        assert position == tensor.start <= tensor.end <= len(content)
        position = tensor.end
