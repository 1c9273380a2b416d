"""The document of the database names what is in the file, and its queries run."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.chat import schema
from app.chat.store import Store
from tests.documents import DOCUMENTS, tables

DOCUMENT = (DOCUMENTS / "database.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture
def connection(database: Path) -> Iterator[sqlite3.Connection]:
    with Store.open(database) as store:
        conversation = store.create("Capitals")
        asked = store.ask(conversation.id, None, "What is the capital of France?")
        answer = store.begin_answer(conversation.id, asked.id, "starter")
        store.finish(answer.id, "complete", answer="Paris.", completion_tokens=3, decode_seconds=0.5)
        store.catch_up()
    connection = sqlite3.connect(database)
    yield connection
    connection.close()


def test_every_table_and_every_column_stands_there_and_no_other(connection: sqlite3.Connection) -> None:
    names = re.findall(r"^## (\w+)$", DOCUMENT, re.MULTILINE)
    told = {
        name: [(row["column"], row["type"]) for row in table]
        for name, table in zip(names, tables(DOCUMENT), strict=True)
    }
    own = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        " AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'message_index_%'"
    )
    assert told == {
        name: [(column, kind) for _, column, kind, *_ in connection.execute(f"PRAGMA table_info({name})")]
        for (name,) in own
    }


def test_the_file_is_recognised_by_what_is_said_there(connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    assert application == schema.APPLICATION_ID
    assert str(application) in DOCUMENT
    assert application.to_bytes(4, "big") == b"QtLy"


def test_its_queries_run(connection: sqlite3.Connection) -> None:
    branch, speed, word = (connection.execute(query).fetchall() for query in QUERIES)
    assert branch == [("user", "What is the capital of France?"), ("assistant", "Paris.")]
    assert speed == [("starter", 1, 4.0)]
    assert [(title, role) for title, role, _ in word] == [("Capitals", "assistant")]
