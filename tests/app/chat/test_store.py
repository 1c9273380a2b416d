"""Conversations are kept as they were said, and found again."""

import sqlite3
import stat
import struct
import threading
from pathlib import Path

import pytest

from app.chat.store import Store
from app.errors import QuietlyError
from tests.app.chat.conftest import MARKER, holding


def read(database: Path, query: str) -> list[tuple[object, ...]]:
    """What another program sees in the file at this moment."""
    connection = sqlite3.connect(database)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_a_question_is_on_disk_when_ask_returns(store: Store, database: Path) -> None:
    conversation = store.create()
    asked = store.ask(conversation.id, None, "Why is the sky blue?")
    assert read(database, "SELECT id, role, content, status FROM messages") == [
        (asked.id, "user", "Why is the sky blue?", "complete")
    ]


def test_an_answer_keeps_everything_that_is_known_about_it(store: Store, database: Path) -> None:
    conversation = store.create(system_prompt="Be brief.", model="starter")
    asked = store.ask(conversation.id, None, "Hello")
    begun = store.begin_answer(conversation.id, asked.id, "starter", {"temperature": 0.7, "seed": 3})
    assert (begun.status, begun.content, begun.parent) == ("writing", "", asked.id)
    store.write(begun.id, "Hel", "they greet")
    assert store.branch(conversation.id)[-1].content == "Hel"
    finished = store.finish(
        begun.id,
        "stopped",
        answer="Hello!",
        reasoning="they greet me",
        fingerprint="abc",
        token_ids=(0, 7, 2**32 - 1),
        prompt_tokens=12,
        completion_tokens=3,
        first_token_seconds=0.25,
        decode_seconds=0.5,
        note="stopped by you",
    )
    with Store.open(database) as again:
        kept = again.branch(conversation.id)[-1]
    assert kept == finished
    assert kept.token_ids == (0, 7, 2**32 - 1)
    assert kept.sampling == {"temperature": 0.7, "seed": 3}
    assert (kept.role, kept.status, kept.content, kept.reasoning) == (
        "assistant",
        "stopped",
        "Hello!",
        "they greet me",
    )
    assert (kept.model, kept.fingerprint, kept.note) == ("starter", "abc", "stopped by you")
    assert (kept.prompt_tokens, kept.completion_tokens) == (12, 3)
    assert (kept.first_token_seconds, kept.decode_seconds) == (0.25, 0.5)


def test_token_ids_are_four_bytes_each(store: Store, database: Path) -> None:
    conversation = store.create()
    asked = store.ask(conversation.id, None, "Hello")
    answer = store.begin_answer(conversation.id, asked.id, None)
    store.finish(answer.id, "complete", answer="", token_ids=(1, 151645))
    assert read(database, f"SELECT token_ids FROM messages WHERE id = {answer.id}") == [
        (struct.pack("<II", 1, 151645),)
    ]


def test_an_answer_ends_once(store: Store) -> None:
    conversation = store.create()
    asked = store.ask(conversation.id, None, "Hello")
    answer = store.begin_answer(conversation.id, asked.id, "starter")
    first = store.finish(answer.id, "complete", answer="Hello!", token_ids=(1,))
    store.write(answer.id, "a late timer", "")
    assert store.finish(answer.id, "failed", answer="", note="the engine ended") == first
    assert store.branch(conversation.id)[-1] == first


def test_the_title_is_the_first_line_of_the_first_question(store: Store) -> None:
    conversation = store.create()
    asked = store.ask(conversation.id, None, "\n  Why\x1b is the sky   blue?\nIt puzzles me.")
    store.ask(conversation.id, asked.id, "Another question")
    assert store.conversation(conversation.id).title == "Why is the sky blue?"


def test_a_given_title_stays(store: Store) -> None:
    conversation = store.create(title="Physics")
    store.ask(conversation.id, None, "Why is the sky blue?")
    assert store.conversation(conversation.id).title == "Physics"
    store.rename(conversation.id, "Light")
    assert store.conversation(conversation.id).title == "Light"


def test_the_conversation_spoken_in_last_comes_first(store: Store) -> None:
    first, second, third = (store.create(title=title) for title in "abc")
    assert [found.id for found in store.conversations()] == [third.id, second.id, first.id]
    store.ask(second.id, None, "Hello")
    store.rename(first.id, "renaming is not speaking")
    assert [found.id for found in store.conversations()] == [second.id, third.id, first.id]
    latest = store.latest()
    assert latest is not None
    assert latest.id == second.id


def test_a_new_store_has_no_latest_conversation(store: Store) -> None:
    assert store.latest() is None
    assert store.conversations() == []


def test_a_conversation_knows_the_model_that_answered_last(store: Store) -> None:
    conversation = store.create(model="starter")
    asked = store.ask(conversation.id, None, "Hello")
    store.begin_answer(conversation.id, asked.id, "qwen2.5-7b")
    assert store.conversation(conversation.id).model == "qwen2.5-7b"


def test_a_branch_can_be_left_and_taken_up_again(store: Store) -> None:
    conversation = store.create()
    asked = store.ask(conversation.id, None, "Hello")
    one = store.begin_answer(conversation.id, asked.id, "a")
    other = store.begin_answer(conversation.id, asked.id, "b")
    assert [found.id for found in store.children(asked.id, conversation.id)] == [one.id, other.id]
    assert [found.id for found in store.branch(conversation.id)] == [asked.id, other.id]
    store.move_head(conversation.id, one.id)
    assert [found.id for found in store.branch(conversation.id)] == [asked.id, one.id]
    store.move_head(conversation.id, None)
    assert store.branch(conversation.id) == []
    assert [found.id for found in store.children(None, conversation.id)] == [asked.id]


