"""What models have read of long conversations, kept on disk so that these go on at once: whose files, and how large.

A file is named by the conversation's number and the model's fingerprint, and by nothing that was said. Whatever is
missing is read again, so any of them may go at any moment. Knows neither what stands in them, nor the store, nor MLX.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from app.settings import Settings

_SESSION = re.compile(r"conversation-(\d{1,19})")
"""What a conversation that may be kept is called by engines; those in memory alone are called otherwise."""
_FILE = re.compile(r"(conversation-\d{1,19})\.[0-9a-f]{16}\.session(\.refused)?")
_PART = re.compile(r"\.session-.+\.safetensors")
"""What is being written, or was when its writer was killed."""


def disk_for(settings: "Settings") -> int:
    """Bytes that all of it may take, as it is set."""
    return int(settings.keep_read * 2**30)


class Kept(msgspec.Struct, frozen=True):
    """A file of what one model has read of one conversation."""

    file: Path
    session: str
    size: int
    """Bytes."""
    written: float
    """Seconds since the epoch."""


def session_of(conversation: int) -> str:
    """What engines call a conversation that is kept on disk."""
    return f"conversation-{conversation}"


def file_of(folder: Path, session: str, fingerprint: str) -> Path | None:
    """Where this model keeps what it has read of this session; None for one that is never kept."""
    if not _SESSION.fullmatch(session):
        return None
    return folder / f"{session}.{hashlib.sha256(fingerprint.encode()).hexdigest()[:16]}.session"


def kept(folder: Path) -> list[Kept]:
    """All that is there, the oldest first."""
    return sorted(_files(folder), key=lambda one: (one.written, one.file))


def forget(folder: Path, session: str) -> None:
    """Remove what any model has kept of a conversation, and what killed processes have left: it may be of that one."""
    _remove(one for one in _files(folder) if one.session == session)
    _remove_abandoned(folder)


def trim(folder: Path, most: int, replaced: Path | None = None, spared: Collection[Path] = ()) -> bool:
    """Let the oldest go until the others take no more than `most` bytes, and what killed processes have left.

    `replaced` is about to be written anew, and does not count. False, and none goes, where those that are `spared` take
    more by themselves.
    """
    _remove_abandoned(folder)
    files = [one for one in kept(folder) if one.file != replaced]
    if sum(one.size for one in files if one.file in spared) > most:
        return False
    taken = sum(one.size for one in files)
    for one in files:
        if taken > most and one.file not in spared:
            _remove([one])
            taken -= one.size
    return True


def sweep(folder: Path, conversations: Collection[int], most: int) -> None:
    """Keep only what belongs to one of `conversations`, of it at most so many bytes; with 0, no folder either."""
    if most <= 0:
        clear(folder)
        return
    living = {session_of(conversation) for conversation in conversations}
    _remove(one for one in _files(folder) if one.session not in living)
    trim(folder, most)


def clear(folder: Path) -> None:
    """Remove everything, and the folder: engines that still run have no place to write to. OSError where one stays."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():  # one of them was writing at this moment
        shutil.rmtree(folder)


def _files(folder: Path) -> Iterator[Kept]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if found := _FILE.fullmatch(entry.name):
                with contextlib.suppress(OSError):  # another process was faster
                    state = entry.stat(follow_symlinks=False)
                    yield Kept(Path(entry.path), found[1], state.st_size, state.st_mtime)


def _remove(files: "Iterator[Kept] | Collection[Kept]") -> None:
    for one in files:
        with contextlib.suppress(OSError):
            one.file.unlink()


def _remove_abandoned(folder: Path) -> None:
    """Remove unfinished files whose writer is dead: who writes one holds a lock on it."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _PART.fullmatch(entry.name):
                with contextlib.suppress(OSError), Path(entry.path).open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    Path(entry.path).unlink()
