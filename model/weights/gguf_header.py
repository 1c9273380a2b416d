"""A GGUF file's header, read once with suspicion: its tensors, and those of its values that a model needs.

A hostile header announces counts and lengths that no file holds. Here each one is compared with what is left of the
file before anything is made of it, and nothing is made of what nobody asks for. The format: ggml, docs/gguf.md,
versions 2 and 3, little-endian. It knows no architecture and no type of tensor, and runs without numpy.
"""

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from model.errors import ModelError
from model.weights.safetensors import amount, open_regular, short

MAX_ENTRIES = 100_000
"""Of tensors, and of metadata. The largest models have some thousand."""
MAX_ITEMS = 10_000
"""Of one array."""
MAX_VOCABULARY = 400_000
"""Of the arrays that hold the vocabulary, instead. Those of Qwen2 are about 152,000 long."""
MAX_STRINGS = 2_000_000
"""Of all arrays together. Each takes about a microsecond."""
MAX_TEXT = 16 * 1024 * 1024
"""Bytes of one string."""
MAX_KEPT = 64 * 1024 * 1024
"""Bytes of all strings together. The vocabulary of Qwen2 has 5 million."""
MAX_HEADER = 256 * 1024 * 1024
"""Bytes of the whole header. Those of published files have some 10 million."""

_VOCABULARY = {f"tokenizer.ggml.{name}" for name in ("tokens", "scores", "token_type", "merges")}
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""struct's letter for each scalar type."""
_SIZES = {kind: struct.calcsize(f"<{letter}") for kind, letter in _SCALARS.items()}
_LENGTH = struct.Struct("<Q")
_PIECE = 1024 * 1024
"""Bytes that are read at a time."""
_LARGEST = 3.4028235e38
"""In single precision."""
_MAGIC = b"GGUF"


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as the header announces it; `shape` with rows first, `kind` is ggml's number of its type."""

    name: str
    kind: int
    shape: tuple[int, ...]
    offset: int
    """Bytes from the beginning of the data."""


@dataclass(frozen=True)
class Header:
    """What the header says: the values by name, the tensors, and the byte of the file where their data begin.

    Of the arrays only the vocabulary's are kept.
    """

    path: Path
    values: dict[str, Any]
    tensors: list[StoredTensor]
    start: int

    def text(self, key: str) -> str | None:
        """A string, or None where there is none of that name."""
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def whole(self, key: str) -> int | None:
        """A number without sign or fraction."""
        value = self.values.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

    def number(self, key: str) -> float | None:
        """Any number. Most are stored in single precision: 9.999999747378752e-06 was written as 1e-05."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return _as_written(value)

    def flag(self, key: str, otherwise: bool = False) -> bool:
        """A truth value; `otherwise` where there is none."""
        value = self.values.get(key)
        return value if isinstance(value, bool) else otherwise

    def items(self, key: str, kind: type) -> list[Any]:
        """An array of the vocabulary whose items are of `kind`; an empty list where there is none."""
        value = self.values.get(key)
        return value if isinstance(value, list) and (not value or isinstance(value[0], kind)) else []

    def needed(self, key: str, most: int) -> int:
        """A count from 1 to `most`. ModelError where there is none."""
        value = self.whole(key)
        if not value:
            raise ModelError(f"{self.path} does not say {key}; download it again, or use another version of it")
        if value > most:
            raise ModelError(f"{self.path} says that {key} is {value}, which cannot be; download it again")
        return value


def is_gguf(path: Path) -> bool:
    """Whether this is a GGUF file, whatever it is called: Ollama's have no suffix."""
    try:
        with open_regular(path) as file:
            return bool(file.read(4) == _MAGIC)
    except (ModelError, OSError):
        return False


