"""Conversations and messages between the tables and their records: functions over an open connection.

Whoever calls them has begun the transaction. Knows neither the file nor who may write to it.
"""

import sqlite3
import struct
import time
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from app.chat.failures import ChangedError, GoneError
from app.chat.records import Attachment, Conversation, GenerationSettings, Message, Role
from app.chat.text import storable
from app.errors import QuietlyError

Owner = Literal["message", "draft"]
"""What an attachment belongs to."""

# The columns in the order of the records' fields.
CONVERSATIONS = (
    "SELECT id, title, created, updated, head, system_prompt, model, pinned, titled_by, settings FROM conversations"
)
MESSAGES = (
    "SELECT id, conversation, parent, role, content, reasoning, model, fingerprint, sampling, status, note,"
    " token_ids, prompt_tokens, completion_tokens, first_token_seconds, decode_seconds, created, edited,"
    " EXISTS (SELECT 1 FROM attachments WHERE message = messages.id) FROM messages"
)
_ATTACH = {
    "message": "INSERT INTO attachments (message, place, name, text) VALUES (?, ?, ?, ?)",
    "draft": "INSERT INTO attachments (draft, place, name, text) VALUES (?, ?, ?, ?)",
}
_ATTACHED = {
    "message": "SELECT name, text FROM attachments WHERE message = ? ORDER BY place",
    "draft": "SELECT name, text FROM attachments WHERE draft = ? ORDER BY place",
}
_FIELDS = Message.__struct_fields__
_ID, _SAMPLING, _EDITED, _ATTACHMENTS = (_FIELDS.index(name) for name in ("id", "sampling", "edited", "attachments"))
_PINNED, _SETTINGS = (Conversation.__struct_fields__.index(name) for name in ("pinned", "settings"))


def conversations(connection: sqlite3.Connection, which: str, values: Sequence[object] = ()) -> list[Conversation]:
    """The conversations that the end of the query `which` selects."""
    found = []
    for row in connection.execute(f"{CONVERSATIONS} {which}", values):
        fields = list(row)
        fields[_PINNED] = bool(fields[_PINNED])
        fields[_SETTINGS] = settings(fields[_SETTINGS])
        found.append(Conversation(*fields))
    return found


def messages(connection: sqlite3.Connection, which: str, values: Sequence[object] = ()) -> list[Message]:
    """The messages that the end of the query `which` selects, with their attachments."""
    return [_message(connection, row) for row in connection.execute(f"{MESSAGES} {which}", values).fetchall()]


def conversation(connection: sqlite3.Connection, identity: int) -> Conversation:
    """The conversation `identity`. GoneError where it is gone."""
    known = 0 < identity < 1 << 63  # SQLite has no other ids
    found = conversations(connection, "WHERE id = ?", (identity,)) if known else []
    if not found:
        raise GoneError(identity)
    return found[0]


def message(connection: sqlite3.Connection, identity: int) -> Message:
    """The message `identity`. ChangedError where it is gone."""
    known = 0 < identity < 1 << 63
    found = messages(connection, "WHERE id = ?", (identity,)) if known else []
    if not found:
        raise ChangedError("The message is gone, perhaps deleted in another window; open the conversation again.")
    return found[0]


def check_member(connection: sqlite3.Connection, owner: int, identity: int | None) -> None:
    """QuietlyError unless the message `identity` is one of the conversation `owner`'s; None is any's."""
    if identity is None:
        return
    row = connection.execute("SELECT conversation FROM messages WHERE id = ?", (identity,)).fetchone()
    if row is None or row[0] != owner:
        message(connection, identity)
        raise QuietlyError("This message belongs to another conversation; open that one.")


def add(
    connection: sqlite3.Connection, owner: int, parent: int | None, role: Role, content: str, reasoning: str = ""
) -> int:
    """Put a complete message after `parent` and make it the head; returns its id."""
    check_member(connection, owner, parent)
    now = time.time()
    made = connection.execute(
        "INSERT INTO messages (conversation, parent, role, content, reasoning, status, note, created)"
        " VALUES (?, ?, ?, ?, ?, 'complete', '', ?)",
        (owner, parent, role, storable(content), storable(reasoning), now),
    )
    identity = row_id(made)
    connection.execute("UPDATE conversations SET head = ?, updated = ? WHERE id = ?", (identity, now, owner))
    return identity


def attach(connection: sqlite3.Connection, kind: Owner, owner: int, attachments: Sequence[Attachment]) -> None:
    """Keep `attachments` in their order for the message or the draft `owner`."""
    connection.executemany(
        _ATTACH[kind],
        [(owner, place, storable(one.name), storable(one.text)) for place, one in enumerate(attachments)],
    )


def attached(connection: sqlite3.Connection, kind: Owner, owner: int) -> tuple[Attachment, ...]:
    """What `attach` kept."""
    return tuple(Attachment(*row) for row in connection.execute(_ATTACHED[kind], (owner,)))


def packed(token_ids: Sequence[int] | None) -> bytes | None:
    """Token ids as they are stored, four bytes each, little-endian."""
    return None if token_ids is None else struct.pack(f"<{len(token_ids)}I", *token_ids)


def settings(stored: object) -> GenerationSettings:
    """The settings as they are stored; none of them where a hand edited them into something else."""
    try:
        return msgspec.json.decode(str(stored), type=GenerationSettings)
    except msgspec.MsgspecError:
        return GenerationSettings()


def encoded(chosen: GenerationSettings) -> str:
    """`chosen` as it is stored."""
    return msgspec.json.encode(chosen).decode()


def optional(text: str | None) -> str | None:
    """`text` made storable where there is one."""
    return None if text is None else storable(text)


def row_id(cursor: sqlite3.Cursor) -> int:
    """The id of the row that was just put in."""
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _message(connection: sqlite3.Connection, row: Sequence[Any]) -> Message:
    values = list(row)
    values[_SAMPLING] = _sampling(values[_SAMPLING])
    values[_EDITED] = bool(values[_EDITED])
    values[_ATTACHMENTS] = attached(connection, "message", values[_ID]) if values[_ATTACHMENTS] else ()
    return Message(*values)


def _sampling(stored: object) -> dict[str, object] | None:
    """The sampling settings; None where somebody made something else of them: the words matter more."""
    if stored is None:
        return None
    try:
        return msgspec.json.decode(str(stored), type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError):  # of an import, they may nest deeper than can be read from here
        return None
