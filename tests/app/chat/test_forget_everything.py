"""Everything is deleted at once: an empty file that goes on working stays, and no other with a word in it."""

import signal
import sqlite3
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from app.chat import backups
from app.chat.store import Store
from app.errors import QuietlyError
from tests.app.chat.conftest import MARKER, Start, go_on, holding, line
from tests.app.living import write_everywhere

OTHER_WINDOW = """
import sys
from pathlib import Path
from app.chat.store import Store

with Store.open(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.readline()
print("closed", flush=True)
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from app.chat.store import Store

store = Store.open(Path(sys.argv[1]))
store._connection.set_trace_callback(
    lambda statement: statement.startswith(sys.argv[2]) and os.kill(os.getpid(), signal.SIGKILL)
)
store.erase()
"""


def below(folder: Path) -> set[Path]:
    """All files in `folder` and its folders."""
    return {file for file in folder.rglob("*") if file.is_file()}


def own(database: Path) -> set[Path]:
    """The conversations file and SQLite's two beside it."""
    return {database.with_name(database.name + ending) for ending in ("", "-wal", "-shm")}


def test_nothing_is_left_but_an_empty_file_that_works(store: Store, database: Path) -> None:
    made = write_everywhere(store, MARKER)
    store.back_up()
    assert len(holding(database.parent)) >= 2
    store.erase()
    assert holding(database.parent) == []
    assert below(database.parent) == own(database)
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
            " AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'message_index_%'"
        ).fetchall()
        assert [name for (name,) in tables if connection.execute(f"SELECT 1 FROM {name}").fetchone()] == []
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)
    again = write_everywhere(store, MARKER)
    assert again > made  # no number is used again: something may still go by it
    assert [one.content for one in store.branch(again)][:1] == [MARKER]


def test_damaged_files_and_what_the_dead_left_go_too(database: Path) -> None:
    with Store.open(database) as store:
        write_everywhere(store, MARKER)
        store.back_up()
    writers = database.parent / "writers"
    (writers / "99-0123456789abcdef.lock").touch()
    for _ in range(2):
        database.write_bytes(b"\0" + MARKER.encode() * 1000)
        database.with_name(f"{database.name}-suspected").touch()
        with Store.open(database) as store:
            assert "damaged" in store.notice
    database.with_name(f"{database.name}-restoring").write_text(MARKER)
    (database.parent / "backups" / "conversations-2026-01-05.sqlite3.part-journal").write_text(MARKER)
    (database.parent / "backups" / "conversations-2026-01-05.sqlite3-journal").write_text(MARKER)
    mine = database.parent / "backups" / "conversations-of-mine.sqlite3"
    mine.write_text("mine")
    with Store.open(database) as store:
        store.erase()
        assert holding(database.parent) == []
        assert below(database.parent) == own(database) | {mine}
    assert not list(writers.iterdir())


def test_not_while_an_answer_is_being_written(store: Store, database: Path) -> None:
    made = store.create(MARKER).id
    answer = store.begin_answer(made, store.ask(made, None, MARKER).id, "m")
    backup = backups.back_up(database, date(2026, 1, 5))
    with pytest.raises(QuietlyError, match="An answer is still being written; stop it"):
        store.erase()
    assert backup is not None and backup.exists()
    assert len(store.branch(made)) == 2
    store.finish(answer.id, "stopped", answer="half")
    store.erase()
    assert store.conversations() == []
    # Answers can be written again: the lease is taken anew.
    made = store.create().id
    assert store.begin_answer(made, store.ask(made, None, "again").id, "m").status == "writing"


def test_not_while_another_window_is_open(store: Store, database: Path, start: Start) -> None:
    write_everywhere(store, MARKER)
    other = start(OTHER_WINDOW, database)
    assert line(other) == "open\n"
    for _ in range(2):
        with pytest.raises(QuietlyError, match="is open in another Quietly window; close that one"):
            store.erase()
    assert len(store.conversations()) == 1
    go_on(other)
    assert line(other) == "closed\n"
    other.wait()
    third = start(OTHER_WINDOW, database)
    assert line(third) == "open\n"  # and nobody is kept out afterwards
    go_on(third)
    third.wait()
    store.erase()
    assert store.conversations() == []


def test_a_reader_in_the_way_is_named(store: Store, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_everywhere(store, MARKER)
    store._connection.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM messages").fetchone()
        with pytest.raises(QuietlyError, match="is being read by another program"):
            store.erase()
        assert store.conversations() == []
    store.erase()
    assert holding(database.parent) == []


def test_what_is_temporary_can_be_erased() -> None:
    with Store.temporary() as store:
        made = write_everywhere(store, MARKER)
        store.erase()
        assert store.conversations() == []
        assert write_everywhere(store, MARKER) > made


@pytest.mark.parametrize("statement", ["DELETE FROM conversations", "COMMIT", "VACUUM", "PRAGMA wal_checkpoint"])
def test_where_it_was_cut_short_what_is_left_can_be_seen_or_goes_by_itself(
    database: Path, start: Start, statement: str
) -> None:
    with Store.open(database) as store:
        write_everywhere(store, MARKER)
        store.back_up()
    assert start(KILLED, database, statement).wait() == -signal.SIGKILL
    with Store.open(database) as store:
        gone = not store.conversations()
    assert gone is (holding(database.parent) == [])
    assert gone or statement in ("DELETE FROM conversations", "COMMIT")
