"""What is forgotten stands nowhere any more: not in the file, its unused parts, its index, its log, nor in a backup."""

import random
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import pytest

from app.chat import backups, cleaning
from app.chat.records import Removed
from app.chat.store import Attachment, Draft, Store, Template
from app.errors import QuietlyError
from tests.app.chat.conftest import holding

WORD = "zqxjkvbz"
"""A word that shares its beginning with no other: an index keeps of a word only what the one before has not."""
TRACE = "xjkvbz"
LAST_WEEK = date(2026, 1, 5)


def talk(store: Store, conversations: int = 20, words: Sequence[str] = (WORD,), seed: int = 0) -> list[list[int]]:
    """Conversations in each of the words, side by side and of all lengths, their answers written bit by bit: as they
    lie on disk after months. The ids, by word."""
    rng = random.Random(seed)
    store._connection.execute("PRAGMA synchronous = OFF")  # thousands of changes
    made = [[store.create(title=word).id for _ in range(conversations)] for word in words]
    for _ in range(conversations * 8):
        for word, ids in zip(words, made, strict=True):
            conversation = rng.choice(ids)
            attached = [Attachment(word, f"{word} " * rng.choice((5, 500)))] if rng.random() < 0.1 else []
            head = store.conversation(conversation).head
            asked = store.ask(conversation, head, f"{word} " * rng.choice((1, 5, 20, 100)), attached)
            answer, length = store.begin_answer(conversation, asked.id, "m"), 0
            for _ in range(3):
                length += rng.choice((3, 30, 200))
                store.write(answer.id, f"{word} " * length, reasoning=word)
            store.finish(answer.id, "complete", answer=f"{word} " * length, reasoning=word)
            store.keep_draft(conversation, Draft(f"{word} " * rng.randint(1, 99)))
    return made


def caught_up(store: Store) -> None:
    while store.catch_up():
        pass


def indexed(database: Path) -> set[str]:
    """The words in the full-text index, those of deleted messages too where they are not merged away."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab (main, message_index, 'row')")
        return {word for (word,) in connection.execute("SELECT term FROM words")}


def said(files: Sequence[Path]) -> list[int]:
    """How many messages stand in each of the databases."""
    found = []
    for file in files:
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            found += connection.execute("SELECT count(*) FROM messages").fetchone()
    return found


@pytest.mark.parametrize("seed", range(3))
def test_no_trace_of_what_was_forgotten_is_left(store: Store, database: Path, seed: int) -> None:
    gone, kept = talk(store, 40, (WORD, "kept"), seed)
    caught_up(store)
    for day in range(2):
        backups.back_up(database, LAST_WEEK - timedelta(days=day))
    for conversation in random.Random(seed).sample(gone, len(gone)):
        store.remove_conversation(conversation)
    assert len(holding(database.parent / "backups", TRACE)) == 2
    assert sorted(one.id for one in store.conversations()) == kept
    store.close()  # and so they are forgotten
    assert holding(database.parent, TRACE) == []
    assert indexed(database) == {"kept"}
    here, *others = said([database, *(file for _, file in backups._found(database))])
    assert here and others == [here, here]


def test_the_room_is_given_back(store: Store, database: Path) -> None:
    kept = store.ask(store.create().id, None, "kept")
    gone = store.create().id
    store.ask(gone, None, "long " * 500_000)
    caught_up(store)
    store.back_up()
    store.delete(gone)
    files = (database, database.with_name(f"{database.name}-wal"), backups._found(database)[0][1])
    assert max(file.stat().st_size for file in files) < 300_000
    assert store.branch(kept.conversation) == [kept]


def test_of_a_large_file_the_words_go_at_once_and_the_room_with_the_next_backup(
    store: Store, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "BRIEF", 0)
    gone = store.create().id
    store.ask(gone, None, f"{WORD} " * 50_000)
    caught_up(store)
    store.delete(gone)
    assert holding(database.parent, TRACE) == []
    assert WORD not in indexed(database)
    assert store._unforgotten()
    size = database.stat().st_size
    store.back_up()
    assert database.stat().st_size < size / 2
    assert store._unforgotten() == []


def test_many_at_once_cost_one(store: Store, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removed = [store.remove_conversation(one) for one in talk(store, 10)[0]]
    reached, go = threading.Event(), threading.Event()
    rounds: list[int] = []
    forget = backups.forget

    def held_up(path: Path, entries: Sequence[backups.Entry], *, wait: bool, vacuum: bool) -> bool:
        rounds.append(len(entries))
        reached.set()
        assert go.wait(10)
        return forget(path, entries, wait=wait, vacuum=vacuum)

    monkeypatch.setattr(backups, "forget", held_up)
    first = threading.Thread(target=store.forget, args=removed[:1])
    first.start()
    assert reached.wait(10)
    for one in removed[1:]:
        store.forget(one)  # the first does it for them
    go.set()
    first.join()
    assert rounds == [1, 9]
    assert store._unforgotten() == []
    assert holding(database.parent, TRACE) == []


def test_writing_goes_on_meanwhile(store: Store, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long goes through another connection, and whoever asks or writes waits for no lock of this one."""
    ((gone,),) = talk(store, 1)
    caught_up(store)
    removed = store.remove_conversation(gone)
    reached, go = threading.Event(), threading.Event()
    merge = cleaning._merge_index

    def held_up(connection: sqlite3.Connection) -> None:
        merge(connection)
        reached.set()
        assert go.wait(10)

    monkeypatch.setattr(cleaning, "_merge_index", held_up)
    thread = threading.Thread(target=store.forget, args=[removed])
    thread.start()
    assert reached.wait(10)
    asked = store.ask(store.create().id, None, "meanwhile")
    go.set()
    thread.join()
    assert store.branch(asked.conversation) == [asked]
    assert holding(database.parent, TRACE) == []


