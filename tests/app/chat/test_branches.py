"""A conversation's branches: switched, continued, changed by hand, taken away and put back."""

from pathlib import Path

import pytest

from app.chat import tree
from app.chat.store import Attachment, Message, Store
from app.errors import QuietlyError


def answered(store: Store, parent: Message, text: str) -> Message:
    """A finished answer to `parent`."""
    begun = store.begin_answer(parent.conversation, parent.id, "starter")
    return store.finish(begun.id, "complete", answer=text, token_ids=(1, 2), fingerprint="abc")


def asked(store: Store, text: str = "Why is the sky blue?") -> Message:
    """The first question of a new conversation."""
    return store.ask(store.create().id, None, text)


def words(store: Store, message: Message) -> list[str]:
    """The texts of the branch in use."""
    return [one.content for one in store.branch(message.conversation)]


def test_a_switch_goes_to_the_newest_end_below(store: Store) -> None:
    question = asked(store, "why")
    first = answered(store, question, "one")
    more = store.ask(question.conversation, first.id, "and then")
    answered(store, more, "older")
    answered(store, more, "newer")
    second = answered(store, question, "two")
    assert words(store, question) == ["why", "two"]
    assert store.siblings(question.conversation) == {second.id: (first.id, second.id)}
    store.switch(question.conversation, first.id)
    assert words(store, question) == ["why", "one", "and then", "newer"]


def test_the_first_question_has_siblings_too(store: Store) -> None:
    question = asked(store)
    again = store.ask(question.conversation, None, "Why is the sky dark?")
    assert store.siblings(question.conversation) == {again.id: (question.id, again.id)}
    store.switch(question.conversation, question.id)
    assert store.siblings(question.conversation) == {question.id: (question.id, again.id)}


def test_a_message_of_another_conversation_is_not_switched_to(store: Store) -> None:
    one, other = asked(store), asked(store)
    with pytest.raises(QuietlyError, match="belongs to another conversation"):
        store.switch(one.conversation, other.id)


def test_siblings_of_ten_thousand_messages_are_found_by_their_indexes(store: Store) -> None:
    question = asked(store)
    with store._reading() as connection:
        plan = connection.execute("EXPLAIN QUERY PLAN " + tree._SIBLINGS, (question.conversation, None)).fetchall()
    assert not [step for *_, step in plan if step.startswith("SCAN messages") or step == "SCAN conversations"]


@pytest.mark.parametrize(("removed", "left"), [(0, "two"), (1, "one"), (2, "two")])
def test_a_removed_answer_gives_way_to_the_nearest_one(store: Store, removed: int, left: str) -> None:
    question = asked(store, "why")
    answers = [answered(store, question, text) for text in ("one", "two", "three")]
    store.switch(question.conversation, answers[removed].id)
    store.remove_message(answers[removed].id)
    assert words(store, question) == ["why", left]


def test_without_a_sibling_the_branch_ends_before_what_was_removed(store: Store) -> None:
    question = asked(store, "why")
    answer = answered(store, question, "because")
    store.remove_message(answer.id)
    assert words(store, question) == ["why"]
    store.remove_message(question.id)
    assert store.conversation(question.conversation).head is None


def test_a_branch_not_in_use_can_go_without_notice(store: Store) -> None:
    question = asked(store, "why")
    other = answered(store, question, "one")
    answered(store, question, "two")
    store.remove_message(other.id)
    assert words(store, question) == ["why", "two"]


def test_an_undone_deletion_brings_back_all_of_it(store: Store) -> None:
    question = store.ask(store.create().id, None, "Sum up", [Attachment("notes.md", "# Notes"), Attachment("b", "")])
    answer = answered(store, question, "because")
    store.keep_draft(question.conversation, draft := store.draft(None))
    before = store.conversation(question.conversation), store.branch(question.conversation)
    for remove, identity in ((store.remove_message, question.id), (store.remove_conversation, question.conversation)):
        removed = remove(identity)
        store.restore(removed)
        assert (store.conversation(question.conversation), store.branch(question.conversation)) == before
    assert before[1][0].attachments == (Attachment("notes.md", "# Notes"), Attachment("b", ""))
    assert store.draft(question.conversation) == draft
    assert answered(store, question, "again").id > answer.id


