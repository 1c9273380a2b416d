"""The file a search reads: it may be missing, old, new, locked, damaged or gone, and nobody waits for a search."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.chat import schema
from app.chat.search import Found, Query, Search
from app.chat.store import Draft, Store
from app.errors import QuietlyError
from tests.app.chat.conftest import caught_up, found

NEEDLE = Query(words=("needle",))


@contextlib.contextmanager
def slow_texts(search: Search) -> Iterator[tuple[threading.Event, threading.Event]]:
    """While this runs a find stops at the first text that it reads, says so, and goes on when told."""
    search.find(NEEDLE)
    assert search._connection is not None
    reached, go_on = threading.Event(), threading.Event()

    def read(stored: bytes) -> str:
        reached.set()
        assert go_on.wait(10)
        return stored.decode()

    search._connection.text_factory = read
    yield reached, go_on
    go_on.set()


@pytest.fixture
def needle(store: Store) -> Store:
    """A store in which something can be found."""
    store.ask(store.create("t").id, None, "a needle")
    caught_up(store)
    return store


def test_a_file_that_is_not_there_yet_is_found_once_it_is(database: Path) -> None:
    search = Search.open(database)
    assert search.find(NEEDLE) == Found()
    assert not database.parent.exists(), "looking makes nothing"
    with Store.open(database) as store:
        store.ask(store.create("t").id, None, "a needle")
        caught_up(store)
        assert len(found(search, "needle")) == 1
        search.close()


def test_an_older_file_has_nothing_until_it_is_brought_up_to_date(first_version: Path) -> None:
    search = Search.open(first_version)
    assert search.find(Query(words=("why",))) == Found()
    with Store.open(first_version) as store:
        caught_up(store)
        assert len(search.find(Query(words=("why",))).hits) == 2
    search.close()


def test_a_file_from_the_future_or_of_another_program_has_nothing(needle: Store, search: Search) -> None:
    for pragma, ours in (("user_version", schema.VERSION), ("application_id", schema.APPLICATION_ID)):
        needle._connection.execute(f"PRAGMA {pragma} = {ours + 1}")
        assert search.find(NEEDLE) == Found()
        needle._connection.execute(f"PRAGMA {pragma} = {ours}")
        assert len(search.find(NEEDLE).hits) == 1


def test_an_empty_file_has_nothing(database: Path, search: Search) -> None:
    database.parent.mkdir()
    database.touch()
    assert search.find(NEEDLE) == Found()


def test_what_is_no_database_is_said(database: Path, search: Search) -> None:
    database.parent.mkdir()
    database.write_text("not a database " * 100)
    with pytest.raises(QuietlyError, match="not a conversations file"):
        search.find(NEEDLE)


def test_a_file_that_took_the_place_of_another_is_the_one_that_is_read(database: Path, search: Search) -> None:
    for word in ("first", "second"):
        with Store.open(database) as store:
            store.ask(store.create("t").id, None, word)
            caught_up(store)
            assert [hit.snippet for hit in found(search, "first")] == ["first"] * (word == "first")
        database.rename(database.with_name(word))
        assert found(search, "first") == ()


def test_a_damaged_letter_costs_itself(needle: Store, search: Search) -> None:
    needle._connection.execute("UPDATE messages SET content = CAST(x'ff' || ' needle' AS TEXT)")
    needle._connection.execute("UPDATE conversations SET title = CAST(x'ff' || ' needle' AS TEXT)")
    assert [hit.snippet for hit in found(search, "needle")] == ["\ufffd needle"] * 2


def test_a_damaged_index_is_said(needle: Store, search: Search) -> None:
    needle._connection.execute("UPDATE message_index_data SET block = x'00ff00ff' WHERE id > 10")
    with pytest.raises(QuietlyError, match="is damaged"):
        search.find(NEEDLE)


def test_a_search_neither_waits_for_a_writer_nor_holds_one_up(needle: Store, search: Search) -> None:
    with needle._changing() as connection:
        connection.execute("UPDATE conversations SET title = 'needle'")
        assert [hit.where for hit in search.find(NEEDLE).hits] == ["content"], "the state before"
    with ThreadPoolExecutor() as threads, slow_texts(search) as (reached, go_on):
        finding = threads.submit(search.find, NEEDLE)
        assert reached.wait(10)
        needle.keep_draft(None, Draft("typed meanwhile"))
        go_on.set()
        assert len(finding.result(10).hits) == 2


def test_a_search_that_is_given_up_finds_nothing_and_the_next_one_does(needle: Store, search: Search) -> None:
    with ThreadPoolExecutor() as threads, slow_texts(search) as (reached, go_on):
        finding = threads.submit(search.find, NEEDLE)
        assert reached.wait(10)
        search.interrupt()
        go_on.set()
        assert finding.result(10) == Found()
    assert len(search.find(NEEDLE).hits) == 1


def test_giving_up_needs_nothing_to_be_running(needle: Store, search: Search) -> None:
    search.interrupt()
    assert len(search.find(NEEDLE).hits) == 1
    search.close()
    search.interrupt()
    search.close()


def test_a_search_changes_nothing(needle: Store, search: Search, database: Path) -> None:
    search.find(NEEDLE)
    assert search._connection is not None
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        search._connection.execute("DELETE FROM messages")


def test_whoever_closes_last_puts_the_log_away(database: Path, search: Search) -> None:
    with Store.open(database) as store:
        store.ask(store.create("t").id, None, "a needle")
        caught_up(store)
        search.find(NEEDLE)
    search.close()
    assert [file.name for file in database.parent.iterdir() if file.is_file()] == [database.name]