def test_a_reader_in_the_way_puts_it_off(store: Store, database: Path) -> None:
    gone: Removed = store.remove_conversation(talk(store, 1)[0][0])
    with closing(sqlite3.connect(database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM messages").fetchone()
        store.forget(gone)
        assert store._unforgotten()
    store.back_up()
    assert store._unforgotten() == []
    assert holding(database.parent, TRACE) == []


def test_a_full_disk_puts_it_off(store: Store, database: Path, full_disk) -> None:
    gone = store.remove_conversation(talk(store)[0][0])
    full_disk(database.stat().st_size // 2)
    with pytest.raises(QuietlyError, match=r"conversations.sqlite3 .* (full|failed)"):
        store.forget(gone)
    full_disk(100_000_000)
    store.forget(gone)
    assert store._unforgotten() == []


def test_backups_hold_no_index_and_it_is_made_again(store: Store, database: Path) -> None:
    asked = store.ask(store.create().id, None, "findable")
    caught_up(store)
    made = store.back_up()
    assert made is not None and indexed(made) == set()
    store.close()
    for file in (database, made):
        assert b"findable" in file.read_bytes()
    database.write_bytes(b"\0" * 8192)
    with Store.open(database) as again:
        assert "backup" in again.notice
        caught_up(again)
        assert again.branch(asked.conversation) == [asked]
    assert indexed(database) == {"findable"}


def test_a_backup_that_still_has_an_index_loses_it(store: Store, database: Path) -> None:
    gone = store.create().id
    store.ask(gone, None, WORD)
    caught_up(store)
    old = backups.back_up(database, LAST_WEEK)
    assert old is not None
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("INSERT INTO message_index (rowid, content) SELECT id, content FROM messages")
        connection.commit()
    store.delete(gone)
    assert indexed(old) == set()
    assert holding(database.parent, TRACE) == []


def test_a_backup_made_before_it_was_forgotten_has_no_word_of_it_either(store: Store, database: Path) -> None:
    gone = store.ask(store.create().id, None, f"{WORD} " * 100).conversation
    caught_up(store)
    store.keep_template(Template("kept", "kept"))
    removed = store.remove_conversation(gone)  # the last message in the index: only its segments have the word now
    backups.back_up(database, LAST_WEEK)
    store.forget(removed)
    assert holding(database.parent, TRACE) == []