def test_a_deletion_is_undone_only_where_its_place_is(store: Store) -> None:
    question = asked(store)
    answer = answered(store, question, "because")
    removed = store.remove_message(answer.id)
    store.remove_message(question.id)
    with pytest.raises(QuietlyError, match="The message is gone"):
        store.restore(removed)
    store.delete(question.conversation)
    with pytest.raises(QuietlyError, match=f"Conversation {question.conversation} is not here"):
        store.restore(removed)


def test_an_answer_being_written_is_not_removed(store: Store) -> None:
    question = asked(store)
    begun = store.begin_answer(question.conversation, question.id, "starter")
    for message in (question, begun):
        with pytest.raises(QuietlyError, match="still being written below"):
            store.remove_message(message.id)
    removed = store.remove_conversation(question.conversation)
    store.restore(removed)
    assert [one.status for one in store.branch(question.conversation)] == ["complete", "interrupted"]


def test_an_answer_may_begin_with_words_that_are_there_already(store: Store) -> None:
    question = asked(store)
    begun = store.begin_answer(
        question.conversation,
        question.id,
        "starter",
        content="Because",
        reasoning="think",
        token_ids=[5, 6],
        fingerprint="abc",
    )
    assert (begun.status, begun.content, begun.reasoning) == ("writing", "Because", "think")
    assert (begun.token_ids, begun.fingerprint) == ((5, 6), "abc")


def test_tokens_stay_only_with_their_words(store: Store) -> None:
    question = asked(store)
    unchanged, longer = (
        store.begin_answer(question.conversation, question.id, "m", content="Be", token_ids=[5], fingerprint="abc")
        for _ in range(2)
    )
    store.write(unchanged.id, "Be")
    assert store.finish(unchanged.id, "failed", answer="Be").token_ids == (5,)
    store.write(longer.id, "Because")
    assert store.finish(longer.id, "stopped", answer="Because").token_ids is None


def test_a_stopped_answer_goes_on_where_it_stopped(store: Store, database: Path) -> None:
    question = asked(store)
    begun = store.begin_answer(question.conversation, question.id, "starter", {"temperature": 1})
    stopped = store.finish(begun.id, "stopped", answer="Bec", token_ids=(7,), prompt_tokens=12, note="stopped by you")
    other = answered(store, question, "another")
    resumed = store.resume(stopped.id, "qwen")
    assert (resumed.status, resumed.content, resumed.note, resumed.model) == ("writing", "Bec", "", "qwen")
    assert (resumed.token_ids, resumed.sampling) == ((7,), {"temperature": 1})
    assert store.conversation(question.conversation).head == stopped.id
    with Store.open(database) as window:
        assert window.branch(question.conversation)[-1].status == "writing"
    ended = store.finish(stopped.id, "complete", answer="Because", completion_tokens=3, token_ids=(7, 8))
    assert (ended.content, ended.prompt_tokens, ended.token_ids) == ("Because", 12, (7, 8))
    assert store.resume(other.id, None, {"temperature": 0}).sampling == {"temperature": 0}


def test_only_an_answer_at_an_end_goes_on(store: Store) -> None:
    question = asked(store)
    answer = answered(store, question, "because")
    store.ask(question.conversation, answer.id, "and?")
    writing = store.begin_answer(question.conversation, question.id, "m")
    for message, reason in ((question, "is a question"), (answer, "something after it"), (writing, "written already")):
        with pytest.raises(QuietlyError, match=reason):
            store.resume(message.id, "m")


def test_a_killed_window_s_continued_answer_is_interrupted(database: Path) -> None:
    with Store.open(database) as store:
        question = asked(store)
        answer = answered(store, question, "because")
        store.resume(answer.id, "m")
    with Store.open(database) as store:
        kept = store.branch(question.conversation)[-1]
        assert (kept.status, kept.content, kept.token_ids) == ("interrupted", "because", (1, 2))


def test_an_answer_changed_by_hand_is_one_beside_the_old_one(store: Store) -> None:
    question = asked(store)
    old = answered(store, question, "because")
    new = store.add_answer(question.conversation, question.id, "because of light", "starter", reasoning="hm")
    assert (new.status, new.edited, new.token_ids, new.reasoning) == ("complete", True, None, "hm")
    assert store.siblings(question.conversation) == {new.id: (old.id, new.id)}
    assert not old.edited
    assert store.resume(new.id, "m").edited
