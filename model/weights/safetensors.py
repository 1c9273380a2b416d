"""What a safetensors file holds, read from its header and checked before MLX sees the file.

MLX's own reader trusts offsets. This one trusts nothing: whatever passes here can be mapped without reading
outside the file. It reads no tensor data and knows no model.
"""

import json
import os
import re
import stat
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from model.errors import ModelError

MAX_HEADER = 100_000_000
"""Bytes; the format's own limit (safetensors, `MAX_HEADER_SIZE`)."""

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""Bits of one element, by dtype. F4 and F6 exist in the format but in no checkpoint that MLX can open."""

_LENGTH = struct.Struct("<Q")
_LFS = b"version https://git-lfs.github.com/spec/"
_AGAIN = "download it again"


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file: `start` and `end` are bytes from the beginning of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.start


def read_header(path: Path, longest: int = MAX_HEADER) -> dict[str, TensorInfo]:
    """The tensors of a safetensors file, in the order of their data. ModelError where it is not sound.

    `longest` is in bytes, for those who would rather not wait for a header of the format's own limit.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(len(_LFS))
        if prefix.startswith(_LFS):
            raise ModelError(
                f"{path} is a git-LFS pointer, not the weights themselves; fetch them with `git lfs pull`, or {_AGAIN}"
            )
        if len(prefix) < _LENGTH.size:
            raise ModelError(f"{path} is only {size} bytes long, no safetensors file; {_AGAIN}")
        (length,) = _LENGTH.unpack_from(prefix)
        if length > longest:
            raise ModelError(
                f"{path} announces a header of {length} bytes: no safetensors file or a damaged one; {_AGAIN}"
            )
        data = _LENGTH.size + length
        if data > size:
            raise ModelError(f"{path} ends {amount(data - size)} early, inside its header; {_AGAIN}")
        file.seek(_LENGTH.size)
        text = file.read(length)
    header = _parse(path, text)
    metadata = header.pop("__metadata__", None)
    if metadata is not None:  # MLX itself writes null for none
        _check_metadata(path, metadata)
    tensors = {name: _tensor(path, name, entry, data) for name, entry in header.items()}
    return _check_layout(path, tensors, data, size)


def shards(folder: Path, longest: int = MAX_HEADER) -> dict[Path, dict[str, TensorInfo]]:
    """The weights files of a folder with their tensors: `model.safetensors`, or those its index names.

    With an index, only files that the index names are opened, and each must hold the tensors it is said to
    hold. `longest` is of the index and of each header, in bytes.
    """
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if not index.exists():
        if single.exists():
            return {single: read_header(single, longest)}
        files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
        others = [file for file in files if not file.name.startswith(".")]  # macOS puts some on foreign disks
        if len(others) == 1:
            return {others[0]: read_header(others[0], longest)}
        if others:
            raise ModelError(f"{folder} holds {len(others)} weights files but no {index.name}; {_AGAIN}")
        raise ModelError(f"{folder} holds no model.safetensors; {_AGAIN}, or pick another folder")
    expected = _weight_map(index, longest)
    found: dict[Path, dict[str, TensorInfo]] = {}
    owner: dict[str, str] = {}
    for name in sorted(set(expected.values())):
        path = folder / name
        if not path.exists():
            raise ModelError(f"{folder}: {name} is missing, though {index.name} lists it; download it")
        found[path] = read_header(path, longest)
        for tensor in found[path]:
            if tensor in owner:
                raise ModelError(f"{folder}: {tensor} is in both {owner[tensor]} and {name}; {_AGAIN}")
            owner[tensor] = name
    for tensor, name in expected.items():
        if tensor not in found[folder / name]:
            raise ModelError(
                f"{folder}: {name} does not hold the tensor {short(tensor)} that {index.name} lists; "
                "download both again"
            )
    return found


