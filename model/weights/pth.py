"""What a .pth file of torch holds, read without running it.

Such a file is a zip archive of a pickle, which is a program, and of the numbers that it speaks of. Of the program only
those steps are followed that put named tensors together, and nothing that it names is imported or called; whatever
else it asks for is refused. Nothing is believed before it is compared with the archive. It knows no torch and no model.
"""

import io
import math
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickletools import genops
from typing import Any, NamedTuple, NoReturn

from model.errors import ModelError
from model.weights.safetensors import BITS, open_regular, short

LONGEST = 1024 * 1024
"""Bytes of a program, and of an archive's list of contents. Those of a model with a thousand tensors have a tenth of
it. Nor is more read at once of what they speak of."""
_AXES = 8
"""Of a tensor, at most."""

_STORAGES = {
    "torch FloatStorage": "F32", "torch HalfStorage": "F16", "torch BFloat16Storage": "BF16",
    # No weight of ours, but training leaves counters and positions among them.
    "torch LongStorage": "I64", "torch IntStorage": "I32", "torch ShortStorage": "I16", "torch CharStorage": "I8",
    "torch ByteStorage": "U8",
}  # fmt: skip
_TENSOR, _PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
_TABLE = "collections OrderedDict"
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, LookupError, OSError, OverflowError, RuntimeError, ValueError)
"""What Python's reader of archives raises over damaged ones."""
_LITERALS = ("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1")
_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


@dataclass(frozen=True)
class PthTensor:
    """One tensor: `nbytes` from `start` on of the archive's `entry`, row by row, the lowest byte of a number first."""

    dtype: str
    shape: tuple[int, ...]
    entry: str
    start: int
    nbytes: int


def read(path: Path) -> dict[str, PthTensor]:
    """The tensors of a file that torch.save wrote, by name. ModelError where it is not sound, or asks for more."""
    with opened(path) as archive:
        return tensors_of(path, archive)


def tensors_of(path: Path, archive: "Archive") -> dict[str, PthTensor]:
    """The same of a file that is open; what is read of them then is of this very file, whatever takes its place."""
    names = archive.namelist()
    programs = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(programs) != 1:
        _damaged(path, "it has no program of torch's in it")
    root = programs[0].removesuffix("/data.pkl")
    order = f"{root}/byteorder"
    if order in names and _content(path, archive, order) != b"little":
        raise ModelError(
            f"{path} has the bytes of its numbers in another order; get a safetensors version of it", "unsupported"
        )
    program = _content(path, archive, programs[0])
    try:
        found = _followed(path, program)
        tensors = {name: _placed(path, archive, root, name, each) for name, each in found.items()}
    except (LookupError, TypeError, ValueError):
        _damaged(path, "its program does not list tensors")
    if "__metadata__" in tensors:
        _damaged(path, "a tensor has the name of what safetensors files say of themselves")
    if sum(tensor.nbytes for tensor in tensors.values()) > archive.size:
        raise ModelError(
            f"{path} has tensors that overlap, each to be written by itself; get a safetensors version of it",
            "unsupported",
        )
    return tensors


class _Sparing(io.BufferedReader):
    """A file of which little is read at once: what is in an archive is read whole, however long it claims to be."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > LONGEST:
            raise ValueError("too much to be read at once")
        return super().read(size)


class Archive(zipfile.ZipFile):
    """One that is open for reading."""

    def __init__(self, file: io.BufferedReader) -> None:
        super().__init__(file)
        self.size = os.fstat(file.fileno()).st_size
        """Bytes, of the whole file."""


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The archive, to read tensors from. ModelError where there is none."""
    with _Sparing(open_regular(path).detach()) as file:
        try:
            archive = Archive(file)
        except _BROKEN:
            raise ModelError(
                f"{path} is no archive as torch has written since 1.6, or a damaged one; get it again, or a "
                "safetensors version of it"
            ) from None
        with archive:
            yield archive


def pieces(path: Path, archive: Archive, tensor: PthTensor) -> Iterator[bytes]:
    """The numbers of a tensor, in pieces of at most `LONGEST` bytes. ModelError where they turn out damaged."""
    before, left = tensor.start, tensor.nbytes
    with _soundly(path), archive.open(tensor.entry) as numbers:
        while left:
            piece = numbers.read(min(before or left, LONGEST))
            if not piece:
                raise EOFError("it ends early")
            if before:
                before -= len(piece)
            else:
                yield piece
                left -= len(piece)


def _content(path: Path, archive: Archive, name: str) -> bytes:
    """One of the small entries."""
    entry = archive.getinfo(name)
    if not _is_plain(entry):
        _damaged(path, f"{short(name)} is packed, as torch never does")
    if entry.file_size > LONGEST:
        _damaged(path, f"{short(name)} is longer than in any file that lists tensors")
    with _soundly(path):
        return archive.read(name)


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    """Whether its bytes lie in the archive as they are. Packed ones could become any number when they are read."""
    return entry.compress_type == zipfile.ZIP_STORED and entry.compress_size == entry.file_size


