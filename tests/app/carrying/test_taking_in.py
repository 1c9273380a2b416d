"""Conversations taken into a store: each whole or not at all, none of them twice."""

import stat
from pathlib import Path

import msgspec
import pytest

from app.carrying import export, read, take_in, tale_of
from app.carrying.tale import Tale
from app.chat.records import Attachment, Message
from app.chat.store import Store
from app.errors import QuietlyError
from tests.app.carrying.tales import answer, question, tale

BRANCHED = tale(question("Why?", Attachment("a.txt", "text")), answer("So.", parent=1), answer("So!", parent=1))


def beginning(told: Tale, count: int) -> Tale:
    """The first messages of a conversation."""
    return Tale(msgspec.structs.replace(told.conversation, head=count), told.messages[:count])


def later(told: Tale) -> Tale:
    """The same words at another time."""
    return Tale(msgspec.structs.replace(told.conversation, created=told.conversation.created + 1), told.messages)


def test_a_conversation_that_is_there_is_not_doubled(store: Store) -> None:
    first = take_in(store, [BRANCHED, BRANCHED])
    assert (len(first.added), first.already) == (1, 1)
    assert take_in(store, [BRANCHED, beginning(BRANCHED, 2)]).added == ()
    assert len(store.conversations()) == 1


def test_one_that_went_on_here_is_not_doubled_either(store: Store) -> None:
    (identity,) = take_in(store, [BRANCHED]).added
    store.ask(identity, store.conversation(identity).head, "And then?")
    assert take_in(store, [BRANCHED]).already == 1


@pytest.mark.parametrize(
    "other",
    [
        later(BRANCHED),
        tale(question("Why?", Attachment("a.txt", "text")), answer("So.", parent=1), answer("No.", parent=1)),
        tale(question("Why?", Attachment("a.txt", "other")), answer("So.", parent=1)),
        tale(question("Why?", Attachment("a.txt", "text")), answer("So."), answer("So!")),
        tale(question("Why?", Attachment("a.txt", "text")), answer("So.", "thought", parent=1)),
    ],
)
def test_one_that_says_something_else_or_began_at_another_time_is_another(store: Store, other: Tale) -> None:
    assert len(take_in(store, [BRANCHED, other]).added) == 2


def test_it_is_found_and_goes_on_like_any_other(store: Store) -> None:
    store.ask(store.create().id, None, "here before")
    (identity,) = take_in(store, [BRANCHED]).added
    assert store.conversation(identity).updated == BRANCHED.conversation.updated
    assert [message.content for message in store.branch(identity)] == ["Why?", "So!"]
    first, second = store.siblings(identity)[store.branch(identity)[1].id]
    store.switch(identity, first)
    store.ask(identity, first, "And then?")
    assert [message.content for message in store.branch(identity)] == ["Why?", "So.", "And then?"]
    assert second in [message.id for message in store.whole(identity)]
    removed = store.remove_conversation(identity)
    store.restore(removed)
    assert len(store.whole(identity)) == 4


def test_an_import_that_ends_early_keeps_whole_conversations_and_goes_on_later(store: Store) -> None:
    tales = [beginning(BRANCHED, 1), later(BRANCHED), later(later(BRANCHED))]

    def stop(done: int, total: int) -> None:
        assert total == 3
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        take_in(store, tales, stop)
    assert [len(store.whole(one.id)) for one in store.conversations()] == [3, 1]
    assert take_in(store, tales).already == 2
    assert len(store.conversations()) == 3


def test_what_cannot_be_kept_leaves_nothing_of_its_conversation(store: Store) -> None:
    broken = Tale(
        BRANCHED.conversation, (*BRANCHED.messages[:2], msgspec.structs.replace(BRANCHED.messages[2], role=None))
    )
    with pytest.raises(QuietlyError):
        take_in(store, [broken])
    assert store.conversations() == []
    assert len(take_in(store, [BRANCHED]).added) == 1


def test_the_progress_of_an_import_is_heard(store: Store, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    take_in(store, [BRANCHED, later(BRANCHED)], lambda done, total: heard.append((done, total)))
    assert heard == [(0, 2), (1, 2), (2, 2)]
    heard.clear()
    paths = export(store, [one.id for one in store.conversations()], tmp_path, progress=lambda *far: heard.append(far))
    assert heard == [(0, 2), (1, 2), (2, 2)]
    heard.clear()
    take_in(store, read(paths[0]), lambda done, total: heard.append((done, total)))
    assert heard == [(0, 0), (1, 0)]


def test_an_export_that_is_given_up_leaves_whole_files(store: Store, tmp_path: Path) -> None:
    take_in(store, [BRANCHED, later(BRANCHED)])

    def stop(done: int, total: int) -> None:
        if done == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        export(store, [one.id for one in store.conversations()], tmp_path, "json", "all", stop)
    (written,) = tmp_path.glob("*.json")
    assert list(read(written)) == [later(BRANCHED)]
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert not list(tmp_path.glob(".*"))


def test_a_conversation_that_is_gone_cannot_be_exported(store: Store, tmp_path: Path) -> None:
    with pytest.raises(QuietlyError, match="Conversation 7 is not here"):
        export(store, [7], tmp_path)


def test_a_temporary_chat_can_be_carried_as_well() -> None:
    with Store.temporary() as store:
        (identity,) = take_in(store, [BRANCHED]).added
        assert identity > Store.TEMPORARY
        assert tale_of(store, identity, "all") == BRANCHED


def test_settings_that_nest_as_deep_as_can_be_read_cost_themselves_and_not_the_conversation(store: Store) -> None:
    deep: object = 1
    for _ in range(900):
        deep = [deep]
    (made,) = take_in(store, [tale(question("Why?"), answer("So.", sampling={"deep": deep}))]).added

    def read(stack: int) -> list[Message]:
        return read(stack - 1) if stack else store.whole(made)

    assert [message.content for message in read(200)] == ["Why?", "So."]
