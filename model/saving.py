"""Sessions on disk: one safetensors file with the caches, the exact tokens and whose they are.

A file is trusted only if it is whole: its digest covers every byte, its header is checked before MLX reads it, and
model and schema must be the ones that wrote it. Anything else is set aside and said, and its conversation read again.
Keys and values are written as they are held, or packed into fewer bits and unpacked when they are read: then the file
is small, and a session that is restored from it is near to the one that was saved. Where a file lies, and how long it
stays, is for whoever asks.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import mlx.core as mx

from model.cache import CacheOptions, KVQuantisation
from model.errors import ModelError
from model.prefix import shared_prefix
from model.session import Cancelled, Session, SessionOptions
from model.weights.safetensors import TensorInfo, read_header
from model.weights.writing import safetensors_header, sync_folder

if TYPE_CHECKING:
    from model.language_model import LanguageModel

SCHEMA = "2"
"""Raised whenever an older file would be understood wrongly."""

PART = ".session-", ".safetensors"
"""How the name of a file begins and ends that is being written."""

_BLANK = "0" * 64
"""Where the digest stands while it is taken; every digest is as long."""
_PIECE = 1 << 20
_SYNCED = 32 << 20
"""Bytes after which a sync comes in between: the last one is short, and whoever counts the bytes hears of it."""
_NOTHING = mx.zeros((0,))
_DTYPES = {mx.float32: "F32", mx.float16: "F16", mx.bfloat16: "BF16", mx.uint32: "U32", mx.int32: "I32"}
_PACKED = ("packed", "scales", "biases")
_GROUPS = (64, 32)
"""Numbers that share a scale when packed: as many as the heads' dimension allows."""


