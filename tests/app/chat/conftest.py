"""Files of conversations, and second processes that use the same one."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from app.chat import schema
from app.chat.search import Hit, Search, parse
from app.chat.store import Store

MARKER = "xylophone-marker"
"""Words that are looked for in files afterwards."""

Start = Callable[..., subprocess.Popen[str]]


def filled(database: Path, conversations: int = 50) -> None:
    """A file with much said in it."""
    with Store.open(database) as store:
        for number in range(conversations):
            conversation = store.create(title=f"conversation {number}")
            store.ask(conversation.id, None, "word " * 2000)


def line(process: subprocess.Popen[str]) -> str:
    """The next line that a second process says."""
    assert process.stdout is not None
    return process.stdout.readline()


def go_on(process: subprocess.Popen[str]) -> None:
    """What a second process waits for."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def holding(folder: Path, words: str = MARKER) -> list[str]:
    """The files below `folder` in which `words` stand."""
    return [file.name for file in folder.rglob("*") if file.is_file() and words.encode() in file.read_bytes()]


def caught_up(store: Store) -> None:
    """The index has all that is not being written."""
    while store.catch_up():
        pass


def found(search: Search, typed: str) -> tuple[Hit, ...]:
    """What a person finds who types this today."""
    return search.find(parse(typed, date.today())).hits


@pytest.fixture
def search(database: Path) -> Iterator[Search]:
    opened = Search.open(database)
    yield opened
    opened.close()


@pytest.fixture
def first_version(database: Path) -> Path:
    """A file of the first published version, with a conversation in two branches."""
    database.parent.mkdir()
    connection = sqlite3.connect(database)
    connection.executescript(
        schema.STEPS[0]
        + """
        INSERT INTO conversations (id, title, system_prompt, model, created, updated)
            VALUES (3, 'Why is the sky blue?', 'Be brief.', 'starter', 1.5, 2.5), (4, '', '', NULL, 2.0, 2.0);
        INSERT INTO messages (id, conversation, parent, role, content, reasoning, status, note, token_ids, created)
            VALUES (5, 3, NULL, 'user', 'Why?', '', 'complete', '', NULL, 1.5),
                   (6, 3, 5, 'assistant', 'So.', 'hm', 'stopped', 'by you', x'01000000', 1.6),
                   (9, 3, 5, 'assistant', 'Half', '', 'writing', '', NULL, 1.7);
        UPDATE messages SET writer = '1-0123456789abcdef.lock' WHERE id = 9;
        UPDATE conversations SET head = 9 WHERE id = 3;
        """
    )
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    return database


@pytest.fixture
def start() -> Iterator[Start]:
    """Runs a program text in a real second process, with pipes to talk through."""
    running: list[subprocess.Popen[str]] = []

    def begin(program: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()
