"""One backup a day of the conversations file, in `backups/` beside it; the newest seven stay.

Each is a whole database of its own, readable by its owner only. What a person deletes goes from the backups too:
the rows are deleted there as they were in the file, overwritten with zeros, and the rest of each backup stays what
it was that day. What is to go is noted in the file itself, so that it goes at the next chance where the program
ended first. Drafts and templates that were removed go with the age of the backups. Everything here takes a while
(a backup reads the whole file) and holds no lock that a writer of the file waits for; call it aside.
"""

import contextlib
import fcntl
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from app.chat import opening, schema, tree
from app.chat.failures import damage, explained, explaining, is_damage, legible
from app.settings import private_folder

KEPT = 7

Entry = tuple[str, int, float]
"""Something deleted: 'conversation' or 'message', its id, and when it was created."""

_NAME = re.compile(r"(?P<stem>.+)-(?P<day>\d{4}-\d{2}-\d{2})\.sqlite3")
_PART = ".part"


def back_up(path: Path, today: date) -> Path | None:
    """Keep today's state of the conversations file; returns where, or None where nothing was to be done.

    Nothing is to be done where today's is there, another window is at it, or nothing was ever said. QuietlyError
    where it cannot be written, or where the file turns out to be damaged: then the older backups stay.
    """
    folder = private_folder(path.parent / "backups")
    target = folder / f"{path.stem}-{today.isoformat()}.sqlite3"
    with _turn_in(folder, wait=False) as ours:
        if not ours or target.exists():
            return None
        for left in folder.glob(f"*{_PART}*"):
            left.unlink()
        part = folder / f"{target.name}{_PART}"
        part.touch(0o600)
        try:
            with explaining(target):
                try:
                    if not _copied(path, part):
                        return None
                except sqlite3.DatabaseError as error:
                    if not is_damage(error):
                        raise
                    opening.suspected(path).touch(0o600)
                    raise explained(path, error) from error
                part.replace(target)
        finally:
            for ending in ("", "-journal"):
                opening.beside(part, ending).unlink(missing_ok=True)
        for _, old in _found(path)[KEPT:]:
            old.unlink()
        return target


def forget(path: Path, entries: Sequence[Entry], *, wait: bool) -> bool:
    """Delete `entries` from every backup of `path`; unless `wait`, only if nobody is at the backups now.

    Returns whether they are gone. QuietlyError where a backup cannot be written.
    """
    folder = path.parent / "backups"
    if not folder.exists():
        return True
    with _turn_in(folder, wait=wait) as ours:
        if not ours:
            return False
        for _, backup in _found(path):
            with explaining(backup):
                try:
                    _delete(backup, entries)
                except sqlite3.DatabaseError as error:
                    if not is_damage(error):
                        raise
                    backup.unlink()  # of no use to anybody, and it may still have the words
    return True


def restore(path: Path, target: Path) -> date | None:
    """Copy the newest backup of `path` that is whole to `target`; returns its day, None where there is none."""
    for day, backup in _found(path):
        if _is_good(backup):
            target.unlink(missing_ok=True)
            target.touch(0o600)
            shutil.copyfile(backup, target)
            descriptor = os.open(target, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            return day
    return None


def _found(path: Path) -> list[tuple[date, Path]]:
    """The backups of `path`, the newest first."""
    found = []
    for file in (path.parent / "backups").glob("*.sqlite3"):
        name = _NAME.fullmatch(file.name)
        if name and name["stem"] == path.stem:
            with contextlib.suppress(ValueError):
                found.append((date.fromisoformat(name["day"]), file))
    return sorted(found, reverse=True)


@legible()
def _copied(path: Path, part: Path) -> bool:
    """Copy the conversations in `path` to `part`; False where there are none."""
    with (
        contextlib.closing(sqlite3.connect(path, timeout=opening.PATIENCE)) as source,
        contextlib.closing(sqlite3.connect(part, isolation_level=None)) as copy,
    ):
        (things,) = source.execute(
            "SELECT (SELECT count(*) FROM conversations) + (SELECT count(*) FROM templates)"
        ).fetchone()
        if not things:
            return False
        # In one step: between two others might write, and it would begin anew. In a WAL readers hold up nobody.
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, whole by itself
        if found := opening.flaws(copy):
            raise damage(found[0])
    return True


@legible()
def _delete(backup: Path, entries: Sequence[Entry]) -> None:
    with contextlib.closing(sqlite3.connect(backup, timeout=opening.PATIENCE, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("BEGIN IMMEDIATE")
        for kind, identity, created in entries:
            if kind == "conversation":
                connection.execute("DELETE FROM conversations WHERE id = ? AND created = ?", (identity, created))
                continue
            row = connection.execute(
                "SELECT conversation FROM messages WHERE id = ? AND created = ?", (identity, created)
            ).fetchone()
            if row:
                tree.cut(connection, row[0], identity)
        connection.execute("COMMIT")


def _is_good(backup: Path) -> bool:
    """Whether this is a file of ours that can take the place of the damaged one."""
    with contextlib.suppress(sqlite3.Error), legible(), contextlib.closing(sqlite3.connect(backup)) as connection:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return application == schema.APPLICATION_ID and version <= schema.VERSION and not opening.flaws(connection)
    return False


@contextlib.contextmanager
def _turn_in(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Yields whether nobody else changes the backups while the body runs."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
