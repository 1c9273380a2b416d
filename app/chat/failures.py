"""What it means for a person when the conversations file, or an export, cannot be read or written."""

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from app.errors import QuietlyError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class HeldError(QuietlyError):
    """Another program holds the file for longer than one waits; later it may be free."""


class ChangedError(QuietlyError):
    """What the person sees is not what is stored any more: another window has changed it."""


class GoneError(QuietlyError):
    """A conversation is not there, perhaps not any more."""

    def __init__(self, conversation: int) -> None:
        super().__init__(self.sentence(f"Conversation {conversation}"))
        self.conversation = conversation

    @staticmethod
    def sentence(name: str) -> str:
        """What to say where it is known by this name."""
        return f"{name} is not here, perhaps deleted in another window; choose or start another one."


@contextlib.contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the system leave the block as one sentence for people."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise explained(path, error) from error


def damage(flaw: str) -> sqlite3.DatabaseError:
    """The error that SQLite itself would raise if it met this flaw."""
    error = sqlite3.DatabaseError(flaw)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


@contextlib.contextmanager
def legible() -> Iterator[None]:
    """Where SQLite quotes a damaged table in its error, Python fails to read that: this says damage instead."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise damage("a table's definition cannot be read") from error


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file is malformed, or no database at all."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def explained(path: Path, error: sqlite3.Error | OSError) -> QuietlyError:
    """What the store raises for `error`."""
    held = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return (HeldError if held else QuietlyError)(explain(path, error))


def explain(path: Path, error: sqlite3.Error | OSError) -> str:
    """One sentence: which file, what is wrong with it, the way out."""
    return _explain_system(path, error) if isinstance(error, OSError) else _explain_sqlite(path, error)


def _explain_sqlite(path: Path, error: sqlite3.Error) -> str:
    # The low byte is the kind; the rest of the number tells details apart.
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            return f"{path} is not a conversations file; it was left as it is, move it away to start anew."
        case sqlite3.SQLITE_CORRUPT:
            return (
                f"{path} is damaged; close every Quietly window and open it again:"
                " the file is then set aside, and the last backup takes its place."
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"{path} is held by another program; close that one and try again."
        case sqlite3.SQLITE_FULL:
            return (
                f"{path} cannot grow because the disk is full; free some space and try again, what is stored is safe."
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return (
                f"{path} cannot be written; check that the file, and the folder it is in, belong to you"
                " and are writable."
            )
        case sqlite3.SQLITE_IOERR:
            return (
                f"{path} could not be read or written because the disk failed or is full;"
                " check the disk and try again, what is stored is safe."
            )
        case sqlite3.SQLITE_TOOBIG:
            return f"{path} cannot hold a message this long; split it into several."
        case _:
            return f"{path} cannot be used ({error}); close every Quietly window and open it again."


def _explain_system(path: Path, error: OSError) -> str:
    if error.errno in _FULL:
        return f"{path} cannot be written because the disk is full; free some space and try again."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{path} cannot be opened; check that the file, and the folder it is in, belong to you and are writable."
    if error.errno == errno.EROFS:
        return f"{path} is on a disk that can only be read; choose another place."
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{path} cannot be created because a part of its path is a file; choose another place."
    if error.errno == errno.ENOENT:
        return f"{path} cannot be created because its folder is missing; create it or choose another place."
    if error.errno == errno.ENAMETOOLONG:
        return f"{path} is too long a name for this disk; choose a shorter one."
    return f"{path} cannot be used ({error.strerror or error}); check the disk and try again."
