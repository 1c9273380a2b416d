"""How the conversations file is opened: private, recognised as ours, brought up to date, mended where damaged.

A file of another program, or of a newer Quietly, is refused and stays exactly as it is. Knows no conversation.
"""

import contextlib
import errno
import os
import sqlite3
import stat
from pathlib import Path
from typing import NamedTuple

from app.chat import lease, schema
from app.chat.failures import damage, is_damage, legible
from app.errors import QuietlyError
from app.settings import private_folder, turn_in

PATIENCE = 5.0
"""Seconds that a call waits for another process's transaction; ours take milliseconds."""
CHECKED = 4 << 20
"""Bytes up to which a file is checked whole at every opening: 2 ms. A larger one is checked with its daily backup."""

_IDS = ("conversations", "messages")


class Opened(NamedTuple):
    """A file that is ready for use."""

    connection: sqlite3.Connection
    presence: lease.Presence
    notice: str
    """What the person should know about how it was opened; usually nothing."""


def connect(path: Path) -> Opened:
    """Open `path`, created where there is none; a damaged one is set aside for its last good backup.

    QuietlyError, OSError or sqlite3.Error where it cannot be used.
    """
    private_folder(path.parent)
    # One at a time: a file is recognised whole, never while another process creates it, two do not mend at once,
    # and SQLite does not wait for a lock while it changes the journal mode.
    with turn_in(path.parent):
        restoring(path)
        _prepare_file(path)
        notice = ""
        connection = unready(path)
        try:
            try:
                _make_ready(path, connection)
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                from app.chat import mending

                notice = mending.mend(path, connection, error)
                _prepare_file(path)
                connection = unready(path)
                _make_ready(path, connection)
            return Opened(connection, lease.Presence(writers(path)), notice)
        except BaseException:
            connection.close()
            raise


def connect_temporary(first_id: int) -> sqlite3.Connection:
    """A database in memory alone whose ids begin above `first_id`."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.text_factory = readable
    # What SQLite sorts would otherwise go through a file.
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA foreign_keys = ON")
    schema.migrate(connection)
    connection.executemany("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", [(name, first_id) for name in _IDS])
    return connection


def writers(path: Path) -> Path:
    """The folder in which those who write into `path` are told apart."""
    return path.parent / "writers"


def beside(path: Path, ending: str) -> Path:
    """The file whose name is that of `path` and `ending`."""
    return path.with_name(path.name + ending)


def restoring(path: Path) -> Path:
    """Where a backup lies for the moment before it takes the place of `path`; a mend cut short there is finished."""
    ready = beside(path, "-restoring")
    if ready.exists() and not path.exists():
        ready.replace(path)
    return ready


def suspected(path: Path) -> Path:
    """The file that is there once damage was met in `path`: the next opening checks all of it."""
    return beside(path, "-suspected")


def flaws(connection: sqlite3.Connection) -> list[str]:
    """What `PRAGMA quick_check` finds wrong with the file; values that a hand changed are no damage."""
    found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(10)")]
    return [flaw for flaw in found if flaw != "ok" and not flaw.startswith(("NULL value in", "CHECK constraint"))]


def unready(path: Path) -> sqlite3.Connection:
    """A connection to the file as it is, nothing asked of it yet."""
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    connection.text_factory = readable
    return connection


@legible()
def _make_ready(path: Path, connection: sqlite3.Connection) -> None:
    # Before anything that writes: a file of someone else's must stay exactly as it is.
    _recognise(path, connection)
    if suspected(path).exists() or path.stat().st_size <= CHECKED:
        if found := flaws(connection):
            raise damage(found[0])
        suspected(path).unlink(missing_ok=True)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # macOS: before the log is reused, the drive itself has to have written the file.
    connection.execute("PRAGMA checkpoint_fullfsync = ON")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")
    schema.migrate(connection)


def readable(stored: bytes) -> str:
    """Text from the file; a damaged letter costs itself, not the conversation."""
    return str(stored, "utf-8", "replace")


def _prepare_file(path: Path) -> None:
    """Make sure that `path` is a file only we can read; new -wal and -shm files take its mode from SQLite."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise QuietlyError(
                f"{path} is not a file; move it away, so that Quietly can keep its conversations there."
            ) from None
        for file in (path, beside(path, "-wal"), beside(path, "-shm")):
            with contextlib.suppress(FileNotFoundError):
                if (mode := file.stat().st_mode) & 0o077:
                    file.chmod(stat.S_IMODE(mode) & 0o700)
        # SQLite would open a file it may not write, and fail only at the first word. Asked without opening it:
        # closing any descriptor of a file gives back the locks that SQLite holds on it in this process.
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
    else:
        os.close(descriptor)


def _recognise(path: Path, connection: sqlite3.Connection) -> None:
    """Raise QuietlyError unless the file is empty, or Quietly's and not from its future."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (things,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != schema.APPLICATION_ID and (application or version or things):
        raise QuietlyError(
            f"{path} is another program's database; move it away, so that Quietly can keep its conversations there."
        )
    if version > schema.VERSION:
        raise QuietlyError(
            f"{path} was written by a newer Quietly; update Quietly to open it, the file was left as it is."
        )
