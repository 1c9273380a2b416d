"""What was deleted leaves no words behind in the conversations file, and the file gets smaller.

SQLite overwrites deleted rows with zeros (secure_delete), but words outlive that in three places: in segments of the
full-text index, where a deletion is only noted until they are merged; in the gaps of pages, where copies of rows stay
that SQLite once moved to a neighbouring page; and in the log. Merging, VACUUM and emptying the log take them from
there. All of it is done over a connection of its own, so that whoever reads through another waits for nothing; call
it aside. Knows neither conversations nor backups.
"""

import contextlib
import glob
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from app.chat import opening
from app.chat.failures import explaining, legible

BRIEF = 64 << 20
"""Bytes up to which VACUUM holds up whoever writes for 0.3 s at most: it takes 5 ms for a megabyte."""

_PAGES = 100
"""Pages of the index that are merged in one transaction: 10 ms on the average, 70 ms at most."""
_HASTE = 100
"""Milliseconds that emptying the log waits for readers; a backup being made would hold it up for seconds."""
_EMPTYING = (
    "DELETE FROM conversations",  # and with them messages, their attachments and drafts
    "DELETE FROM drafts",
    "DELETE FROM templates",
    "DELETE FROM presets",
    "DELETE FROM system_prompts",
    "DELETE FROM model_settings",
    "DELETE FROM remembered",
    "DELETE FROM forgotten",
    "DELETE FROM unindexed",
    # Of nobody: whoever opens the file next takes the last traces out, should this program die before it has.
    "INSERT INTO forgotten (kind, id, created) VALUES ('conversation', 0, 0)",
)


def is_brief(path: Path) -> bool:
    """Whether `vacuum` in `clean` is short enough to be done while somebody may write."""
    return path.stat().st_size <= BRIEF


def clean(path: Path, *, vacuum: bool) -> bool:
    """Take the words of deleted rows out of the index, with `vacuum` out of the gaps too, and empty the log.

    Nobody who writes is held up for long but by `vacuum`. Returns whether the log could be emptied: readers may be in
    the way. sqlite3.Error where something cannot be written.
    """
    with _own(path) as connection:
        _merge_index(connection)
        if vacuum:
            # In memory: its copy of everything would otherwise lie in a folder for temporary files.
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("VACUUM")
        # First what needs no lock; the rest is short then.
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        connection.execute(f"PRAGMA busy_timeout = {_HASTE}")
        return _emptied_log(connection)


def erase(connection: sqlite3.Connection) -> bool:
    """Delete every row that a person has made, for good; ids are not used again.

    Returns whether the log could be emptied: where not, or where it is cut short, the next to open the file does that.
    Expects no open transaction, and nobody else who writes.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Before the rows go one by one, each with its words.
        empty_index(connection)
        for statement in _EMPTYING:
            connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("VACUUM")
    if not _emptied_log(connection):
        return False
    connection.execute("DELETE FROM forgotten")
    return True


def empty_index(connection: sqlite3.Connection) -> None:
    """Take all words out of the full-text index; every message waits to be indexed again. Older files have none."""
    found = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'message_index'").fetchone()
    if found:
        # Made anew: taking the words out row by row lasts a hundred times as long, and leaves them in its segments.
        connection.execute("DROP TABLE message_index")
        connection.execute(found[0])
        connection.execute("INSERT OR IGNORE INTO unindexed SELECT id FROM messages")


def leave_nothing_beside(path: Path) -> None:
    """Remove the damaged files that were set aside in favour of `path`, and what a mend cut short left there."""
    aside = f"{glob.escape(path.stem)}.damaged-????-??-??*{path.suffix}*"
    for file in [*path.parent.glob(aside), opening.beside(path, "-restoring"), opening.suspected(path)]:
        file.unlink(missing_ok=True)
    for file in opening.writers(path).glob("*.lock"):
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def _own(path: Path) -> Iterator[sqlite3.Connection]:
    with explaining(path), legible(), contextlib.closing(opening.unready(path)) as connection:
        connection.execute("PRAGMA synchronous = NORMAL")  # what is lost with the power is done again
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute("PRAGMA secure_delete = ON")
        yield connection


def _merge_index(connection: sqlite3.Connection) -> None:
    """Merge all segments of the full-text index into one, in short transactions; nothing where there is but one."""
    pages = -_PAGES  # below zero: whatever there is now will be merged
    while True:
        before, begun = connection.total_changes, time.monotonic()
        connection.execute("INSERT INTO message_index (message_index, rank) VALUES ('merge', ?)", (pages,))
        if connection.total_changes - before < 2:  # the sign that nothing was left to do
            return
        # Whoever waits for the lock looks for it now and then, and would hardly ever find it free.
        time.sleep(time.monotonic() - begun)
        pages = _PAGES


def _emptied_log(connection: sqlite3.Connection) -> bool:
    ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return not busy
