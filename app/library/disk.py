"""Looking at folders that may hold anything: loops, pipes, a million files, what nobody may read.

What cannot be looked at counts as not there, and only `delete` raises anything. It knows no models.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

MOST_ENTRIES = 2000
"""Entries looked at in one folder; someone may add their home by mistake."""
_MOST_JSON = 1024 * 1024
"""Bytes of a JSON file that holds settings."""
_MOST_FOLDERS = 1000
"""Folders that a size is added up over."""


def children(folder: Path, ending: str = "") -> Iterator[Path]:
    """What is in a folder, by name, links to folders last; nothing where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            found = [(_leads_away(entry), entry.name) for _, entry in zip(range(MOST_ENTRIES), entries, strict=False)]
    except (OSError, ValueError):
        return
    for _, name in sorted(found):
        if name.endswith(ending):
            yield folder / name


def sizes(path: Path) -> dict[str, int]:
    """The files of a folder, or the file itself, by name and bytes; links are followed, 0 where they lead nowhere.

    Hidden ones are left out: macOS puts one beside each file on a disk that is not its own.
    """
    found = {}
    for file in children(path) if is_dir(path) else (path,):
        if file.name.startswith(".") and file != path:
            continue
        try:
            status = file.stat()
        except OSError:
            if file.is_symlink():  # into a blob that is not there yet, or no more
                found[file.name] = 0
            continue
        if stat.S_ISREG(status.st_mode):
            found[file.name] = status.st_size
    return found


def total(path: Path) -> int:
    """Bytes of a file, or of all files below a folder, each counted once; links to files are followed."""
    seen = {}
    walk = zip(range(_MOST_FOLDERS), os.walk(path), strict=False) if is_dir(path) else ()
    for file in [path, *(Path(folder, name) for _, (folder, _, names) in walk for name in names)]:
        try:
            status = file.stat()
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(status.st_mode):
            seen[status.st_dev, status.st_ino] = status.st_size
    return sum(seen.values())


def beginning(path: Path, count: int) -> bytes:
    """The first `count` bytes of a file; empty where it cannot be read, or is no plain file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            return b""
        with path.open("rb") as file:
            return file.read(count)
    except (OSError, ValueError):
        return b""


def json_object(path: Path) -> dict[str, object]:
    """What a small JSON file holds; empty where it holds no object, or is damaged or long."""
    try:
        value = msgspec.json.decode(beginning(path, _MOST_JSON + 1))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def is_dir(path: Path) -> bool:
    """Path.is_dir, which raises where a folder above may not be entered."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def exists(path: Path) -> bool:
    """Whether there is anything at `path`, a link that leads nowhere included."""
    return os.path.lexists(path)


def real(path: Path) -> Path:
    """`path` without links, as far as they can be followed."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links
        return path.absolute()


def delete(path: Path) -> None:
    """Remove what is at `path`, a folder with all that is in it, a link as a link. OSError where the disk refuses."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def changed(path: Path) -> float:
    """When the entry itself was changed last, in seconds since the epoch; 0 where nobody knows."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def home(below: str) -> Path | None:
    """A path below the person's home; None where there is no home."""
    try:
        return Path("~", below).expanduser()
    except RuntimeError:
        return None


def shown(name: str) -> str:
    """A name inside a sentence, whatever a folder was called."""
    plain = "".join(character if character.isprintable() else "�" for character in name)
    return plain if len(plain) <= 60 else f"{plain[:57]}..."


def _leads_away(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:
        return True