def test_a_deleted_conversation_takes_its_messages_along(store: Store, database: Path) -> None:
    conversation = store.create()
    other = store.create()
    kept = store.ask(other.id, None, "kept")
    parent = store.ask(conversation.id, None, "gone").id
    for _ in range(1500):  # a cascade along the branch would be deeper than SQLite allows
        parent = store.ask(conversation.id, parent, "gone").id
    store.delete(conversation.id)
    store.delete(conversation.id)
    assert read(database, "SELECT id FROM messages") == [(kept.id,)]
    assert [found.id for found in store.conversations()] == [other.id]


def test_no_word_of_a_deleted_conversation_is_left_in_the_files(store: Store, database: Path) -> None:
    conversation = store.create()
    asked = store.ask(conversation.id, None, f"{MARKER} " * 500)
    answer = store.begin_answer(conversation.id, asked.id, None)
    store.write(answer.id, MARKER, MARKER)
    store.delete(conversation.id)
    assert holding(database.parent) == []


def test_what_is_gone_is_said_in_a_sentence(store: Store) -> None:
    conversation = store.create()
    asked = store.ask(conversation.id, None, "Hello")
    answer = store.begin_answer(conversation.id, asked.id, None)
    store.delete(conversation.id)
    for attempt in (
        lambda: store.conversation(conversation.id),
        lambda: store.ask(conversation.id, None, "more"),
        lambda: store.write(answer.id, "text"),
        lambda: store.finish(answer.id, "complete", answer="text"),
        lambda: store.rename(conversation.id, "title"),
        lambda: store.move_head(conversation.id, None),
    ):
        with pytest.raises(QuietlyError, match=r"perhaps .*deleted in another window"):
            attempt()
    assert store.branch(conversation.id) == []


def test_a_message_of_another_conversation_is_no_parent(store: Store) -> None:
    one, other = store.create(), store.create()
    asked = store.ask(one.id, None, "Hello")
    with pytest.raises(QuietlyError, match="belongs to another conversation"):
        store.ask(other.id, asked.id, "Hello")
    with pytest.raises(QuietlyError, match="belongs to another conversation"):
        store.move_head(other.id, asked.id)
    assert store.branch(other.id) == []


def test_text_comes_back_as_it_was_written(store: Store) -> None:
    conversation = store.create()
    for text in ("\0a\0b", "\r\n\r", "\x1b[31m", "e\u0301 é", "\u202eabc", "", " \n", "😀" * 70_000):
        assert store.ask(conversation.id, None, text).content == text


def test_half_a_surrogate_pair_does_not_stop_a_message(store: Store) -> None:
    conversation = store.create(title="\ud800", system_prompt="\udfff", model="\udc00")
    asked = store.ask(conversation.id, None, "a\ud83d\ude00b\ud800")
    assert asked.content == "a😀b\ufffd"
    answer = store.begin_answer(conversation.id, asked.id, "m\ud800")
    store.write(answer.id, "\ud800", "\ud800")
    assert store.finish(answer.id, "failed", answer="x\ud800", note="\ud800").content == "x\ufffd"


def test_the_program_remembers_between_two_runs(database: Path) -> None:
    with Store.open(database) as store:
        assert store.remembered("model") is None
        store.remember("model", "starter")
        store.remember("model", "qwen2.5-7b")
    with Store.open(database) as store:
        assert store.remembered("model") == "qwen2.5-7b"


def test_files_and_folders_are_the_person_s_alone(store: Store, database: Path) -> None:
    conversation = store.create()
    asked = store.ask(conversation.id, None, "Hello")
    store.begin_answer(conversation.id, asked.id, None)
    files = [database.parent, *database.parent.rglob("*")]
    assert {file.name for file in files} >= {
        "conversations.sqlite3-wal",
        "conversations.sqlite3-shm",
        "writers",
    }
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == (0o700 if file.is_dir() else 0o600), file.name


def test_files_that_others_could_read_are_closed_to_them(store: Store, database: Path) -> None:
    store.create()
    files = [file for file in database.parent.iterdir() if file.is_file()]
    for file in files:
        file.chmod(0o644)
    Store.open(database).close()
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3


def test_the_window_s_list_needs_no_sorting(store: Store, database: Path) -> None:
    (plan,) = read(database, "EXPLAIN QUERY PLAN SELECT * FROM conversations ORDER BY updated DESC, id DESC")
    assert "conversations_newest" in str(plan[-1])


def test_threads_take_turns(store: Store) -> None:
    conversation = store.create()

    def talk() -> None:
        for number in range(20):
            store.ask(conversation.id, None, f"question {number}")

    threads = [threading.Thread(target=talk) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.children(None, conversation.id)) == 80


def test_a_closed_store_says_so(database: Path) -> None:
    store = Store.open(database)
    store.close()
    store.close()
    with pytest.raises(QuietlyError, match="closed"):
        store.conversations()


def test_settings_that_a_hand_has_spoiled_do_not_hide_the_words(store: Store, database: Path) -> None:
    conversation = store.create()
    asked = store.ask(conversation.id, None, "Hello")
    connection = sqlite3.connect(database)
    connection.execute("UPDATE messages SET sampling = '{', content = CAST(x'48ff69' AS TEXT)")
    connection.commit()
    connection.close()
    (found,) = store.branch(conversation.id)
    assert (found.id, found.sampling, found.content) == (asked.id, None, "H\ufffdi")
