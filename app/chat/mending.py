"""A damaged conversations file is set aside, never deleted, and its last good backup takes its place.

What lies in our place but bears no sign of ours is someone else's, and left alone. Loaded only where needed.
"""

import sqlite3
from datetime import date
from pathlib import Path

from app.chat import backups, lease, schema
from app.chat.failures import HeldError
from app.chat.opening import beside, restoring, suspected, writers

_OUR_NAME = "conversations.sqlite3"
_MAGIC = b"SQLite format 3\0"
_LOGS = ("-wal", "-shm")


def mend(path: Path, connection: sqlite3.Connection, error: sqlite3.DatabaseError) -> str:
    """Put the last good backup in the place of `path`, or leave that place empty; returns what to tell the person.

    `connection` to the damaged file is closed. Raises `error` again where the file is not ours, HeldError where
    another window has it open: what that one writes would go where nobody looks.
    """
    if not _is_ours(path):
        raise error
    with lease.alone(writers(path)) as nobody_else:
        if not nobody_else:
            raise HeldError(
                f"{path} is damaged and open in another Quietly window; close that one and open Quietly again,"
                " so that the last backup can take its place."
            )
        ready = restoring(path)
        day = backups.restore(path, ready)
        aside = _place_aside(path)
        # The file last: whoever is cut short in between begins again, or finds `ready` in an empty place.
        for log in _LOGS:
            if beside(path, log).exists():
                beside(path, log).rename(beside(aside, log))
        path.rename(aside)
        # Only now: SQLite keeps its hands off a file that was moved, and so it stays as it was found.
        connection.close()
        if day is not None:
            ready.replace(path)
        suspected(path).unlink(missing_ok=True)
    if day is None:
        return (
            "The conversations file was damaged and there was no backup, so a new one begins."
            f" The damaged file is {aside}."
        )
    return (
        f"The conversations file was damaged, so you see the backup of {day.day} {day:%B %Y};"
        f" what was said since then is missing. The damaged file is {aside}."
    )


def _is_ours(path: Path) -> bool:
    """Whether the file begins like one of ours, or lies under our name and is neither a database nor a text."""
    with path.open("rb") as file:
        start = file.read(4096)
    if start[68:72] == schema.APPLICATION_ID.to_bytes(4, "big"):
        return True
    return path.name == _OUR_NAME and not start.startswith(_MAGIC) and b"\0" in start


def _place_aside(path: Path) -> Path:
    """A name beside `path` that is free, with those of its logs."""
    number = 1
    while True:
        more = "" if number == 1 else f"-{number}"
        aside = path.with_name(f"{path.stem}.damaged-{date.today().isoformat()}{more}{path.suffix}")
        if not any(file.exists() for file in (aside, *(beside(aside, log) for log in _LOGS))):
            return aside
        number += 1
