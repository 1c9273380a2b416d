"""One backup a day, whole and private, seven kept, and none that holds what a person deleted."""

import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from app.chat import backups
from app.chat.store import Attachment, Draft, Preset, Store, SystemPrompt, Template
from app.errors import QuietlyError
from tests.app.chat.conftest import MARKER, filled, holding

TODAY = date(2026, 1, 5)
"""A day that is over, so that today's backup is another one."""


def kept(database: Path) -> list[str]:
    return sorted(file.name for file in (database.parent / "backups").iterdir())


def said(backup: Path) -> list[str]:
    """What stands in a backup, whole by itself."""
    connection = sqlite3.connect(f"{backup.as_uri()}?immutable=1", uri=True)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return [content for (content,) in connection.execute("SELECT content FROM messages ORDER BY id")]
    finally:
        connection.close()


@pytest.fixture
def week(store: Store, database: Path) -> list[int]:
    """A conversation with branches, and one more, as seven backups know them: ids of the first one's messages."""
    made = store.create(title="first").id
    ask = store.ask(made, None, "why")
    one = store.begin_answer(made, ask.id, "m", content=MARKER)
    store.finish(one.id, "complete", answer=MARKER)
    other = store.add_answer(made, ask.id, "other", "m")
    more = store.ask(made, one.id, f"more {MARKER}", [Attachment(MARKER, MARKER)])
    store.ask(store.create(title="second").id, None, "kept")
    for day in range(7):
        backups.back_up(database, TODAY - timedelta(days=day))
    return [ask.id, one.id, other.id, more.id]


def test_a_day_has_one_backup_for_its_owner_alone(store: Store, database: Path) -> None:
    asked = store.ask(store.create().id, None, "first")
    made = store.back_up()
    assert made == database.parent / "backups" / f"conversations-{date.today().isoformat()}.sqlite3"
    store.ask(asked.conversation, asked.id, "second")
    assert store.back_up() is None
    assert said(made) == ["first"]
    assert kept(database) == [made.name]
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700


def test_seven_stay(store: Store, database: Path) -> None:
    store.create(title="kept")
    (database.parent / "backups").mkdir()
    strange = database.parent / "backups" / "conversations-of-mine.sqlite3"
    strange.touch()
    for day in range(10):
        backups.back_up(database, TODAY + timedelta(days=day))
    days = [TODAY + timedelta(days=day) for day in range(3, 10)]
    assert kept(database) == [*(f"conversations-{day.isoformat()}.sqlite3" for day in days), strange.name]


def test_as_many_stay_as_one_wants(store: Store, database: Path) -> None:
    store.create(title="kept")
    for day in range(6):
        backups.back_up(database, TODAY + timedelta(days=day), kept=4)
    assert len(kept(database)) == 4
    made = store.back_up(kept=2)
    assert made is not None
    assert kept(database) == [f"conversations-{(TODAY + timedelta(days=5)).isoformat()}.sqlite3", made.name]
    assert store.back_up(kept=1) is None  # today's is there already
    assert kept(database) == [made.name]


def test_none_is_kept_where_none_is_wanted(store: Store, database: Path) -> None:
    store.create(title="kept")
    assert store.back_up() is not None
    strange = database.parent / "backups" / "conversations-of-mine.sqlite3"
    strange.touch()
    for _ in range(2):
        assert store.back_up(kept=0) is None
        assert kept(database) == [strange.name]


def test_an_empty_store_pushes_no_backup_out(store: Store, database: Path) -> None:
    assert store.back_up() is None
    assert kept(database) == []


@pytest.mark.parametrize(
    "keep",
    [
        lambda store: store.keep_template(Template("a", "b")),
        lambda store: store.keep_preset(Preset("a")),
        lambda store: store.keep_system_prompt(SystemPrompt("a", "b")),
        lambda store: store.keep_draft(None, Draft("a")),
    ],
    ids=["template", "preset", "system prompt", "draft"],
)
def test_what_was_written_before_anything_was_said_is_backed_up_too(
    store: Store, keep: Callable[[Store], None]
) -> None:
    keep(store)
    assert store.back_up()


def test_what_another_backup_left_half_is_tidied_up(store: Store, database: Path) -> None:
    store.create(title="kept")
    folder = database.parent / "backups"
    folder.mkdir()
    (folder / "conversations-2026-11-01.sqlite3.part").write_text("half")
    made = store.back_up()
    assert made is not None
    assert kept(database) == [made.name]