def read(path: Path, vocabulary: bool = True) -> Header:
    """The header of a GGUF file, without the arrays of the `vocabulary` where nobody asks for them.

    ModelError where it is not sound.
    """
    with open_regular(path) as file:
        prefix = file.read(24)
        if prefix[:4] != _MAGIC:
            raise ModelError(f"{path} is no GGUF file, or a damaged one; download it again")
        if len(prefix) < 24:
            raise ModelError(f"{path} ends inside its header; download it again")
        version, tensors, entries = struct.unpack("<IQQ", prefix[4:])
        if version not in (2, 3):
            # A file for machines of the other byte order shows its version number mirrored.
            what = "big-endian GGUF" if version & 0xFFFF == 0 else f"GGUF version {version}"
            raise ModelError(f"{path} is {what}, which is not supported; look for a newer version of it", "unsupported")
        walk = _Walk(path, file, bytearray(prefix), vocabulary)
        for what, count in (("tensors", tensors), ("metadata entries", entries)):
            if count > min(MAX_ENTRIES, walk.end // 13):  # no entry takes fewer bytes
                raise ModelError(f"{path} announces {count} {what}, which cannot be; download it again")
        values, alignment = walk.metadata(entries)
        found = walk.tensors(tensors)
        return Header(path, values, found, -(-walk.at // alignment) * alignment)


def _as_written(value: float) -> float:
    """The shortest decimal number that is `value` in single precision."""
    if not math.isfinite(value):
        return value
    try:
        single = struct.pack("<f", value)
    except OverflowError:
        return math.copysign(math.inf, value)
    (exact,) = struct.unpack("<f", single)
    for digits in range(1, 9):
        written = float(f"{exact:.{digits}g}")
        if abs(written) <= _LARGEST and struct.pack("<f", written) == single:
            return written
    return float(f"{exact:.9g}")


class _Walk:
    """A position in the header that moves forward, never past the end.

    The file is read, not mapped: where its disk goes away, or it is cut short, a mapping would kill the process.
    """

    def __init__(self, path: Path, file: IO[bytes], data: bytearray, vocabulary: bool) -> None:
        self.path = path
        self.file = file
        self.data = data
        """What has been read, from the beginning of the file."""
        self.vocabulary = vocabulary
        self.end = os.fstat(file.fileno()).st_size
        self.at = len(data)
        self.strings = MAX_STRINGS
        self.kept = MAX_KEPT

    def metadata(self, entries: int) -> tuple[dict[str, Any], int]:
        """All metadata, and the alignment of the data in bytes."""
        values: dict[str, Any] = {}
        for _ in range(entries):
            key = self._text("a metadata name", 65_535)
            if key in values:
                raise self._damaged(f"{short(key)} occurs twice")
            values[key] = self._value(key, self._number("<I"))
        alignment = values.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 65_536 or alignment & (alignment - 1):
            raise self._damaged("its alignment is no power of two")
        return values, alignment

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

    def _value(self, key: str, kind: int) -> Any:
        if kind in _SIZES:
            return self._scalars(kind, 1)[0]
        if kind == _STRING:
            return self._text(short(key), MAX_TEXT)
        if kind != _ARRAY:
            raise self._damaged(f"{short(key)} is of an unknown type")
        item, count = self._number("<I"), self._number("<Q")
        if item not in _SIZES and item != _STRING:  # nested ones too: nothing publishes them
            raise self._damaged(f"{short(key)} is an array of an unknown type")
        most = MAX_VOCABULARY if key in _VOCABULARY else MAX_ITEMS
        if count > min((self.end - self.at) // _SIZES.get(item, 8), most):
            raise self._damaged(f"{short(key)} announces {count} items")
        wanted = self.vocabulary and key in _VOCABULARY
        if item == _STRING:
            return self._strings(key, count, wanted)
        if wanted:
            return self._scalars(item, count)
        self._skip(count * _SIZES[item])
        return None

    def _scalars(self, kind: int, count: int) -> list[Any]:
        start = self.at
        self._skip(count * _SIZES[kind])
        return list(struct.unpack_from(f"<{count}{_SCALARS[kind]}", self.data, start))

    def _strings(self, key: str, count: int, wanted: bool) -> list[str] | None:
        self.strings -= count
        if self.strings < 0:
            raise self._damaged(f"its arrays hold more than {MAX_STRINGS} strings")
        data, at, first = self.data, self.at, self.at
        here = len(data)
        pieces = []
        for _ in range(count):
            start = at + 8
            if start > here:
                here = self._read_to(start)
            at = start + _LENGTH.unpack_from(data, start - 8)[0]
            if at > here:
                here = self._read_to(at)
            if wanted:
                if at - first > MAX_KEPT:
                    raise self._damaged(f"{short(key)} is too long")
                pieces.append(data[start:at])
        self.at = at
        if not wanted:
            return None
        self._keep(at - first)
        try:
            return [piece.decode() for piece in pieces]
        except UnicodeDecodeError:
            raise self._damaged(f"{short(key)} is no text") from None

    def _text(self, what: str, longest: int) -> str:
        length = self._number("<Q")
        start = self.at
        if length > longest:
            raise self._damaged(f"{what} is {length} bytes long")
        self._skip(length)
        self._keep(length)
        try:
            return self.data[start : self.at].decode()
        except UnicodeDecodeError:
            raise self._damaged(f"{what} is no text") from None

    def _keep(self, length: int) -> None:
        self.kept -= length
        if self.kept < 0:
            raise self._damaged(f"it holds more than {amount(MAX_KEPT)} of text")

    def _number(self, form: str) -> int:
        start = self.at
        self._skip(struct.calcsize(form))
        return int(struct.unpack_from(form, self.data, start)[0])

    def _skip(self, length: int) -> None:
        to = self.at + length
        if to > len(self.data):
            self._read_to(to)
        self.at = to

    def _read_to(self, to: int) -> int:
        """Have the bytes up to `to` at hand; the number of those that are."""
        if to > self.end:
            raise self._short()
        if to > MAX_HEADER:
            raise self._damaged(f"it is longer than {amount(MAX_HEADER)}")
        while len(self.data) < to:
            piece = self.file.read(max(_PIECE, to - len(self.data)))
            if not piece:
                raise self._short()
            self.data += piece
        return len(self.data)

    def _short(self) -> ModelError:
        return ModelError(f"{self.path} ends inside its header; download it again")

    def _damaged(self, what: str) -> ModelError:
        return ModelError(f"{self.path} has a damaged header ({what}); download it again")


def check_extent(path: Path, name: str, end: int) -> None:
    """ModelError where the file ends before `end`, the last byte of the tensor `name`."""
    missing = end - path.stat().st_size
    if missing > 0:
        raise ModelError(f"{path} ends {amount(missing)} early, inside {short(name)}; download it again")
