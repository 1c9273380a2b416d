"""A damaged file is set aside, the last good backup takes its place, and the person is told; nothing is deleted."""

import os
import sqlite3
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from app.chat import backups, opening
from app.chat.store import Store
from app.errors import QuietlyError
from tests.app.chat.conftest import filled, go_on, line

DAY = date(2026, 1, 5)

OPEN_AND_TELL = """
import sys
from pathlib import Path
from app.chat.store import Store
print("ready", flush=True)
sys.stdin.readline()
with Store.open(Path(sys.argv[1])) as store:
    print(bool(store.notice), len(store.conversations()), flush=True)
    sys.stdin.readline()
"""


def schema_overwritten(content: bytes) -> bytes:
    return content[:100] + b"\xff" * 3996 + content[4096:]


def cut_off(content: bytes) -> bytes:
    return content[:5000]


def begun_with_zeros(content: bytes) -> bytes:
    return bytes(8192) + content[8192:]


def overwritten_inside(content: bytes) -> bytes:
    return content[:4096] + os.urandom(len(content) - 4096)


def overwritten_at_the_end(content: bytes) -> bytes:
    return content[:-40960] + os.urandom(40960)


def a_table_spoilt(content: bytes) -> bytes:
    return content.replace(b"CREATE UNIQUE INDEX", b"CREATE UNI\xcbUE INDEX")


KINDS = [schema_overwritten, cut_off, begun_with_zeros, overwritten_inside, overwritten_at_the_end, a_table_spoilt]


def damaged(database: Path, how: Callable[[bytes], bytes]) -> bytes:
    """Spoil the file; returns what it holds then."""
    content = how(database.read_bytes())
    database.write_bytes(content)
    return content


def aside(database: Path) -> list[Path]:
    return sorted(database.parent.glob("conversations.damaged-*.sqlite3"))


@pytest.mark.parametrize("how", KINDS)
def test_the_last_backup_takes_the_place_of_a_damaged_file(database: Path, how: Callable[[bytes], bytes]) -> None:
    filled(database, 20)
    backups.back_up(database, DAY)
    filled(database, 5)
    content = damaged(database, how)
    with Store.open(database) as store:
        (file,) = aside(database)
        assert file.read_bytes() == content
        assert store.notice == (
            "The conversations file was damaged, so you see the backup of 5 January 2026;"
            f" what was said since then is missing. The damaged file is {file}."
        )
        assert len(store.conversations()) == 20
        store.ask(store.create().id, None, "and on it goes")
    assert database.stat().st_mode & 0o777 == 0o600
    with Store.open(database) as store:
        assert (store.notice, len(store.conversations())) == ("", 21)


@pytest.mark.parametrize("how", KINDS)
def test_without_a_backup_a_new_file_begins(database: Path, how: Callable[[bytes], bytes]) -> None:
    filled(database, 20)
    content = damaged(database, how)
    with Store.open(database) as store:
        (file,) = aside(database)
        assert file.read_bytes() == content
        assert store.notice == (
            "The conversations file was damaged and there was no backup, so a new one begins."
            f" The damaged file is {file}."
        )
        assert store.conversations() == []


def test_the_log_is_set_aside_with_its_file(database: Path) -> None:
    filled(database, 20)
    with Store.open(database) as store:
        store.create(title="only in the log so far")
        log = Path(f"{database}-wal").read_bytes()
    content = damaged(database, overwritten_at_the_end)
    Path(f"{database}-wal").write_bytes(log[:-50])  # and its last page did not reach the disk
    Store.open(database).close()
    (file,) = aside(database)
    assert file.read_bytes() == content
    assert Path(f"{file}-wal").read_bytes() == log[:-50]


def test_what_the_log_still_has_is_no_damage(database: Path) -> None:
    with Store.open(database) as store:
        store.create(title="only in the log so far")
        log = Path(f"{database}-wal").read_bytes()
    damaged(database, begun_with_zeros)
    Path(f"{database}-wal").write_bytes(log)
    with Store.open(database) as store:
        assert (store.notice, [one.title for one in store.conversations()]) == ("", ["only in the log so far"])


