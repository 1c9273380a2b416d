"""What is kept beside the conversations: drafts, templates, system prompts, presets, asked prompts, settings of
models, and what the program remembers.

Functions over an open connection, called within a transaction.
"""

import sqlite3

from app.chat import rows
from app.chat.records import Draft, GenerationSettings, Preset, SystemPrompt, Template
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
    connection.execute(
        "INSERT INTO templates (name, text) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET text = excluded.text",
        (_named("template", template.name), storable(template.text)),
    )


def system_prompts(connection: sqlite3.Connection) -> list[SystemPrompt]:
    """The person's system prompts by name."""
    stored = connection.execute("SELECT name, text FROM system_prompts ORDER BY name COLLATE NOCASE")
    return [SystemPrompt(*row) for row in stored]


def keep_system_prompt(connection: sqlite3.Connection, kept: SystemPrompt) -> None:
    """Keep `kept`, in the place of one of the same name. QuietlyError where it has none."""
    connection.execute(
        "INSERT INTO system_prompts (name, text) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET text = excluded.text",
        (_named("system prompt", kept.name), storable(kept.text)),
    )


def presets(connection: sqlite3.Connection) -> list[Preset]:
    """The person's presets by name."""
    stored = connection.execute("SELECT name, model, system_prompt, settings FROM presets ORDER BY name COLLATE NOCASE")
    return [Preset(name, model, prompt, rows.settings(settings)) for name, model, prompt, settings in stored]


def keep_preset(connection: sqlite3.Connection, preset: Preset) -> None:
    """Keep `preset`, in the place of one of the same name. QuietlyError where it has none."""
    connection.execute(
        "INSERT OR REPLACE INTO presets (name, model, system_prompt, settings) VALUES (?, ?, ?, ?)",
        (
            _named("preset", preset.name),
            rows.optional(preset.model),
            storable(preset.system_prompt),
            rows.encoded(preset.settings),
        ),
    )


def model_settings(connection: sqlite3.Connection, model: str) -> GenerationSettings:
    """What was chosen for all answers of the model that people call `model`."""
    row = connection.execute("SELECT settings FROM model_settings WHERE model = ?", (storable(model),)).fetchone()
    return rows.settings(row[0]) if row else GenerationSettings()


def keep_model_settings(connection: sqlite3.Connection, model: str, settings: GenerationSettings) -> None:
    """Choose `settings` for the model; where nothing is chosen, nothing is kept."""
    if settings == GenerationSettings():
        connection.execute("DELETE FROM model_settings WHERE model = ?", (storable(model),))
    else:
        connection.execute(
            "INSERT OR REPLACE INTO model_settings (model, settings) VALUES (?, ?)",
            (storable(model), rows.encoded(settings)),
        )


def models_used(connection: sqlite3.Connection) -> dict[str, float]:
    """When each model answered last, by its name for people."""
    rows_found = connection.execute(
        "SELECT model, max(created) FROM messages WHERE role = 'assistant' AND model IS NOT NULL GROUP BY model"
    )
    return {str(model): float(created) for model, created in rows_found}


def _named(what: str, name: str) -> str:
    if not name.strip():
        raise QuietlyError(f"This {what} has no name; give it one.")
    return storable(name)


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
