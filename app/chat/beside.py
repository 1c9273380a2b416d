"""What is kept beside the conversations: drafts, prompt templates, asked prompts, and what the program remembers.

Functions over an open connection, called within a transaction.
"""

import sqlite3

from app.chat import rows
from app.chat.records import Draft, Template
from app.chat.text import storable
from app.errors import QuietlyError


def draft(connection: sqlite3.Connection, conversation: int | None) -> Draft:
    """What was typed there and not yet sent; for None, on the empty page."""
    found = connection.execute("SELECT id, content FROM drafts WHERE conversation IS ?", (conversation,)).fetchone()
    return Draft(found[1], rows.attached(connection, "draft", found[0])) if found else Draft()


def keep_draft(connection: sqlite3.Connection, conversation: int | None, kept: Draft) -> None:
    """Keep `kept` in the place of what was there; an empty one removes it. QuietlyError where there is no place."""
    found = connection.execute("SELECT id FROM drafts WHERE conversation IS ?", (conversation,)).fetchone()
    if kept == Draft():
        connection.execute("DELETE FROM drafts WHERE conversation IS ?", (conversation,))
        return
    if conversation is not None:
        rows.conversation(connection, conversation)
    if found is None:
        made = connection.execute(
            "INSERT INTO drafts (conversation, content) VALUES (?, ?)", (conversation, storable(kept.text))
        )
        rows.attach(connection, "draft", rows.row_id(made), kept.attachments)
        return
    (identity,) = found
    connection.execute("UPDATE drafts SET content = ? WHERE id = ?", (storable(kept.text), identity))
    # Typing changes the text many times a minute; a long attachment is written only when it changes itself.
    if rows.attached(connection, "draft", identity) != kept.attachments:
        connection.execute("DELETE FROM attachments WHERE draft = ?", (identity,))
        rows.attach(connection, "draft", identity, kept.attachments)


def prompts(connection: sqlite3.Connection, limit: int) -> list[str]:
    """What the person asked, newest first, each text once."""
    found: dict[str, None] = {}
    if limit > 0:
        # Read until there are enough: grouping in SQL would sort every text ever written.
        for (text,) in connection.execute("SELECT content FROM messages WHERE role = 'user' ORDER BY id DESC"):
            if text.strip():
                found[text] = None
            if len(found) == limit:
                break
    return list(found)


def templates(connection: sqlite3.Connection) -> list[Template]:
    """The person's prompt templates by name."""
    return [
        Template(*row) for row in connection.execute("SELECT name, text FROM templates ORDER BY name COLLATE NOCASE")
    ]


def keep_template(connection: sqlite3.Connection, template: Template) -> None:
    """Keep `template`, in the place of one of the same name. QuietlyError where it has none."""
    if not template.name.strip():
        raise QuietlyError("This template has no name; give it one.")
    connection.execute(
        "INSERT INTO templates (name, text) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET text = excluded.text",
        (storable(template.name), storable(template.text)),
    )


def remembered(connection: sqlite3.Connection, key: str) -> str | None:
    """What was last remembered under `key`."""
    row = connection.execute("SELECT value FROM remembered WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else None


def remember(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Keep `value` under `key`."""
    connection.execute(
        "INSERT INTO remembered (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, storable(value)),
    )
