"""Which folder is the conversion of which GGUF file, named after the file, its path and its state, and whether it is
whole.

Without numpy: what lists and removes models asks too, and who opens a file that was converted before.
"""

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Literal

from model.errors import ModelError
from model.weights.safetensors import read_header

REPORT = "conversion.json"
FILES = (
    "config.json",
    REPORT,
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
SCHEMA = 2
"""Raised whenever the same file would be converted to something else than before."""

Bits = Literal[4, 8]
Identity = tuple[str, str]
"""Which file it is, and which state of it."""


def identity(path: Path) -> Identity:
    """What a conversion is known by. ModelError where there is no such file."""
    try:
        resolved = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # missing, a loop of links, a NUL in the name
        raise ModelError(f"{path} does not exist; give the path of a GGUF file") from None
    status = resolved.stat()
    return str(resolved), f"{SCHEMA}\0{status.st_size}\0{status.st_mtime_ns}"


def converted(path: Path, conversions: Path, bits: Bits | None = None) -> Path | None:
    """The conversion of this file as it is now, below `conversions`; None where there is none, or not all of it.

    ModelError where there is no such file.
    """
    try:
        folder = conversions / folder_name(path, identity(path), bits)
        return folder if is_whole(folder) else None
    except OSError:  # whoever converts it anew says what cannot be read
        return None


def is_whole(folder: Path) -> bool:
    """Whether nothing of a conversion is missing."""
    if not all((folder / name).is_file() for name in FILES):
        return False
    try:
        read_header(folder / "model.safetensors")
    except ModelError:
        return False
    return True


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
