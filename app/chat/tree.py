"""The tree of a conversation: the branch in use, its siblings, what is taken away and put back.

Ids grow along every branch, so the newest message of a subtree is one of its leaves, and a branch sorted by id
runs from its opening to its head. Functions over an open connection, called within a transaction.
"""

import sqlite3
from collections.abc import Iterable
from typing import Any

from app.chat import rows
from app.chat.records import Message, Removed
from app.errors import QuietlyError

_LINE = (
    "(WITH RECURSIVE line (member) AS (SELECT coalesce(?2, head) FROM conversations WHERE id = ?1"
    " UNION ALL SELECT parent FROM line JOIN messages ON id = member WHERE parent IS NOT NULL)"
    " SELECT member FROM line)"
)
# By conversation, because the index on children begins with it. CROSS: in this order.
_BELOW = (
    "WITH RECURSIVE below (member) AS (SELECT id FROM messages WHERE conversation = ?1 AND id = ?2 UNION ALL"
    " SELECT id FROM below CROSS JOIN messages ON conversation = ?1 AND parent = member)"
    " SELECT member FROM below ORDER BY member"
)
_SIBLINGS = (
    "WITH RECURSIVE line (member) AS (SELECT coalesce(?2, head) FROM conversations WHERE id = ?1"
    " UNION ALL SELECT parent FROM line JOIN messages ON id = member WHERE parent IS NOT NULL),"
    " forks (fork) AS (SELECT parent FROM messages WHERE conversation = ?1 GROUP BY parent HAVING count(*) > 1)"
    " SELECT fork, id, id IN line FROM forks CROSS JOIN messages ON conversation = ?1 AND parent IS fork ORDER BY id"
)

# Rows are taken whole and put back whole, all columns in the order of the schema.
_TAKE = {
    "conversations": "SELECT * FROM conversations WHERE id = ?",
    "messages": "SELECT * FROM messages WHERE id = ?",
    "drafts": "SELECT * FROM drafts WHERE conversation = ?",
    "attachments": "SELECT * FROM attachments WHERE message = ?",
}
_TAKE_OF_DRAFTS = "SELECT attachments.* FROM attachments JOIN drafts ON draft = id WHERE conversation = ?"
_PUT = {
    "conversations": "INSERT INTO conversations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "messages": "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "drafts": "INSERT INTO drafts VALUES (?, ?, ?)",
    "attachments": "INSERT INTO attachments VALUES (?, ?, ?, ?, ?)",
}
_NOTE = "INSERT OR REPLACE INTO forgotten (kind, id, created) VALUES (?, ?, ?)"
_THERE = {
    "conversation": "SELECT 1 FROM conversations WHERE id = ?",
    "message": "SELECT 1 FROM messages WHERE id = ?",
}


def branch(connection: sqlite3.Connection, conversation: int, end: int | None) -> list[Message]:
    """The messages from the conversation's opening to `end`, for None to its head. QuietlyError where `end` is gone."""
    rows.check_member(connection, conversation, end)
    return rows.messages(connection, f"WHERE id IN {_LINE} ORDER BY id", (conversation, end))


def whole(connection: sqlite3.Connection, conversation: int) -> list[Message]:
    """All messages of the conversation, the oldest first."""
    return rows.messages(connection, "WHERE conversation = ? ORDER BY id", (conversation,))


def children(connection: sqlite3.Connection, conversation: int, message: int | None) -> list[Message]:
    """What follows `message`, the oldest first; for None, what opens the conversation."""
    return rows.messages(connection, "WHERE conversation = ? AND parent IS ? ORDER BY id", (conversation, message))


def siblings(connection: sqlite3.Connection, conversation: int, end: int | None) -> dict[int, tuple[int, ...]]:
    """For each message of the branch to `end` that has siblings, all of them and itself, the oldest first."""
    groups: dict[int | None, list[int]] = {}
    used: dict[int | None, int] = {}
    for fork, member, in_use in connection.execute(_SIBLINGS, (conversation, end)):
        groups.setdefault(fork, []).append(member)
        if in_use:
            used[fork] = member
    return {member: tuple(groups[fork]) for fork, member in used.items()}


def move_head(connection: sqlite3.Connection, conversation: int, message: int | None) -> None:
    """Make `message` the end of the branch in use."""
    rows.conversation(connection, conversation)
    rows.check_member(connection, conversation, message)
    connection.execute("UPDATE conversations SET head = ? WHERE id = ?", (message, conversation))


def switch(connection: sqlite3.Connection, conversation: int, message: int) -> None:
    """Make the newest leaf below `message` the end of the branch in use."""
    rows.conversation(connection, conversation)
    rows.check_member(connection, conversation, message)
    move_head(connection, conversation, _below(connection, conversation, message)[-1])


