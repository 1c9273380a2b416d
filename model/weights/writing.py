"""Files that are on the disk when they are said to be, and the header that a safetensors file begins with.

It knows no tensor's content.
"""

import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def new_file(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A new file, open for writing, with the rights `mode` as far as the umask allows; synced when the block ends.

    FileExistsError where there is one already.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make what was created or renamed in a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def safetensors_header(
    tensors: Iterable[tuple[str, str, tuple[int, ...], int]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """What a safetensors file begins with, for (name, dtype, shape, bytes) of tensors that follow in this order."""
    table: dict[str, Any] = {"__metadata__": {"format": "mlx"} if metadata is None else dict(metadata)}
    at = 0
    for name, dtype, shape, size in tensors:
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # data begins at a multiple of 8
    return struct.pack("<Q", len(text)) + text
