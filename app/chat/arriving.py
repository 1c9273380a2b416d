"""A conversation that comes from elsewhere, put into the tables with all its branches: functions over a connection.

Whoever calls them has begun the transaction. Knows no file format.
"""

import hashlib
import sqlite3
from collections.abc import Sequence

import msgspec

from app.chat import rows, tree
from app.chat.records import Conversation, Message
from app.chat.text import storable

_INSERT = (
    "INSERT INTO messages (id, conversation, parent, role, content, reasoning, status, note, model, fingerprint,"
    " sampling, token_ids, prompt_tokens, completion_tokens, first_token_seconds, decode_seconds, created, edited)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def take_in(connection: sqlite3.Connection, conversation: Conversation, messages: Sequence[Message]) -> int | None:
    """Put the conversation in, its messages in the order of their age; returns its id here.

    None where one that began at the same moment already says all that it says, branch for branch.
    """
    lines = _lines(messages)
    for (twin,) in connection.execute("SELECT id FROM conversations WHERE created = ?", (conversation.created,)):
        if lines <= _lines(tree.whole(connection, twin)):
            return None
    made = connection.execute(
        "INSERT INTO conversations (title, titled_by, system_prompt, model, settings, pinned, created, updated)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            storable(conversation.title),
            conversation.titled_by,
            storable(conversation.system_prompt),
            rows.optional(conversation.model),
            rows.encoded(conversation.settings),
            conversation.pinned,
            conversation.created,
            conversation.updated,
        ),
    )
    identity = rows.row_id(made)
    # The ids that come next; nobody else writes within this transaction.
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'messages'").fetchone()
    ids = {message.id: last + place for place, message in enumerate(messages, 1)}
    connection.executemany(_INSERT, (_row(message, identity, ids) for message in messages))
    for message in messages:
        rows.attach(connection, "message", ids[message.id], message.attachments)
    head = None if conversation.head is None else ids[conversation.head]
    connection.execute("UPDATE conversations SET head = ? WHERE id = ?", (head, identity))
    return identity


def _row(message: Message, conversation: int, ids: dict[int, int]) -> tuple[object, ...]:
    sampling = None if message.sampling is None else msgspec.json.encode(message.sampling).decode()
    return (
        ids[message.id],
        conversation,
        None if message.parent is None else ids[message.parent],
        message.role,
        storable(message.content),
        storable(message.reasoning),
        message.status,
        storable(message.note),
        rows.optional(message.model),
        rows.optional(message.fingerprint),
        sampling,
        message.packed_ids,
        message.prompt_tokens,
        message.completion_tokens,
        message.first_token_seconds,
        message.decode_seconds,
        message.created,
        message.edited,
    )


def _lines(messages: Sequence[Message]) -> set[bytes]:
    """For each message, what tells its words and all that was said before it on its branch."""
    found: dict[int, bytes] = {}
    for message in messages:
        before = b"" if message.parent is None else found[message.parent]
        attached = [(storable(one.name), storable(one.text)) for one in message.attachments]
        words = [message.role, storable(message.content), storable(message.reasoning), attached]
        found[message.id] = hashlib.blake2b(before + msgspec.json.encode(words), digest_size=16).digest()
    return set(found.values())
