"""Conversations in which nothing was said for long go by themselves, where a person wants that."""

from pathlib import Path

import pytest

from app.chat.store import Store
from tests.app.chat.conftest import MARKER, holding

DAY = 86400.0


def aged(store: Store, days: float, content: str = MARKER) -> int:
    """A conversation in which something was last said so many days ago."""
    conversation = store.ask(store.create().id, None, content).conversation
    with store._changing() as connection:
        connection.execute("UPDATE conversations SET updated = updated - ? WHERE id = ?", (days * DAY, conversation))
    return conversation


def test_what_is_older_goes_from_everywhere(store: Store, database: Path) -> None:
    aged(store, 31)
    aged(store, 400)
    kept = aged(store, 29, "kept")
    store.back_up()
    while store.catch_up():
        pass
    assert store.expire(30) == 2
    assert [one.id for one in store.conversations()] == [kept]
    assert holding(database.parent) == []
    assert store._unforgotten() == []
    assert store.expire(30) == 0


def test_pinned_ones_stay_and_those_being_written_in(store: Store) -> None:
    pinned, written = aged(store, 100), aged(store, 100)
    store.pin(pinned, True)
    answer = store.begin_answer(written, store.branch(written)[0].id, "m")
    assert store.expire(30) == 0
    store.finish(answer.id, "complete", answer="late")
    assert store.expire(30) == 0  # something was said just now


def test_one_that_is_used_meanwhile_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    old, older = aged(store, 100), aged(store, 200)
    monkeypatch.setattr(store, "_make_final", lambda entries: None)
    with Store.open(store.path) as other:
        assert store.expire(150) == 1
        other.ask(old, other.branch(old)[-1].id, "still here")
    assert store.expire(50) == 0
    assert [one.id for one in store.conversations()] == [old]
    assert older not in [one.id for one in store.conversations()]


def test_no_days_keep_everything(store: Store) -> None:
    aged(store, 10_000)
    assert store.expire(0) == 0
    assert len(store.conversations()) == 1


def test_a_temporary_store_forgets_too() -> None:
    with Store.temporary() as store:
        aged(store, 31)
        assert store.expire(30) == 1
        assert store.conversations() == []


def test_many_are_looked_up_at_once(store: Store) -> None:
    for _ in range(20):
        aged(store, 31)
    asked: list[str] = []
    store._connection.set_trace_callback(asked.append)
    assert store.expire(30) == 20
    assert len([query for query in asked if query.startswith("SELECT") and "FROM forgotten" in query]) <= 2
