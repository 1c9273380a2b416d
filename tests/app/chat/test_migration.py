"""A file from before is brought up to date, and nothing that stood in it is lost or taken for something else."""

import sqlite3
from pathlib import Path

from app.chat import schema
from app.chat.store import Attachment, Draft, Store


def test_everything_of_a_first_version_file_is_there(first_version: Path) -> None:
    with Store.open(first_version) as store:
        found = store.conversation(3)
        assert (found.title, found.head, found.created, found.updated) == ("Why is the sky blue?", 9, 1.5, 2.5)
        assert (found.pinned, found.system_prompt, found.model) == (False, "Be brief.", "starter")
        question, half = store.branch(3)
        assert (question.content, half.content, half.status) == ("Why?", "Half", "interrupted")
        stopped = store.children(5, 3)[0]
        assert (stopped.reasoning, stopped.note, stopped.token_ids) == ("hm", "by you", (1,))
        assert not any(one.edited or one.attachments for one in (question, half, stopped))
        assert store.siblings(3) == {9: (6, 9)}
        assert store.notice == ""


def test_a_title_from_before_may_be_the_person_s_and_stays(first_version: Path) -> None:
    with Store.open(first_version) as store:
        assert not store.rename(3, "A model's title", by="model")
        store.ask(4, None, "Is it?")
        assert store.rename(4, "A model's title", by="model")


def test_what_is_new_works_in_it(first_version: Path) -> None:
    notes = Attachment("notes.md", "# Notes")
    with Store.open(first_version) as store:
        asked = store.ask(3, 6, "Sum up", [notes])
        store.keep_draft(3, Draft("more", (notes,)))
        store.pin(3, True)
        removed = store.remove_conversation(3)
        store.restore(removed)
        assert store.branch(3)[-1] == asked
        assert store.draft(3) == Draft("more", (notes,))
    with Store.open(first_version) as store:
        assert asked.id == 10
        assert store.conversation(3).pinned


def test_it_ends_up_like_a_file_that_is_new(first_version: Path, tmp_path: Path) -> None:
    new = tmp_path / "new" / "conversations.sqlite3"
    found = []
    for path in (first_version, new):
        Store.open(path).close()
        connection = sqlite3.connect(path)
        found.append(connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall())
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()
    assert found[0] == found[1]
