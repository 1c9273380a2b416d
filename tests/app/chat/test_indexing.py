"""Text as the index has it, and an index that catches up with what was said, whatever happened to it."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat import indexing
from app.chat.indexing import spaced
from app.chat.search import Search
from app.chat.store import Attachment, Store
from tests.app.chat.conftest import caught_up, found


def waiting(store: Store) -> list[int]:
    return [message for (message,) in store._connection.execute("SELECT message FROM unindexed ORDER BY message")]


def indexed(store: Store) -> list[int]:
    return [message for (message,) in store._connection.execute("SELECT rowid FROM message_index ORDER BY rowid")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("東京で学习", "東 京 で 学 习"),
        ("iPhone東京", "iphone 東 京"),
        ("한국어", "한 국 어"),
        ("ภาษา", "ภ า ษ า"),
        ("Café cafe\u0301 CAFÉ", "cafe cafe cafe"),
        ("Straße ﬁne ① ½", "strasse fine 1 1 2"),
        ("foo_bar x.y state-of-the-art don't C++", "foo bar x y state of the art don t c"),
        ("שָׁלוֹם مَرْحَبًا", "שלום مرحبا"),
        ("soft\u00adhyphen \u202eturned \u200bunseen", "softhyphen turned unseen"),
        ("می\u200cخواهم", "می خواهم"),
    ],
)
def test_words_stand_apart_without_case_and_diacritics(text: str, words: str) -> None:
    assert spaced(text).split() == words.split()


@pytest.mark.parametrize(
    ("one", "other"),
    [("ﾊﾝｶｸ ｶﾞ ﾊﾟ", "ハンカク ガ パ"), ("か\u3099く", "がく"), ("\u1112\u1161\u11ab", "한"), ("👍🏽", "👍"), ("❤️", "❤")],
)
def test_ways_to_write_the_same_are_the_same(one: str, other: str) -> None:
    assert spaced(one).split() == spaced(other).split()


@pytest.mark.parametrize(("one", "other"), [("か", "が"), ("हिन्दी", "हनद"), ("😀", "😁"), ("東", "京")])
def test_what_differs_in_more_than_case_and_diacritics_stays_different(one: str, other: str) -> None:
    assert spaced(one).split() != spaced(other).split()


@given(st.text(st.characters(codec=None, categories=None)))
def test_any_text_becomes_words_that_stay_as_they_are_and_can_be_stored(text: str) -> None:
    words = spaced(text)
    words.encode()
    assert spaced(words).split() == words.split()


def test_a_message_is_found_once_the_index_has_caught_up(store: Store, search: Search) -> None:
    message = store.ask(store.create("t").id, None, "a needle").id
    assert found(search, "needle") == ()
    assert store.catch_up() == 0
    assert [hit.message for hit in found(search, "needle")] == [message]


def test_it_catches_up_in_steps_the_newest_first(store: Store) -> None:
    conversation = store.create().id
    messages = [store.ask(conversation, None, f"number {number}").id for number in range(5)]
    assert store.catch_up(2) == 3
    assert indexed(store) == messages[3:]
    assert store.catch_up(2) == 1
    assert store.catch_up(2) == 0
    assert indexed(store) == messages
    assert waiting(store) == []


def test_long_texts_end_a_step_early(store: Store) -> None:
    conversation = store.create().id
    for _ in range(3):
        store.ask(conversation, None, "long " * (indexing.AT_ONCE // 5))
    assert store.catch_up() == 2


def test_an_answer_is_indexed_when_it_is_finished(store: Store, search: Search) -> None:
    conversation = store.create("t").id
    asked = store.ask(conversation, None, "question")
    answer = store.begin_answer(conversation, asked.id, "starter")
    store.write(answer.id, "half an answer", "with a thought")
    assert store.catch_up() == 0, "nothing can be done about what is being written"
    assert waiting(store) == [answer.id]
    assert found(search, "answer") == ()
    store.finish(answer.id, "stopped", answer="the whole answer", reasoning="with a thought")
    caught_up(store)
    assert [hit.where for hit in found(search, "whole")] == ["content"]
    assert [hit.where for hit in found(search, "thought")] == ["reasoning"]
    assert found(search, "half") == ()


def test_an_answer_that_goes_on_is_found_by_its_new_words(store: Store, search: Search) -> None:
    conversation = store.create("t").id
    asked = store.ask(conversation, None, "question")
    answer = store.begin_answer(conversation, asked.id, "starter")
    store.finish(answer.id, "stopped", answer="begun")
    caught_up(store)
    store.resume(answer.id, "starter")
    store.finish(answer.id, "complete", answer="begun and ended")
    caught_up(store)
    assert [hit.message for hit in found(search, "begun ended")] == [answer.id]


def test_an_edited_answer_is_found_beside_the_first_one(store: Store, search: Search) -> None:
    conversation = store.create("t").id
    asked = store.ask(conversation, None, "question")
    store.finish(store.begin_answer(conversation, asked.id, None).id, "complete", answer="gray whale")
    edited = store.add_answer(conversation, asked.id, "grey whale", None)
    caught_up(store)
    assert len(found(search, "whale")) == 2
    assert [hit.message for hit in found(search, "grey")] == [edited.id]


def test_what_is_deleted_is_not_found_at_once_and_what_is_restored_is_again(store: Store, search: Search) -> None:
    conversation = store.create("t").id
    message = store.ask(conversation, None, "a needle", [Attachment("hay.txt", "a pin")]).id
    caught_up(store)
    for remove, identity in ((store.remove_message, message), (store.remove_conversation, conversation)):
        removed = remove(identity)
        assert found(search, "needle") == ()
        assert indexed(store) == waiting(store) == []
        store.restore(removed)
        caught_up(store)
        assert [hit.message for hit in found(search, "needle")] == [message]
        assert [hit.where for hit in found(search, "pin")] == ["attachments"]


def test_a_message_of_a_megabyte_is_found_at_its_end(store: Store, search: Search) -> None:
    conversation = store.create("t").id
    store.ask(conversation, None, f"{'hay ' * 250_000}needle")
    store.ask(conversation, None, f"{'干草' * 200_000}东京")
    caught_up(store)
    assert found(search, "needle")[0].snippet.endswith("hay needle")
    assert found(search, "东京")[0].snippet.endswith("干草东京")


def test_a_file_of_the_first_version_is_indexed(first_version: Path) -> None:
    search = Search.open(first_version)
    with Store.open(first_version) as store:
        caught_up(store)
        assert [hit.message for hit in found(search, "why")] == [None, 5]
        assert [hit.message for hit in found(search, "half")] == [9]
    search.close()


def test_a_message_that_a_hand_deleted_no_longer_waits(store: Store) -> None:
    store.ask(store.create().id, None, "hello")
    store._connection.execute("INSERT INTO unindexed VALUES (12345)")
    assert store.catch_up() == 0
    assert waiting(store) == []


def test_a_temporary_chat_can_be_indexed_too() -> None:
    with Store.temporary() as store:
        store.ask(store.create().id, None, "hello")
        assert store.catch_up() == 0


def test_the_index_is_whole_after_all_of_this(store: Store) -> None:
    conversation = store.create().id
    for text in ("東京 one", "two 😀", "three"):
        store.ask(conversation, None, text)
    caught_up(store)
    store.remove_message(indexed(store)[1])
    caught_up(store)
    try:
        store._connection.execute("INSERT INTO message_index (message_index) VALUES ('integrity-check')")
    except sqlite3.DatabaseError as error:
        pytest.fail(str(error))