def test_writing_goes_on_while_a_backup_is_made(store: Store, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = store.ask(store.create().id, None, "before")
    reached, go = threading.Event(), threading.Event()
    flaws = backups.opening.flaws

    def held_up(connection: sqlite3.Connection) -> list[str]:
        reached.set()
        assert go.wait(10)
        return flaws(connection)

    monkeypatch.setattr(backups.opening, "flaws", held_up)
    thread = threading.Thread(target=store.back_up)
    thread.start()
    assert reached.wait(10)
    store.ask(asked.conversation, asked.id, "meanwhile")
    assert backups.back_up(database, TODAY) is None  # another is at it
    go.set()
    thread.join()
    assert said(backups._found(database)[0][1]) == ["before"]


def test_a_deleted_conversation_is_in_no_backup(store: Store, database: Path, week: list[int]) -> None:
    assert len(holding(database.parent / "backups")) == 7
    store.delete(store.branch(1)[0].conversation)
    assert holding(database.parent) == []
    assert len(kept(database)) == 7
    assert [said(file) for _, file in backups._found(database)] == [["kept"]] * 7


def test_a_removed_message_goes_from_the_backups_once_it_is_forgotten(
    store: Store, database: Path, week: list[int]
) -> None:
    ask, one, _, _ = week
    store.switch(1, one)
    removed = store.remove_message(one)
    assert len(holding(database.parent / "backups")) == 7
    store.restore(removed)
    store.forget(removed)
    assert len(holding(database.parent / "backups")) == 7
    store.forget(store.remove_message(one))
    assert holding(database.parent) == []
    assert [said(file) for _, file in backups._found(database)] == [["why", "other", "kept"]] * 7
    assert store.branch(1)[0].id == ask


def test_what_a_killed_program_deleted_goes_with_the_next_backup(database: Path, week: list[int]) -> None:
    with Store.open(database) as other:
        other.remove_conversation(1)
        assert len(holding(database.parent / "backups")) == 7
        with Store.open(database) as next_one:
            next_one.back_up()
            assert holding(database.parent) == []


def test_closing_means_it(store: Store, database: Path, week: list[int]) -> None:
    store.remove_message(week[1])
    store.close()
    assert holding(database.parent) == []


def test_another_conversation_of_the_same_number_stays(store: Store, database: Path, week: list[int]) -> None:
    with store._changing() as connection:
        connection.execute("UPDATE conversations SET created = created + 1 WHERE id = 1")
    store.delete(1)
    assert len(holding(database.parent / "backups")) == 7


def test_a_backup_of_the_first_version_is_cleaned_too(first_version: Path) -> None:
    old = first_version.parent / "backups" / "conversations-2026-01-05.sqlite3"
    old.parent.mkdir()
    old.write_bytes(first_version.read_bytes())
    with Store.open(first_version) as store:
        store.forget(store.remove_message(6))
        assert said(old) == ["Why?", "Half"]
        store.delete(3)
        assert said(old) == []


@pytest.mark.usefixtures("week")
def test_a_damaged_backup_goes_with_the_words_it_may_hold(store: Store, database: Path) -> None:
    worst = backups._found(database)[3][1]
    content = worst.read_bytes()
    worst.write_bytes(content[:100] + os.urandom(len(content) - 100))
    store.delete(1)
    assert worst.name not in kept(database)
    assert len(kept(database)) == 6


def test_a_backup_that_cannot_be_cleaned_now_is_cleaned_later(
    store: Store, database: Path, week: list[int], full_disk: Callable[[int], None]
) -> None:
    removed = store.remove_conversation(1)
    full_disk(100)
    with pytest.raises(QuietlyError, match=r"backups/conversations-.* (full|failed)"):
        store.forget(removed)
    full_disk(100_000_000)
    store.back_up()
    assert holding(database.parent) == []


def test_damage_that_nobody_met_is_found_by_the_backup(database: Path) -> None:
    filled(database, 100)
    with Store.open(database) as store:
        old = backups.back_up(database, TODAY)
    content = bytearray(database.read_bytes())
    content[-40960:] = os.urandom(40960)
    database.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.chat.opening.CHECKED", 0)  # as if the file were large
        reason = "is damaged; close every Quietly window and open it again"
        with Store.open(database) as store, pytest.raises(QuietlyError, match=reason):
            store.back_up()
        assert old is not None
        assert kept(database) == [old.name]
        with Store.open(database) as store:
            assert "you see the backup of 5 January 2026" in store.notice
            assert len(store.conversations()) == 100
