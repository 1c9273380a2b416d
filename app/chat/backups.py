"""One backup a day of the conversations file, in `backups/` beside it; the newest seven stay, or as many as one wants.

Each is a whole database of its own, readable by its owner only, its full-text index empty: that is made again. What
a person deletes goes from the backups too: the rows are deleted there as they were in the file, what SQLite leaves of
them goes with VACUUM, and the rest of each backup stays what it was that day. What is to go is noted in the file
itself, so that it goes at the next chance where the program ended first. Drafts, templates, presets and system prompts
that were removed go with the age of the backups. Everything here takes a while (a backup reads the whole file) and
holds no lock that a writer of the file waits for; call it aside.
"""

import contextlib
import fcntl
import glob
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from app.chat import cleaning, opening, schema, tree
from app.chat.failures import damage, explained, explaining, is_damage, legible
from app.settings import private_folder

KEPT = 7

Entry = tuple[str, int, float]
"""Something deleted: 'conversation' or 'message', its id, and when it was created."""

_NAME = re.compile(r"(?P<stem>.+)-(?P<day>\d{4}-\d{2}-\d{2})\.sqlite3")
_PART = ".part"
_WRITTEN = (
    "SELECT 1 FROM conversations UNION ALL SELECT 1 FROM drafts UNION ALL SELECT 1 FROM templates"
    " UNION ALL SELECT 1 FROM presets UNION ALL SELECT 1 FROM system_prompts LIMIT 1"
)


def back_up(path: Path, today: date, kept: int = KEPT) -> Path | None:
    """Keep today's state of the conversations file; returns where, or None where nothing was to be done.

    Of all backups the newest `kept` stay; with 0 none is made.

    Nothing is to be done where today's is there, another window is at it, or nothing was ever written. QuietlyError
    where it cannot be written, or where the file turns out to be damaged: then the older backups stay.
    """
    folder = private_folder(path.parent / "backups")
    target = folder / f"{path.stem}-{today.isoformat()}.sqlite3"
    with _turn_in(folder, wait=False) as ours:
        if not ours:
            return None
        if kept == 0 or target.exists():
            _keep(path, kept)
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
        _keep(path, kept)
        return target


def forget(path: Path, entries: Sequence[Entry], *, wait: bool, vacuum: bool) -> bool:
    """Delete `entries` from every backup of `path`; unless `wait`, only if nobody is at the backups now.

    Without `vacuum` it is quick, and traces may be left in the unused parts of a backup. Returns whether they are
    gone. QuietlyError where a backup cannot be written.
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
                    _delete(backup, entries, vacuum=vacuum)
                except sqlite3.DatabaseError as error:
                    if not is_damage(error):
                        raise
                    backup.unlink()  # of no use to anybody, and it may still have the words
    return True


def erase(path: Path) -> None:
    """Remove every backup of `path`, waiting for whoever is at them."""
    folder = path.parent / "backups"
    if folder.exists():
        with _turn_in(folder, wait=True):
            _keep(path, 0)
            for left in folder.glob(f"{glob.escape(path.stem)}-????-??-??{path.suffix}[-.]*"):
                left.unlink()  # of a backup that was cut short


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


def _keep(path: Path, kept: int) -> None:
    """Remove all backups of `path` but the newest `kept`."""
    for _, old in _found(path)[kept:]:
        old.unlink()


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
    """Copy what was written in `path` to `part`; False where there is nothing."""
    with (
        contextlib.closing(sqlite3.connect(path, timeout=opening.PATIENCE)) as source,
        contextlib.closing(sqlite3.connect(part, isolation_level=None)) as copy,
    ):
        if not source.execute(_WRITTEN).fetchone():
            return False
        # In one step: between two others might write, and it would begin anew. In a WAL readers hold up nobody.
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, whole by itself
        if found := opening.flaws(copy):
            raise damage(found[0])
        # Its words would have to be taken out of every backup, and it is made again from the messages.
        cleaning.empty_index(copy)
        _vacuum(copy)
    return True


@legible()
def _delete(backup: Path, entries: Sequence[Entry], *, vacuum: bool) -> None:
    with contextlib.closing(sqlite3.connect(backup, timeout=opening.PATIENCE, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("BEGIN IMMEDIATE")
        cleaning.empty_index(connection)  # of a backup from before they were made without
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
        if vacuum:
            _vacuum(connection)


def _vacuum(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA temp_store = MEMORY")  # not through a folder for temporary files
    connection.execute("VACUUM")


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
