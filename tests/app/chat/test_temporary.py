"""A temporary chat is a store like any other, and never touches the disk."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.chat.store import Attachment, Draft, Store, Template
from app.errors import QuietlyError


def test_a_temporary_store_does_everything_without_one_byte_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_disk: Callable[[int], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    full_disk(0)
    with Store.temporary() as store:
        made = store.create()
        asked = store.ask(made.id, None, "x" * 3_000_000, [Attachment("notes.md", "y" * 3_000_000)])
        begun = store.begin_answer(made.id, asked.id, "starter")
        store.write(begun.id, "so far")
        store.finish(begun.id, "stopped", answer="so far")
        store.resume(begun.id, "starter")
        store.finish(begun.id, "complete", answer="so far and further")
        store.add_answer(made.id, asked.id, "by hand", "starter")
        store.switch(made.id, begun.id)
        for number in range(2000):
            store.keep_template(Template(f"{number} {'z' * 1000}", "text"))
        assert len(store.templates()) == 2000
        store.keep_draft(made.id, Draft("typed"))
        before = store.branch(made.id)
        removed = store.remove_message(asked.id)
        store.restore(removed)
        assert store.branch(made.id) == before
        removed = store.remove_conversation(made.id)
        assert store.back_up() is None
        store.forget(removed)
        store.restore(removed)
        assert store.branch(made.id) == before
        store.delete(made.id)
        assert store.conversations() == []
        assert store.notice == ""
    assert list(tmp_path.iterdir()) == []


def test_its_numbers_are_no_numbers_of_the_disk(store: Store) -> None:
    with Store.temporary() as temporary:
        for one in (temporary, store):
            made = one.create()
            asked = one.ask(made.id, None, "Hello")
            assert (made.id > Store.TEMPORARY, asked.id > Store.TEMPORARY) == (one is temporary,) * 2


def test_two_temporary_chats_know_nothing_of_each_other() -> None:
    with Store.temporary() as one, Store.temporary() as other:
        one.create(title="mine")
        assert other.conversations() == []


def test_a_closed_temporary_chat_says_so() -> None:
    store = Store.temporary()
    store.close()
    with pytest.raises(QuietlyError, match="The temporary chat cannot be used"):
        store.conversations()
