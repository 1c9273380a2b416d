"""A GGUF file's header, walked once with suspicion before any library reads the file.

A hostile header announces counts and lengths that no file holds. Here each one is compared with what is
left of the file before anything is made of it. The format: ggml, docs/gguf.md, versions 2 and 3, little-
endian.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from model.errors import ModelError
from model.weights.safetensors import amount, open_regular, short

MAX_ENTRIES = 100_000
"""Of tensors, and of metadata. The largest models have some thousand."""
MAX_ITEMS = 10_000
"""Of one array. The reader makes objects of each item, at more than 20 µs and 700 bytes."""
MAX_VOCABULARY = 400_000
"""Of the arrays that hold the vocabulary, instead. Those of Qwen2 are about 152,000 long."""
MAX_TEXT = 16 * 1024 * 1024
"""Bytes of one string."""

_VOCABULARY = {f"tokenizer.ggml.{name}" for name in ("tokens", "scores", "token_type", "merges")}
_STRING, _ARRAY = 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of each scalar type."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as the header announces it; `shape` with rows first, `kind` is ggml's number of its type."""

    name: str
    kind: int
    shape: tuple[int, ...]
    offset: int
    """Bytes from the beginning of the data."""


def check(path: Path) -> tuple[list[StoredTensor], int]:
    """The tensors a GGUF file announces, and where their data begins. ModelError where it is not sound."""
    with open_regular(path) as file:
        prefix = file.read(24)
        if prefix[:4] != b"GGUF":
            raise ModelError(f"{path} is no GGUF file, or a damaged one; download it again")
        if len(prefix) < 24:
            raise ModelError(f"{path} ends inside its header; download it again")
        version, tensors, entries = struct.unpack("<IQQ", prefix[4:])
        if version not in (2, 3):
            # A file for machines of the other byte order shows its version number mirrored.
            what = "big-endian GGUF" if version & 0xFFFF == 0 else f"GGUF version {version}"
            raise ModelError(f"{path} is {what}, which is not supported; look for a newer version of it", "unsupported")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            walk = _Walk(path, data)
            for what, count in (("tensors", tensors), ("metadata entries", entries)):
                if count > min(MAX_ENTRIES, len(data) // 13):  # no entry takes fewer bytes
                    raise ModelError(f"{path} announces {count} {what}, which cannot be; download it again")
            alignment = walk.metadata(entries)
            return walk.tensors(tensors), -(-walk.at // alignment) * alignment


class _Walk:
    """A position in the header that moves forward, never past the end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.at = 24

    def metadata(self, entries: int) -> int:
        """Walks all metadata; the alignment of the data, in bytes."""
        alignment, seen = 32, set()
        for _ in range(entries):
            key = self._text("a metadata name", 65_535)
            if key in seen:
                raise self._damaged(f"{short(key)} occurs twice")
            seen.add(key)
            kind = self._number("<I")
            if key == "general.alignment":
                alignment = self._number("<I") if kind == 4 else 0
                if not 1 <= alignment <= 65_536 or alignment & (alignment - 1):
                    raise self._damaged("its alignment is no power of two")
            else:
                self._value(key, kind)
        return alignment

    def tensors(self, count: int) -> list[StoredTensor]:
        found: dict[str, StoredTensor] = {}
        for _ in range(count):
            name = self._text("a tensor's name", 1024)
            dimensions = self._number("<I")
            if not 1 <= dimensions <= 4 or name in found:
                raise self._damaged(f"{short(name)} occurs twice or has {dimensions} dimensions")
            shape = tuple(self._number("<Q") for _ in range(dimensions))[::-1]
            elements = 1
            for n in shape:
                elements *= n
            if not 0 < elements < 2**60:
                raise self._damaged(f"{short(name)} has an impossible shape")
            found[name] = StoredTensor(name, self._number("<I"), shape, self._number("<Q"))
        return list(found.values())

    def _value(self, key: str, kind: int) -> None:
        if kind in _SIZES:
            self._skip(_SIZES[kind])
        elif kind == _STRING:
            self._text(short(key), MAX_TEXT)
        elif kind == _ARRAY:
            item, count = self._number("<I"), self._number("<Q")
            most = MAX_VOCABULARY if key in _VOCABULARY else MAX_ITEMS
            if item not in _SIZES and item != _STRING:  # nested ones too: nothing publishes them
                raise self._damaged(f"{short(key)} is an array of an unknown type")
            if count > (len(self.data) - self.at) // _SIZES.get(item, 8) or count > most:
                raise self._damaged(f"{short(key)} announces {count} items")
            if item == _STRING:
                for _ in range(count):
                    self._skip(self._number("<Q"))
            else:
                self._skip(count * _SIZES[item])
        else:
            raise self._damaged(f"{short(key)} is of an unknown type")

    def _text(self, what: str, longest: int) -> str:
        length = self._number("<Q")
        start = self.at
        if length > longest:
            raise self._damaged(f"{what} is {length} bytes long")
        self._skip(length)
        try:
            return self.data[start : self.at].decode()
        except UnicodeDecodeError:
            raise self._damaged(f"{what} is no text") from None

    def _number(self, form: str) -> int:
        start = self.at
        self._skip(struct.calcsize(form))
        return int(struct.unpack_from(form, self.data, start)[0])

    def _skip(self, length: int) -> None:
        if length > len(self.data) - self.at:
            raise ModelError(f"{self.path} ends inside its header; download it again")
        self.at += length

    def _damaged(self, what: str) -> ModelError:
        return ModelError(f"{self.path} has a damaged header ({what}); download it again")


def check_extent(path: Path, name: str, end: int) -> None:
    """ModelError where the file ends before `end`, the last byte of the tensor `name`."""
    missing = end - path.stat().st_size
    if missing > 0:
        raise ModelError(f"{path} ends {amount(missing)} early, inside {short(name)}; download it again")
