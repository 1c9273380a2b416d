"""Two windows on the same conversations: a living one's answer is left alone, a dead one's is found."""

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

from app.chat import backups, lease
from app.chat.store import Store
from tests.app.chat.conftest import go_on, holding, line

Start = Callable[..., subprocess.Popen[str]]

BEGIN_AN_ANSWER = """
import sys
from pathlib import Path
from app.chat.store import Store
store = Store.open(Path(sys.argv[1]))
conversation = store.create()
asked = store.ask(conversation.id, None, "Hello")
answer = store.begin_answer(conversation.id, asked.id, "starter")
store.write(answer.id, "as far as it came", "a thought")
print(conversation.id, answer.id, flush=True)
sys.stdin.readline()
store.finish(answer.id, "complete", answer="the whole answer")
store.close()
"""

ASK_MANY = """
import sys
from pathlib import Path
from app.chat.store import Store
print("ready", flush=True)
sys.stdin.readline()
with Store.open(Path(sys.argv[1])) as store:
    conversation = store.create()
    parent = None
    for number in range(int(sys.argv[2])):
        asked = store.ask(conversation.id, parent, f"question {number}")
        answer = store.begin_answer(conversation.id, asked.id, "starter")
        store.write(answer.id, f"answer {number}", "")
        parent = store.finish(answer.id, "complete", answer=f"answer {number}").id
"""


def test_a_killed_window_s_answer_is_interrupted_and_keeps_what_had_come(database: Path, start: Start) -> None:
    writer = start(BEGIN_AN_ANSWER, database)
    conversation, _ = map(int, line(writer).split())
    writer.kill()
    writer.wait()
    with Store.open(database) as store:
        answer = store.branch(conversation)[-1]
        assert (answer.status, answer.content, answer.reasoning) == (
            "interrupted",
            "as far as it came",
            "a thought",
        )
    assert lease.names(database.parent / "writers") == set()


def test_a_living_window_s_answer_is_left_alone_and_ends_as_it_should(database: Path, start: Start) -> None:
    writer = start(BEGIN_AN_ANSWER, database)
    conversation, _ = map(int, line(writer).split())
    with Store.open(database) as store:
        assert store.branch(conversation)[-1].status == "writing"
        go_on(writer)
        assert writer.wait() == 0
        answer = store.branch(conversation)[-1]
        assert (answer.status, answer.content) == ("complete", "the whole answer")


def test_the_dead_and_the_living_are_told_apart_in_one_file(database: Path, start: Start) -> None:
    dead, living = start(BEGIN_AN_ANSWER, database), start(BEGIN_AN_ANSWER, database)
    dead_one, living_one = int(line(dead).split()[0]), int(line(living).split()[0])
    dead.kill()
    dead.wait()
    with Store.open(database) as store:
        assert store.branch(dead_one)[-1].status == "interrupted"
        assert store.branch(living_one)[-1].status == "writing"
        assert len(lease.names(database.parent / "writers")) == 1


def test_one_lease_serves_all_answers_of_a_window(database: Path, store: Store) -> None:
    conversation = store.create()
    asked = store.ask(conversation.id, None, "Hello")
    for _ in range(3):
        store.begin_answer(conversation.id, asked.id, "starter")
    assert len(lease.names(database.parent / "writers")) == 1


def test_two_stores_of_one_process_are_two_writers(database: Path) -> None:
    with Store.open(database) as first:
        conversation = first.create()
        asked = first.ask(conversation.id, None, "Hello")
        first.begin_answer(conversation.id, asked.id, "starter")
        with Store.open(database) as second:
            assert second.branch(conversation.id)[-1].status == "writing"


def test_a_window_that_was_taken_for_dead_still_has_the_last_word(database: Path, store: Store) -> None:
    conversation = store.create()
    asked = store.ask(conversation.id, None, "Hello")
    answer = store.begin_answer(conversation.id, asked.id, "starter")
    for file in (database.parent / "writers").iterdir():
        file.unlink()  # someone tidied up
    with Store.open(database) as other:
        assert other.branch(conversation.id)[-1].status == "interrupted"
    assert store.finish(answer.id, "complete", answer="Hello!").status == "complete"


def test_closing_in_the_middle_of_an_answer_marks_it(database: Path) -> None:
    with Store.open(database) as store:
        conversation = store.create()
        asked = store.ask(conversation.id, None, "Hello")
        answer = store.begin_answer(conversation.id, asked.id, "starter")
        store.write(answer.id, "so far")
    with Store.open(database) as store:
        answer = store.branch(conversation.id)[-1]
        assert (answer.status, answer.content) == ("interrupted", "so far")


def test_a_writer_s_name_from_the_file_reaches_no_other_file(database: Path, store: Store) -> None:
    conversation = store.create()
    asked = store.ask(conversation.id, None, "Hello")
    store.begin_answer(conversation.id, asked.id, "starter")
    precious = database.parent / "precious.lock"
    precious.touch()
    with store._changing() as connection:
        connection.execute("UPDATE messages SET writer = '../precious.lock' WHERE status = 'writing'")
    with Store.open(database) as other:
        assert other.branch(conversation.id)[-1].status == "interrupted"
    assert precious.exists()


def test_windows_that_open_a_new_file_at_once_and_write_at_once_lose_nothing(database: Path, start: Start) -> None:
    writers = [start(ASK_MANY, database, 40) for _ in range(4)]
    for writer in writers:
        assert line(writer) == "ready\n"
    for writer in writers:
        go_on(writer)
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    with Store.open(database) as store:
        conversations = store.conversations()
        assert len(conversations) == 4
        for conversation in conversations:
            assert [message.content for message in store.branch(conversation.id)] == [
                f"{kind} {number}" for number in range(40) for kind in ("question", "answer")
            ]
    assert lease.names(database.parent / "writers") == set()


def test_two_stores_delete_undo_and_back_up_at_once(database: Path, store: Store) -> None:
    mine = store.create().id
    first = store.ask(mine, None, "first").id

    def delete_and_undo() -> None:
        for _ in range(30):
            store.restore(store.remove_message(first))

    def back_up() -> None:
        for day in range(5):
            backups.back_up(database, date(2026, 1, 5 + day))

    with Store.open(database) as other, ThreadPoolExecutor() as threads:
        theirs = other.create(title="theirs").id
        jobs = [threads.submit(delete_and_undo), threads.submit(back_up)]
        for number in range(30):
            other.forget(other.remove_message(other.ask(theirs, None, f"gone {number}").id))
            other.ask(theirs, None, f"kept {number}")
        for job in jobs:
            job.result()
        assert [one.content for one in store.branch(mine)] == ["first"]
        assert [one.content for one in store.children(None, theirs)] == [f"kept {number}" for number in range(30)]
    assert holding(database.parent / "backups", "gone") == []
