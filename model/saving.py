"""Sessions on disk: one safetensors file with the caches, the exact tokens and whose they are.

A file is trusted only if it is whole: its digest covers every byte, its header is checked before MLX reads it, and
model and schema must be the ones that wrote it. Anything else is set aside and said, and its conversation read again.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from model.cache import CacheOptions, KVQuantisation
from model.errors import ModelError
from model.session import Session, SessionOptions
from model.weights.safetensors import read_header
from model.weights.writing import sync_folder

if TYPE_CHECKING:
    from model.language_model import LanguageModel

SCHEMA = "1"
"""Raised whenever an older file would be understood wrongly."""

_BLANK = "0" * 64
"""Where the digest stands while it is taken; every digest is as long."""
_PIECE = 1 << 20


def write(path: Path, session: Session) -> None:
    """Write `session` to `path`, readable by its owner only: to a temporary file, synced, then renamed.

    ModelError("request") for an architecture whose caches cannot be saved; OSError where the disk refuses.
    """
    numbers, arrays = session.dump()
    metadata = {
        "format": "quietly session",
        "schema": SCHEMA,
        "fingerprint": session.fingerprint,
        "options": json.dumps(_stored_options(session.options)),
        "layers": json.dumps(numbers),
        "digest": _BLANK,
    }
    folder = path.parent
    handle, name = tempfile.mkstemp(prefix=".session-", suffix=".safetensors", dir=folder)  # mode 0600
    os.close(handle)
    part = Path(name)
    try:
        mx.save_safetensors(name, arrays, metadata)
        part.chmod(0o600)
        with part.open("r+b") as file:
            digest = _digest(file)
            file.seek(_digest_place(file))
            file.write(digest.encode())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(folder)


def load_session(path: Path, language_model: "LanguageModel") -> Session:
    """The session that `Session.save` wrote, over the same model: it continues token for token.

    ModelError("checkpoint") with the reason for a file that is damaged, of another model or of another schema, which is
    first renamed to end in ".refused": a fresh session, and reading again, is then the way on.
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
        session = language_model.session_with(_read_options(metadata["options"], language_model.traits.chunk))
        arrays = mx.load(str(path), format="safetensors")
        assert isinstance(arrays, dict) and arrays.keys() == header.keys()
        session.load(json.loads(metadata["layers"]), arrays)
    return session


def _stored_options(options: SessionOptions) -> dict[str, Any]:
    """What changes the results; how it is read and what is remembered is for whoever loads it."""
    caches, quantisation = options.caches, options.caches.quantisation
    return {
        "context": options.context,
        "rolling_window": caches.rolling_window,
        "sinks": caches.sinks,
        "quantisation": [quantisation.bits, quantisation.group_size, quantisation.start] if quantisation else None,
    }


def _read_options(text: str, chunk: int) -> SessionOptions:
    stored = json.loads(text)
    quantisation = KVQuantisation(*stored["quantisation"]) if stored["quantisation"] else None
    caches = CacheOptions(quantisation, stored["rolling_window"], stored["sinks"])
    return SessionOptions(int(stored["context"]), chunk, caches)


class _Refusal(Exception):
    """Why a file that is whole is not taken."""


@contextlib.contextmanager
def _setting_aside(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside becomes one ModelError, and the file gets out of the way."""
    try:
        yield
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
