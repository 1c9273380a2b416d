"""A file that cannot be used is named in one sentence, and stays exactly as it was."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from app.chat import schema
from app.chat.store import Store
from app.errors import QuietlyError
from tests.app.chat.conftest import filled


def refused(database: Path, reason: str) -> None:
    """Opening says why, naming the file, and leaves every byte alone."""
    before = database.read_bytes()
    with pytest.raises(QuietlyError, match=reason) as caught:
        Store.open(database)
    assert str(database) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert database.read_bytes() == before


def test_a_text_file_is_not_a_conversations_file(database: Path) -> None:
    database.parent.mkdir()
    database.write_text("These are my notes, not a database. " * 50)
    refused(database, "is not a conversations file; it was left as it is")


def test_another_program_s_database_is_not_touched(database: Path) -> None:
    database.parent.mkdir()
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.commit()
    connection.close()
    refused(database, "is another program's database")


def test_a_newer_quietly_s_file_is_refused(database: Path) -> None:
    Store.open(database).close()
    connection = sqlite3.connect(database)
    connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    refused(database, "was written by a newer Quietly; update Quietly")


def test_a_file_held_by_another_program_is_said_to_be(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.chat.opening.PATIENCE", 0.05)
    with Store.open(database) as store:
        conversation = store.create()
        holder = sqlite3.connect(database, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(QuietlyError, match="is held by another program; close that one and try again"):
            store.ask(conversation.id, None, "Hello")
        holder.execute("ROLLBACK")
        holder.close()
        assert store.ask(conversation.id, None, "Hello").content == "Hello"


def test_a_folder_in_the_file_s_place_is_named(database: Path) -> None:
    database.mkdir(parents=True)
    with pytest.raises(QuietlyError, match="is not a file; move it away"):
        Store.open(database)


def test_a_file_in_the_folder_s_place_is_named(database: Path) -> None:
    database.parent.write_text("notes")
    with pytest.raises(QuietlyError, match="cannot be created because a part of its path is a file"):
        Store.open(database)
    assert database.parent.read_text() == "notes"


@pytest.mark.usefixtures("stranger")
def test_a_place_that_belongs_to_someone_else_is_named() -> None:
    with pytest.raises(QuietlyError, match="belong to you and are writable"):
        Store.open(Path("/etc/quietly/conversations.sqlite3"))
    with pytest.raises(QuietlyError, match="belong to you and are writable"):
        Store.open(Path("/etc/conversations.sqlite3"))


def test_a_full_disk_loses_nothing_that_was_stored(database: Path, full_disk: Callable[[int], None]) -> None:
    with Store.open(database) as store:
        conversation = store.create()
        kept = store.ask(conversation.id, None, "kept")
        full_disk(400_000)
        with pytest.raises(QuietlyError, match=r"disk .*full") as caught:
            store.ask(conversation.id, kept.id, "x" * 1_000_000)
        assert str(database) in str(caught.value)
        assert [message.content for message in store.branch(conversation.id)] == ["kept"]
        store.ask(conversation.id, kept.id, "small enough")
    with Store.open(database) as store:
        assert [message.content for message in store.branch(conversation.id)] == ["kept", "small enough"]


def test_a_full_disk_undoes_no_half_of_a_deletion(database: Path, full_disk: Callable[[int], None]) -> None:
    with Store.open(database) as store:
        asked = store.ask(store.create().id, None, "x" * 1_000_000)
        kept = store.branch(asked.conversation)
        removed = store.remove_message(asked.id)
        store.forget(removed)
        full_disk(200_000)
        with pytest.raises(QuietlyError, match=r"disk .*full"):
            store.restore(removed)
        assert store.branch(asked.conversation) == []
        full_disk(100_000_000)
        store.restore(removed)
        assert store.branch(asked.conversation) == kept


def test_a_full_disk_leaves_no_half_of_a_backup(database: Path, full_disk: Callable[[int], None]) -> None:
    filled(database)
    with Store.open(database) as store:
        full_disk(database.stat().st_size // 2)
        with pytest.raises(QuietlyError, match=r"backups/conversations-.*disk .*full"):
            store.back_up()
        assert list((database.parent / "backups").iterdir()) == []
        full_disk(100_000_000)
        made = store.back_up()
        assert made is not None


def test_a_full_disk_before_the_first_word_is_said(database: Path, full_disk: Callable[[int], None]) -> None:
    full_disk(2000)
    with pytest.raises(QuietlyError, match=r"disk .*full"):
        Store.open(database)
    full_disk(100_000_000)  # what pytest writes may go to a file as well


def test_an_empty_file_is_a_new_store(database: Path) -> None:
    database.parent.mkdir()
    database.touch()
    with Store.open(database) as store:
        assert store.conversations() == []


def test_steps_are_applied_in_order_or_not_at_all(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(database)
    steps = (*schema.STEPS, "CREATE TABLE pins (id INTEGER); CREATE TABLE pins (id INTEGER);")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "STEPS", steps)
        patch.setattr(schema, "VERSION", len(steps))
        with pytest.raises(QuietlyError, match="cannot be used"):
            Store.open(database)
    with Store.open(database) as store:
        assert len(store.conversations()) == 50
    steps = (*schema.STEPS, "ALTER TABLE conversations ADD COLUMN colour TEXT;")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "STEPS", steps)
        patch.setattr(schema, "VERSION", len(steps))
        with Store.open(database) as store:
            assert len(store.conversations()) == 50
    refused(database, "was written by a newer Quietly")


def test_anyone_who_opens_the_file_finds_every_column_explained(database: Path) -> None:
    Store.open(database).close()
    connection = sqlite3.connect(database)
    tables = connection.execute("SELECT sql FROM sqlite_master WHERE name IN ('conversations', 'messages')")
    text = "\n".join(sql for (sql,) in tables)
    connection.close()
    for column in ("title", "head", "content", "token_ids", "first_token_seconds", "created", "status"):
        assert any(line.split()[:1] == [column] and "--" in line for line in text.splitlines()), column