def cut(connection: sqlite3.Connection, conversation: int, message: int) -> None:
    """Remove `message` and all that follows it.

    A head among them goes to the newest leaf of the nearest sibling, the one before rather than the one after,
    and where there is none to the parent. Uses nothing that the first published file did not have: it also cuts
    in backups.
    """
    members = _below(connection, conversation, message)
    (head,) = connection.execute("SELECT (SELECT head FROM conversations WHERE id = ?)", (conversation,)).fetchone()
    if head in members:
        (parent,) = connection.execute("SELECT parent FROM messages WHERE id = ?", (message,)).fetchone()
        sibling = connection.execute(
            "SELECT id FROM messages WHERE conversation = ?1 AND parent IS ?2 AND id <> ?3"
            " ORDER BY id > ?3, abs(id - ?3) LIMIT 1",
            (conversation, parent, message),
        ).fetchone()
        head = _below(connection, conversation, sibling[0])[-1] if sibling else parent
        connection.execute("UPDATE conversations SET head = ? WHERE id = ?", (head, conversation))
    connection.executemany("DELETE FROM messages WHERE id = ?", [(member,) for member in members])


def remove_message(connection: sqlite3.Connection, message: int) -> Removed:
    """Cut `message`, and say what went. QuietlyError where it is gone, or where a part is being written."""
    found = rows.message(connection, message)
    members = _below(connection, found.conversation, message)
    writing = connection.execute(
        "SELECT id FROM messages WHERE conversation = ? AND status = 'writing'", (found.conversation,)
    )
    if {identity for (identity,) in writing} & set(members):
        raise QuietlyError("An answer is still being written below this message; stop it first, then delete.")
    head = rows.conversation(connection, found.conversation).head
    taken = (
        ("messages", _taken(connection, _TAKE["messages"], members)),
        ("attachments", _taken(connection, _TAKE["attachments"], members)),
    )
    cut(connection, found.conversation, message)
    removed = Removed("message", message, found.created, found.conversation, found.parent, head, taken)
    _note(connection, removed)
    return removed


def remove_conversation(connection: sqlite3.Connection, conversation: int) -> Removed:
    """Remove the conversation and all that is in it, and say what went. QuietlyError where it is gone."""
    found = rows.conversation(connection, conversation)
    members = connection.execute("SELECT id FROM messages WHERE conversation = ? ORDER BY id", (conversation,))
    identities = [identity for (identity,) in members]
    one = [conversation]
    taken = (
        ("conversations", _taken(connection, _TAKE["conversations"], one)),
        ("messages", _taken(connection, _TAKE["messages"], identities)),
        ("drafts", _taken(connection, _TAKE["drafts"], one)),
        ("attachments", _taken(connection, _TAKE["attachments"], identities)),
        ("attachments", _taken(connection, _TAKE_OF_DRAFTS, one)),
    )
    connection.execute("DELETE FROM conversations WHERE id = ?", (conversation,))
    removed = Removed("conversation", conversation, found.created, conversation, None, found.head, taken)
    _note(connection, removed)
    return removed


def remove_oldest(connection: sqlite3.Connection, before: float) -> tuple[str, int, float] | None:
    """Remove for good the conversation in which nothing was said for the longest time, none since `before` (seconds).

    Returns what it was, as it is noted; None where there is none but pinned ones and those being written in.
    """
    found: tuple[int, float] | None = connection.execute(
        "SELECT id, created FROM conversations WHERE updated < ? AND NOT pinned AND NOT EXISTS"
        " (SELECT 1 FROM messages WHERE conversation = conversations.id AND status = 'writing')"
        " ORDER BY updated LIMIT 1",
        (before,),
    ).fetchone()
    if found is None:
        return None
    noted = ("conversation", *found)
    connection.execute("DELETE FROM conversations WHERE id = ?", found[:1])
    connection.execute(_NOTE, noted)
    return noted


def restore(connection: sqlite3.Connection, removed: Removed) -> None:
    """Put back what was removed, with its ids and the head as it was; what is back already is left alone.

    An answer that was being written comes back as interrupted. QuietlyError where what it belonged to is gone.
    """
    if connection.execute(_THERE[removed.kind], (removed.id,)).fetchone():
        return
    if removed.kind == "message":
        rows.conversation(connection, removed.conversation)
        rows.check_member(connection, removed.conversation, removed.parent)
    for table, values in removed.rows:
        connection.executemany(_PUT[table], values)
        if table == "messages":
            connection.executemany(
                "UPDATE messages SET status = 'interrupted', writer = NULL WHERE id = ? AND status = 'writing'",
                [(row[0],) for row in values],
            )
    # Where the head of then has been deleted since, the one of now stays.
    connection.execute(
        "UPDATE conversations SET head = ?1 WHERE id = ?2"
        " AND (?1 IS NULL OR EXISTS (SELECT 1 FROM messages WHERE id = ?1))",
        (removed.head, removed.conversation),
    )
    connection.execute("DELETE FROM forgotten WHERE kind = ? AND id = ?", (removed.kind, removed.id))


def _below(connection: sqlite3.Connection, conversation: int, message: int) -> list[int]:
    """`message` and all that follows it, the oldest first."""
    return [member for (member,) in connection.execute(_BELOW, (conversation, message))]


def _taken(connection: sqlite3.Connection, query: str, identities: Iterable[int]) -> tuple[tuple[Any, ...], ...]:
    return tuple(row for identity in identities for row in connection.execute(query, (identity,)))


def _note(connection: sqlite3.Connection, removed: Removed) -> None:
    """Backups still have it: noted, so that it goes from there too, even if this program dies first."""
    noted = (removed.kind, removed.id, removed.created)
    connection.execute(_NOTE, noted)