def test_a_damaged_backup_is_passed_over(database: Path) -> None:
    filled(database, 3)
    backups.back_up(database, DAY)
    filled(database, 3)
    newer = backups.back_up(database, DAY.replace(day=6))
    assert newer is not None
    damaged(newer, overwritten_inside)
    damaged(database, schema_overwritten)
    with Store.open(database) as store:
        assert "the backup of 5 January 2026" in store.notice
        assert len(store.conversations()) == 3


def test_a_second_damaged_file_on_one_day_replaces_no_first(database: Path) -> None:
    contents = []
    for number in (2, 3):
        filled(database, number)
        contents.append(damaged(database, schema_overwritten))
        Store.open(database).close()
    assert sorted(file.read_bytes() for file in aside(database)) == sorted(contents)


def test_what_a_query_meets_is_said_and_mended_at_the_next_start(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(database)
    backups.back_up(database, DAY)
    monkeypatch.setattr(opening, "CHECKED", 0)  # as if the file were large
    damaged(database, overwritten_at_the_end)
    with Store.open(database) as store:
        reason = "is damaged; close every Quietly window and open it again: the file is then set aside"
        with pytest.raises(QuietlyError, match=reason) as caught:
            for conversation in store.conversations():
                store.branch(conversation.id)
        assert str(database) in str(caught.value)
    with Store.open(database) as store:
        assert "the backup of 5 January 2026" in store.notice
        assert [len(store.branch(one.id)) for one in store.conversations()] == [1] * 50
    assert not opening.suspected(database).exists()


def test_a_suspicion_without_ground_goes_away(database: Path) -> None:
    filled(database, 2)
    opening.suspected(database).touch()
    with Store.open(database) as store:
        assert (store.notice, len(store.conversations())) == ("", 2)
    assert not opening.suspected(database).exists()


def test_what_a_hand_changed_is_no_damage(database: Path) -> None:
    filled(database, 2)
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute("UPDATE messages SET parent = id")
    connection.commit()
    connection.close()
    with Store.open(database) as store:
        assert store.notice == ""
    assert aside(database) == []


def test_a_file_that_another_window_has_open_stays_in_its_place(database: Path) -> None:
    filled(database)
    with Store.open(database):
        content = damaged(database, schema_overwritten)
        for log in ("-wal", "-shm"):
            Path(f"{database}{log}").unlink(missing_ok=True)
        with pytest.raises(QuietlyError, match="damaged and open in another Quietly window; close that one"):
            Store.open(database)
        assert database.read_bytes() == content
    assert aside(database) == []


def test_windows_that_meet_the_damage_at_once_mend_it_once(
    database: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    filled(database, 20)
    backups.back_up(database, DAY)
    damaged(database, schema_overwritten)
    windows = [start(OPEN_AND_TELL, database) for _ in range(4)]
    for window in windows:
        assert line(window) == "ready\n"
    for window in windows:
        go_on(window)
    assert sorted(line(window) for window in windows) == ["False 20\n"] * 3 + ["True 20\n"]
    for window in windows:
        go_on(window)
        assert window.wait() == 0
    assert len(aside(database)) == 1


def test_a_mend_that_was_cut_short_is_finished(database: Path) -> None:
    filled(database, 2)
    backups.back_up(database, DAY)
    backups.restore(database, opening.restoring(database))
    database.rename(database.with_name("conversations.damaged-2026-01-06.sqlite3"))
    with Store.open(database) as store:
        assert len(store.conversations()) == 2
    assert not Path(f"{database}-restoring").exists()


def test_a_damaged_database_of_another_program_is_not_touched(database: Path) -> None:
    database.parent.mkdir()
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA application_id = 7")
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.commit()
    connection.close()
    content = damaged(database, schema_overwritten)
    with pytest.raises(QuietlyError, match=r"is damaged|is another program's"):
        Store.open(database)
    assert database.read_bytes() == content
    assert aside(database) == []
