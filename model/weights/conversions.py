"""Which folder is the conversion of which file, named after the file, its path and its state; whether it is whole, and
how it comes to be there whole or not at all.

Without numpy: what lists and removes models asks too, and who opens a file that was converted before.
"""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from model.errors import ModelError
from model.weights.blinkdl import VOCABULARIES
from model.weights.safetensors import read_header
from model.weights.writing import sync_folder

REPORT = "conversion.json"
FILES = (
    "config.json",
    REPORT,
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
PTH_FILES = ("config.json", "model.safetensors")
"""What a conversion has at least, of a GGUF file and of a .pth file."""
SCHEMA = 2
"""Raised whenever the same file would be converted to something else than before."""

Bits = Literal[4, 8]
Identity = tuple[str, str]
"""Which file it is, and which state of it."""


def identity(path: Path) -> Identity:
    """What a conversion is known by; of a .pth file also what may be its vocabulary. ModelError where there is none."""
    try:
        resolved = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # missing, a loop of links, a NUL in the name
        raise ModelError(f"{path} does not exist; give the path of a GGUF or .pth file") from None
    beside = [file for file in map(path.with_name, VOCABULARIES) if file.is_file()] if is_pth(path) else []
    states = (f"{status.st_size}\0{status.st_mtime_ns}" for status in map(Path.stat, (resolved, *beside)))
    return str(resolved), "\0".join((str(SCHEMA), *states))


def is_pth(path: Path) -> bool:
    """Whether a file of this name should be torch's."""
    return path.suffix.lower() == ".pth"


def converted(path: Path, conversions: Path, bits: Bits | None = None) -> Path | None:
    """The conversion of this file as it is now, below `conversions`; None where there is none, or not all of it.

    ModelError where there is no such file.
    """
    try:
        folder = conversions / folder_name(path, identity(path), bits)
        return folder if is_whole(folder, PTH_FILES if is_pth(path) else FILES) else None
    except OSError:  # whoever converts it anew says what cannot be read
        return None


def is_whole(folder: Path, files: Sequence[str] = FILES) -> bool:
    """Whether nothing of a conversion is missing."""
    if not all((folder / name).is_file() for name in files):
        return False
    try:
        read_header(folder / "model.safetensors")
    except ModelError:
        return False
    return True


@contextmanager
def alone(conversions: Path) -> Iterator[None]:
    """Holds the one lock of the folder; whatever half-made folder is found under it belongs to a dead run."""
    conversions.mkdir(parents=True, exist_ok=True, mode=0o700)
    conversions.chmod(0o700)
    descriptor = os.open(conversions / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for left in conversions.glob(".*.unfinished"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(descriptor)


def check_room(path: Path, conversions: Path, size: int) -> None:
    """ModelError where `conversions` has no room for a conversion of this file with `size` bytes of weights."""
    needed, free = size + 32 * 1024 * 1024, shutil.disk_usage(conversions).free
    if free < needed:
        raise ModelError(f"{path} needs {needed >> 20} MiB in {conversions}, where {free >> 20} are free; make room")


@contextmanager
def taking_place(folder: Path, path: Path, state: Identity) -> Iterator[Path]:
    """A new folder to write a conversion of `path` to, which is `folder` once the block has ended well.

    ModelError where the file is no longer in this state.
    """
    unfinished = folder.parent / f".{folder.name}.unfinished"
    unfinished.mkdir(mode=0o700)
    try:
        yield unfinished
        if identity(path) != state:
            raise ModelError(f"{path} changed while it was read; try again when it is complete")
        shutil.rmtree(folder, ignore_errors=True)  # whatever stands there is damaged
        unfinished.rename(folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def folder_name(path: Path, identity: Identity, bits: Bits | None) -> str:
    """Readable, then one hash of the path and one of the file's state, by which stale ones are known."""
    return f"{readable(path.stem)}-{_hash(identity[0])}-{_hash(identity[1])}" + (f"-{bits}bit" if bits else "")


def readable(name: str) -> str:
    """A model's name as that of a folder, whatever is in it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "model"


def conversions_of(path: Path, conversions: Path) -> list[Path]:
    """Every conversion of this file below `conversions`, of whatever state; also where the file is gone."""
    where = _hash(os.path.realpath(path))
    return [folder for folder in conversions.glob(f"*-{where}-*") if _place_and_state(folder.name)[0] == where]


def remove_stale(folder: Path) -> None:
    """Conversions of earlier states of the same file; what a process has open of them it keeps."""
    where, state = _place_and_state(folder.name)
    for other in folder.parent.glob(f"*-{where}-*"):
        place, earlier = _place_and_state(other.name)
        if (place, earlier) != (where, state) and place == where and not other.is_symlink():
            shutil.rmtree(other, ignore_errors=True)


def _place_and_state(name: str) -> tuple[str, str]:
    found = re.fullmatch(r".*-([0-9a-f]{12})-([0-9a-f]{12})(-\dbit)?", name, re.DOTALL)
    return (found[1], found[2]) if found else ("", "")


def _hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:12]