def open_regular(path: Path) -> Any:
    """`path` opened for reading bytes; ModelError where it is no plain file: a FIFO would block."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist; {_AGAIN}") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be opened: {_reason(error)}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ModelError(f"{path} is not a file; put the checkpoint's own file there")
    return os.fdopen(descriptor, "rb")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a name occurs twice")
        return result

    if not text.startswith(b"{"):  # the format's rule; also keeps BOMs and UTF-16 out
        raise ModelError(f"{path} has no readable header, so it is no safetensors file or a damaged one; {_AGAIN}")
    try:
        # parse_constant: NaN and Infinity are no JSON, and no header needs a number that is not whole.
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        detail = "too deeply nested" if isinstance(error, RecursionError) else short(str(error))
        raise ModelError(f"{path} has a damaged header ({detail}); {_AGAIN}") from None
    if not isinstance(header, dict):
        raise ModelError(f"{path} has a damaged header (not a table of tensors); {_AGAIN}")
    return header


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _check_metadata(path: Path, metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ModelError(f"{path} has a damaged header (its metadata is not text); {_AGAIN}")


def _tensor(path: Path, name: str, entry: Any, data: int) -> TensorInfo:
    def lying(what: str) -> ModelError:
        return ModelError(f"{path}: the header says something impossible about {short(name)} ({what}); {_AGAIN}")

    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise lying("dtype, shape and data_offsets are wanted")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ModelError(
            f"{path}: {short(name)} is stored as {short(str(dtype))}, which is not supported; "
            "look for another version of this model",
            kind="unsupported",
        )
    if not isinstance(shape, list) or not all(_natural(n) for n in shape):
        raise lying("its shape")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_natural(n) for n in offsets):
        raise lying("its offsets")
    start, end = offsets
    bits = BITS[dtype]
    for n in shape:
        bits *= n
        if bits.bit_length() > 128:
            raise lying("its shape")  # before a thousand large factors become a number of a million digits
    if start > end or (end - start) * 8 != bits:
        raise lying(f"{end - start} bytes for shape {shape} of {dtype}")
    return TensorInfo(dtype, tuple(shape), data + start, data + end)


def _natural(value: Any) -> bool:
    # bool is an int to Python, and beyond 2^63 nothing can be addressed.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _check_layout(path: Path, tensors: dict[str, TensorInfo], data: int, size: int) -> dict[str, TensorInfo]:
    # The format: data lies end to end, without holes, to the last byte of the file.
    ordered = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)))
    position = data
    for name, tensor in ordered.items():
        if tensor.start != position:
            what = "overlaps the one before it" if tensor.start < position else "leaves a hole before it"
            raise ModelError(f"{path}: the tensor {short(name)} {what}; {_AGAIN}")
        position = tensor.end
    if position > size:
        raise ModelError(f"{path} ends {amount(position - size)} early; {_AGAIN}")
    if position < size:
        raise ModelError(f"{path} is {amount(size - position)} longer than its header says; {_AGAIN}")
    return ordered


def _weight_map(index: Path, longest: int) -> dict[str, str]:
    with open_regular(index) as file:
        text = file.read(longest + 1)
    if text.startswith(_LFS):
        raise ModelError(f"{index} is a git-LFS pointer; fetch it with `git lfs pull`, or {_AGAIN}")
    try:
        content = json.loads(text) if len(text) <= longest else None
    except (ValueError, RecursionError):
        content = None
    table = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(table, dict) or not table or not all(isinstance(name, str) for name in table.values()):
        raise ModelError(f"{index} has no readable weight_map; {_AGAIN}")
    for name in table.values():
        # A name may lead nowhere but into the checkpoint's own folder.
        inside = PurePosixPath(name)
        if name != inside.name or name in {"", ".", ".."} or re.search(r"[\\\x00]", name):
            raise ModelError(f"{index} points outside its folder ({short(name)}); do not use this checkpoint")
    return table


def amount(count: int) -> str:
    """`count` bytes as people read them; binary units, as everywhere on screen."""
    value, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} bytes" if unit == "bytes" else f"{value:.1f} {unit}"


def short(text: str) -> str:
    """A stranger's name as part of our sentence: printable, and never a screenful."""
    clean = "".join(c if c.isprintable() else "�" for c in text[:100])
    return clean if len(clean) <= 80 else clean[:79] + "…"