@contextmanager
def _soundly(path: Path) -> Iterator[None]:
    """Whatever an archive can do wrong becomes one ModelError."""
    try:
        yield
    except _BROKEN as error:
        _damaged(path, str(error))


class _Named(NamedTuple):
    """What the program would have imported."""

    name: str


class _Storage(NamedTuple):
    dtype: str
    key: str
    numbers: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _followed(path: Path, program: bytes) -> dict[str, _Tensor]:
    """What the program leaves behind. LookupError, TypeError or ValueError where it makes no sense."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    argument: Any

    def popped(count: int) -> list[Any]:
        taken = stack[len(stack) - count :]
        if len(taken) != count:
            raise LookupError("nothing left to take")
        del stack[len(stack) - count :]
        return taken

    for step, argument, _ in genops(program):
        name = step.name
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "GLOBAL":
            stack.append(_named(path, argument))
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(popped(len(stack) - marks.pop())))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(tuple(popped(int(name[-1]))))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "BINPERSID":
            stack.append(_storage(*popped(1)))
        elif name == "REDUCE":
            stack.append(_made(*popped(2)))
        elif name in ("SETITEM", "SETITEMS"):
            items = popped(2 if name == "SETITEM" else len(stack) - marks.pop())
            if not isinstance(stack[-1], dict) or not all(isinstance(key, str) for key in items[::2]):
                raise TypeError("no table of names")  # to look up a tuple in tuples can take for ever
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "BUILD":
            popped(1)  # what torch notes beside a module's tensors
        elif name == "STOP":
            (tensors,) = stack
            if not isinstance(tensors, dict) or not all(isinstance(value, _Tensor) for value in tensors.values()):
                raise ModelError(
                    f"{path} does not list tensors alone, as RWKV's files do; get a safetensors version of it",
                    "unsupported",
                )
            return tensors
        elif name != "PROTO":
            raise ModelError(
                f"{path} takes the step {name}, which no list of tensors needs, so it is not followed; get a "
                "safetensors version of it",
                "unsupported",
            )
    raise ValueError("no end")


def _named(path: Path, name: str) -> _Named:
    if name not in (*_STORAGES, _TENSOR, _PARAMETER, _TABLE):
        numbers = re.fullmatch(r"torch \w+Storage", name)
        because = "are numbers that are not read here" if numbers else "would be code to run, so it is not opened"
        raise ModelError(
            f"{path} asks for {short(name.replace(' ', '.'))}, which {because}; get a safetensors version of it",
            "unsupported",
        )
    return _Named(name)


def _storage(identity: tuple[Any, ...]) -> _Storage:
    """Where numbers are, by what stands for them in the program."""
    kind, named, key, _, numbers = identity
    if kind != "storage" or not isinstance(named, _Named) or not isinstance(key, str) or not _natural(numbers):
        raise TypeError("no storage")
    return _Storage(_STORAGES[named.name], key, numbers)


def _made(named: _Named, arguments: tuple[Any, ...]) -> Any:
    """What the call of something known would give."""
    if named == _Named(_TABLE) and not arguments:
        return {}
    if named == _Named(_PARAMETER) and isinstance(arguments[0], _Tensor):
        return arguments[0]
    if named != _Named(_TENSOR) or not isinstance(arguments[0], _Storage):
        raise TypeError("no tensor")
    storage, offset, shape, strides, *_ = arguments
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or not len(shape) == len(strides) <= _AXES:
        raise TypeError("no shape")
    if not all(_natural(number) for number in (offset, *shape, *strides)):
        raise TypeError("no shape")
    return _Tensor(storage, offset, shape, strides)


def _natural(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _placed(path: Path, archive: Archive, root: str, name: str, tensor: _Tensor) -> PthTensor:
    """Where the tensor's numbers are; that the archive has them, as many as the program says, and side by side."""
    dtype, key, numbers = tensor.storage
    entry, size = archive.getinfo(f"{root}/data/{key}"), BITS[dtype] // 8
    if not _is_plain(entry) or entry.file_size != numbers * size:
        _damaged(path, f"{short(name)} is not as long as is said")
    count, step = math.prod(tensor.shape), 1
    for length, stride in zip(reversed(tensor.shape), reversed(tensor.strides), strict=True):
        if length != 1 and stride != step and count:
            raise ModelError(
                f"{path}: the rows of {short(name)} do not lie one after the other; get a safetensors version of it",
                "unsupported",
            )
        step *= length
    if tensor.offset + count > numbers:
        _damaged(path, f"{short(name)} reaches beyond its numbers")
    return PthTensor(dtype, tensor.shape, entry.filename, tensor.offset * size, count * size)


def _damaged(path: Path, what: str) -> NoReturn:
    raise ModelError(f"{path} is damaged ({short(what)}); get it again")
