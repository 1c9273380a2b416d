"""Titles, pins, drafts, templates and asked prompts are kept, and go where they belong."""

import sqlite3
from pathlib import Path

import pytest

from app.chat.store import Attachment, Draft, Store, Template
from app.errors import QuietlyError

NOTES = Attachment("notes.md", "# Notes\n")


def test_a_model_s_title_replaces_a_first_line_and_nothing_else(store: Store) -> None:
    made = store.create()
    assert store.conversation(made.id).titled_by == "line"
    store.ask(made.id, None, "Why is the sky blue?")
    assert store.rename(made.id, "Blue light", by="model")
    assert (store.conversation(made.id).title, store.conversation(made.id).titled_by) == ("Blue light", "model")
    assert not store.rename(made.id, "Another", by="model")
    assert store.rename(made.id, "Mine")
    assert not store.rename(made.id, "Another", by="model")
    assert (store.conversation(made.id).title, store.conversation(made.id).titled_by) == ("Mine", "person")
    assert not store.rename(store.create(title="Given").id, "Another", by="model")


def test_a_question_that_is_only_attached_gives_the_title(store: Store) -> None:
    made = store.create()
    store.ask(made.id, None, "", [NOTES])
    assert store.conversation(made.id).title == "notes.md"


def test_a_pin_stays_and_does_not_count_as_speaking(store: Store) -> None:
    first, second = store.create(title="first"), store.create(title="second")
    store.pin(first.id, True)
    assert [(one.id, one.pinned) for one in store.conversations()] == [(second.id, False), (first.id, True)]
    store.pin(first.id, False)
    assert not store.conversation(first.id).pinned
    with pytest.raises(QuietlyError, match="is not here"):
        store.pin(99, True)


def test_every_page_has_a_draft_of_its_own(database: Path) -> None:
    with Store.open(database) as store:
        one, other = store.create().id, store.create().id
        kept: dict[int | None, Draft] = {
            None: Draft("a"),
            one: Draft("b\ud800", (NOTES, NOTES)),
            other: Draft("", (NOTES,)),
        }
        for place, draft in kept.items():
            store.keep_draft(place, draft)
            store.keep_draft(place, draft)
    kept[one] = Draft("b\ufffd", (NOTES, NOTES))
    with Store.open(database) as store:
        assert {place: store.draft(place) for place in kept} == kept
        store.keep_draft(one, Draft("changed", (NOTES,)))
        assert store.draft(one) == Draft("changed", (NOTES,))
        for place in kept:
            store.keep_draft(place, Draft())
            assert store.draft(place) == Draft()


def test_a_draft_needs_its_conversation(store: Store) -> None:
    with pytest.raises(QuietlyError, match="is not here"):
        store.keep_draft(7, Draft("text"))
    store.keep_draft(7, Draft())


def test_a_deleted_conversation_leaves_nothing_behind(store: Store, database: Path) -> None:
    made = store.create().id
    store.ask(made, None, "Sum up", [NOTES])
    store.keep_draft(made, Draft("more", (NOTES,)))
    store.delete(made)
    connection = sqlite3.connect(database)
    for table in ("conversations", "messages", "attachments", "drafts", "forgotten"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    connection.close()


def test_a_removed_message_takes_its_attachments_along(store: Store, database: Path) -> None:
    asked = store.ask(store.create().id, None, "Sum up", [NOTES])
    store.remove_message(asked.id)
    connection = sqlite3.connect(database)
    assert connection.execute("SELECT count(*) FROM attachments").fetchone() == (0,)
    connection.close()


def test_asked_prompts_come_newest_first_and_once(store: Store) -> None:
    made = store.create().id
    for text in ("one", "two", " ", "one", "three"):
        store.begin_answer(made, store.ask(made, None, text).id, "m", content="an answer")
    assert store.prompts() == ["three", "one", "two"]
    assert store.prompts(2) == ["three", "one"]
    assert store.prompts(0) == []


def test_templates_are_kept_by_name(store: Store) -> None:
    for template in (Template("sum", "Sum up."), Template("Explain", "Explain."), Template("sum", "Sum up briefly.")):
        store.keep_template(template)
    assert store.templates() == [Template("Explain", "Explain."), Template("sum", "Sum up briefly.")]
    store.remove_template("sum")
    store.remove_template("sum")
    assert store.templates() == [Template("Explain", "Explain.")]
    with pytest.raises(QuietlyError, match="has no name"):
        store.keep_template(Template(" ", "text"))
