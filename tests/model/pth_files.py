"""Files as torch.save writes them: a zip archive of a pickle and of the numbers that it speaks of.

The pickle is spelled out step by step, as torch's own is, so that tests need no torch and can say what no torch would.
"""

import shutil
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.checkpoints import golden_weights, speaking_checkpoint

STORAGES = {
    "float32": "FloatStorage", "float16": "HalfStorage", "uint16": "BFloat16Storage",
    "int64": "LongStorage", "int32": "IntStorage", "int16": "ShortStorage", "int8": "CharStorage",
    "uint8": "ByteStorage",
}  # fmt: skip
"""By numpy's types; numpy has no bfloat16, whose bits are given as uint16."""


_WORDS = {
    "rwkv.embeddings": "emb",
    "rwkv.blocks": "blocks",
    "rwkv.ln_out": "ln_out",
    "pre_ln": "ln0",
    "attention": "att",
    "feed_forward": "ffn",
    "time_mix_key": "time_mix_k",
    "time_mix_value": "time_mix_v",
    "time_mix_receptance": "time_mix_r",
}
"""Hugging Face's words and BlinkDL's."""


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def number(value: int) -> bytes:
    return b"K" + bytes([value]) if value < 256 else b"J" + struct.pack("<i", value)


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(key: str, array: np.ndarray, *, strides: tuple[int, ...] | None = None, offset: int = 0) -> bytes:
    """The steps that leave a tensor on the stack, whose numbers are the entry `key`."""
    steps = tuple(stride // array.itemsize for stride in array.strides) if strides is None else strides
    storage = (
        b"(" + text("storage") + named("torch", STORAGES[array.dtype.name]) + text(key) + text("cpu")
        + number(array.size) + b"tQ"
    )  # fmt: skip
    return (
        named("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + number(offset) + numbers(array.shape)
        + numbers(steps) + b"\x89" + named("collections", "OrderedDict") + b")RtR"
    )  # fmt: skip


def program(tensors: Mapping[str, bytes]) -> bytes:
    """A table of these names and what the steps behind them leave."""
    entries = b"".join(text(name) + b"q\x01" + steps for name, steps in tensors.items())
    return b"\x80\x02}q\x00(" + entries + b"u."


def write_archive(
    path: Path, pickled: bytes, entries: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED
) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        for key, content in entries.items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", b"3\n")
    return path


def write_pth(path: Path, weights: Mapping[str, np.ndarray]) -> Path:
    """These weights as torch would save them."""
    keyed = {name: (str(key), np.array(array, order="C")) for key, (name, array) in enumerate(weights.items())}
    pickled = program({name: tensor(key, array) for name, (key, array) in keyed.items()})
    return write_archive(path, pickled, {key: array.tobytes() for key, array in keyed.values()})


def by_blinkdl(name: str) -> str:
    for theirs, word in _WORDS.items():
        name = name.replace(theirs, word)
    return name


def publish(path: Path, weights: Mapping[str, np.ndarray] | None = None) -> Path:
    """These weights, or those of the golden RWKV-4, as their author would have published them, a tokenizer beside."""
    speaking = speaking_checkpoint(path.parent / "speaking")
    (speaking / "tokenizer.json").rename(path.with_name("20B_tokenizer.json"))
    shutil.rmtree(speaking)
    return write_pth(path, weights or {by_blinkdl(name): array for name, array in golden_weights("rwkv4").items()})