def write(
    path: Path,
    session: Session,
    *,
    packing: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write `session` to `path`, readable by its owner only: to a temporary file, synced, then renamed.

    `packing`: bits that each number of keys and values is packed into where they are not quantised anyway; None leaves
    them as they are. `progress` is called before each array with the bytes written and to be written; what it raises
    ends it, and nothing stays of the file. While a temporary file is written it is locked (flock), so that others can
    tell it from what a killed process left.
    ModelError("request") for an architecture whose caches cannot be saved; OSError where the disk refuses.
    """
    numbers, arrays = session.dump()
    if session.options.caches.quantisation:
        packing = None
    if packing:
        arrays = dict(_pack(arrays, packing))
    header = safetensors_header(
        ((name, _DTYPES[array.dtype], array.shape, array.nbytes) for name, array in arrays.items()),
        {
            "format": "quietly session",
            "schema": SCHEMA,
            "fingerprint": session.fingerprint,
            "options": json.dumps(_stored_options(session.options)),
            "layers": json.dumps(numbers),
            "packed": json.dumps(packing),
            "digest": _BLANK,
        },
    )
    total, folder = sum(array.nbytes for array in arrays.values()), path.parent
    handle, temporary = tempfile.mkstemp(prefix=PART[0], suffix=PART[1], dir=folder)  # mode 0600
    part = Path(temporary)
    try:
        with os.fdopen(handle, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(header)
            digest, done, synced = hashlib.sha256(header), 0, 0
            for name in arrays:
                progress(done, total)
                array: Any = mx.contiguous(arrays[name].reshape(-1)).view(mx.uint8)
                content = memoryview(array)  # without numpy, which takes longer to import than all of this
                arrays[name] = _NOTHING  # what was computed for the file alone goes as it is written
                file.write(content)
                digest.update(content)
                done += content.nbytes
                if done - synced >= _SYNCED:
                    file.flush()
                    os.fsync(file.fileno())
                    synced = done
            file.seek(_digest_place(file))
            file.write(digest.hexdigest().encode())
            file.flush()
            os.fsync(file.fileno())
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(folder)


def load_session(
    path: Path, language_model: "LanguageModel", progress: Callable[[int, int], None] = lambda done, total: None
) -> Session:
    """The session that `Session.save` wrote, over the same model: where that computes in the same type of number, it
    continues token for token.

    `progress` is called with the layers that are there and all of them; the Cancelled that it may raise leaves the
    file as it is. ModelError("checkpoint") with the reason for a file that is damaged, of another model or of another
    schema, which is first renamed to end in ".refused": a fresh session, and reading again, is then the way on.
    """
    with _setting_aside(path):
        header = read_header(path)
        metadata = _metadata(path)
        with path.open("rb") as file:
            if metadata.get("digest") != _digest(file):
                raise _Refusal("its content is not what was written")
        if metadata.get("schema") != SCHEMA:
            raise _Refusal(f"it has schema {metadata.get('schema')}, and {SCHEMA} is in use")
        if metadata.get("fingerprint") != language_model.traits.fingerprint:
            raise _Refusal(f"it belongs to another model than {language_model.traits.name}")
        session = language_model.session_with(_read_options(metadata["options"], language_model.options()))
        arrays = mx.load(str(path), format="safetensors")
        assert isinstance(arrays, dict) and arrays.keys() == header.keys()
        if bits := json.loads(metadata["packed"]):
            arrays = dict(_unpack(arrays, bits))
        session.load(json.loads(metadata["layers"]), arrays, progress)
        known = (mark.logits for mark in session.marks if mark.logits is not None)
        if any(logits.ndim != 1 or logits.size < language_model.traits.vocabulary for logits in known):
            raise ValueError("logits of another vocabulary")
    return session


@dataclass(frozen=True)
class Glance:
    """What a file says of itself."""

    options: SessionOptions
    tokens: list[int]
    marks: list[int]
    """Points before its end that it can return to, where it cannot be rewound."""

    def reaches(self, prompt: Sequence[int], rewinds: bool) -> int:
        """How many of the prompt's first tokens it would not have to read; `rewinds`: whether to any point."""
        shared = shared_prefix(self.tokens, prompt)
        if rewinds or shared == len(self.tokens):
            return shared
        return max((mark for mark in self.marks if mark <= shared), default=0)


def glance(path: Path, language_model: "LanguageModel") -> Glance | None:
    """What a session file holds, for whoever asks whether it is worth loading: nothing is verified yet. None where it
    certainly cannot be loaded over this model."""
    try:
        header, metadata = read_header(path), _metadata(path)
        if (metadata["schema"], metadata["fingerprint"]) != (SCHEMA, language_model.traits.fingerprint):
            return None
        options = _read_options(metadata["options"], language_model.options())
        with path.open("rb") as file:
            tokens, marks = (_integers(file, header.get(name)) for name in ("tokens", "marks"))
        return Glance(options, tokens, marks)
    except (OSError, ValueError, LookupError, TypeError, ModelError):
        return None


def _integers(file: BinaryIO, info: TensorInfo | None) -> list[int]:
    """What stands where `info` says; nothing where nothing does."""
    if info is None:
        return []
    file.seek(info.start)
    return memoryview(file.read(info.nbytes)).cast("i").tolist()


def _stored_options(options: SessionOptions) -> dict[str, Any]:
    """What changes the results; how it is read and what is remembered is for whoever loads it."""
    caches, quantisation = options.caches, options.caches.quantisation
    return {
        "context": options.context,
        "rolling_window": caches.rolling_window,
        "sinks": caches.sinks,
        "quantisation": [quantisation.bits, quantisation.group_size, quantisation.start] if quantisation else None,
    }


def _read_options(text: str, usual: SessionOptions) -> SessionOptions:
    stored = json.loads(text)
    quantisation = KVQuantisation(*stored["quantisation"]) if stored["quantisation"] else None
    caches = CacheOptions(quantisation, stored["rolling_window"], stored["sinks"])
    return replace(usual, context=int(stored["context"]), caches=caches)


def _pack(arrays: Mapping[str, mx.array], bits: int) -> Iterator[tuple[str, mx.array]]:
    """`arrays`, those of keys and values in three: packed, scales and biases. Nothing is computed yet."""
    for name, array in arrays.items():
        group = next((group for group in _GROUPS if array.shape[-1] % group == 0), None)
        if name.endswith(".rows") and group and array.size:
            yield from zip(
                (f"{name}.{part}" for part in _PACKED), mx.quantize(array, group_size=group, bits=bits), strict=True
            )
        else:
            yield name, array


def _unpack(arrays: Mapping[str, mx.array], bits: int) -> Iterator[tuple[str, mx.array]]:
    """What was packed, as it was. Nothing is computed yet; KeyError or ValueError where it does not fit."""
    for name, array in arrays.items():
        whole, _, part = name.rpartition(".")
        if part == _PACKED[0]:
            scales, biases = (arrays[f"{whole}.{other}"] for other in _PACKED[1:])
            group = array.shape[-1] * 32 // bits // scales.shape[-1]
            yield whole, mx.dequantize(array, scales, biases, group_size=group, bits=bits)
        elif f"{whole}.{_PACKED[0]}" not in arrays:
            yield name, array


class _Refusal(Exception):
    """Why a file that is whole is not taken."""


@contextlib.contextmanager
def _setting_aside(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside becomes one ModelError, and the file gets out of the way."""
    try:
        yield
    except Cancelled:
        raise
    except Exception as error:
        if path.is_file():
            with contextlib.suppress(OSError):
                path.replace(path.with_name(f"{path.name}.refused"))
        reason = str(error) if isinstance(error, _Refusal) else f"it is damaged or missing ({type(error).__name__})"
        raise ModelError(
            f"The saved session {path.name} cannot be used: {reason}. Its conversation is read again instead."
        ) from error


def _metadata(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        metadata = json.loads(file.read(length)).get("__metadata__", {})
    return metadata if isinstance(metadata, dict) else {}


def _digest_place(file: Any) -> int:
    """Where in the file the digest stands, in bytes from its beginning."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    header = file.read(length)
    key = header.find(b'"digest"')
    place = header.find(b'"', key + len(b'"digest"')) + 1
    if key < 0 or place <= 0:
        raise ValueError("no digest")
    return 8 + int(place)


def _digest(file: Any) -> str:
    """SHA-256 of the file as it was before its digest was filled in."""
    place = _digest_place(file)
    size = file.seek(0, os.SEEK_END)
    if place + len(_BLANK) > size:
        raise ValueError("no digest")
    file.seek(0)
    digest = hashlib.sha256(file.read(place))
    file.seek(place + len(_BLANK))
    digest.update(_BLANK.encode())
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()
