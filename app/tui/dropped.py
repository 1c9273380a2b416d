"""Files in what was pasted: a terminal turns files dropped on it into text.

Some escape what a shell would take apart, some quote it, some paste file:// addresses, and some the bare path. Knows
nothing of what becomes of the files.
"""

import contextlib
import shlex
import stat
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.home import expanded

MOST = 20
"""Files that are looked at in one go."""
_LONGEST = MOST * 1100
"""Characters: more than a shell-escaped path of the usual length takes, for every file."""


def named(text: str) -> list[list[Path]]:
    """The ways to read `text` as absolute paths and nothing else, likeliest first; none where it is no such text."""
    text = text.strip()
    if not text or len(text) > _LONGEST or "\0" in text or not text.startswith(("/", "~", "'", '"', "\\", "file:")):
        return []
    ways = [[text], text.splitlines()]
    with contextlib.suppress(ValueError):  # a quotation mark that is never closed
        ways.append(shlex.split(text))
    found: list[list[Path]] = []
    for way in ways:
        paths = [_path(piece) for piece in way[: MOST + 1]]
        whole = [path for path in paths if path is not None]
        if len(whole) == len(paths) <= MOST and whole not in found:
            found.append(whole)
    return found


def files(ways: Sequence[Sequence[Path]]) -> tuple[Path, ...]:
    """The first of `ways` that holds regular files alone, each once; empty where none does. Touches the disk."""
    for way in ways:
        if all(map(_is_file, way)):
            return tuple(dict.fromkeys(way))
    return ()


def _path(piece: str) -> Path | None:
    piece = piece.strip()
    if piece.startswith("file:"):
        try:
            address = urlsplit(piece)
        except ValueError:
            return None
        if address.netloc not in ("", "localhost"):
            return None
        piece = unquote(address.path, errors="surrogateescape")
    elif piece.startswith("~/"):
        piece = str(expanded(piece))
    return Path(piece) if piece.startswith("/") and "\0" not in piece else None


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False
