"""The store: conversations as trees of messages in one SQLite file, which is the person's own.

What a person wrote is on disk before a method returns; an answer is written again and again while it comes.
Several processes may use the file at once. Methods may be called from any thread; they take turns. Text is kept
as it was written. Knows neither models nor the screen.
"""

import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from app.chat import beside, rows, tree
from app.chat.records import (
    Attachment,
    Conversation,
    Draft,
    GenerationSettings,
    Message,
    Outcome,
    Preset,
    Removed,
    Role,
    Status,
    SystemPrompt,
    Template,
    TitledBy,
)
from app.chat.store_file import StoreFile
from app.chat.text import one_line, storable
from app.errors import QuietlyError

__all__ = [
    "Attachment",
    "Conversation",
    "Draft",
    "GenerationSettings",
    "Message",
    "Outcome",
    "Preset",
    "Removed",
    "Role",
    "Status",
    "Store",
    "SystemPrompt",
    "Template",
    "TitledBy",
]

TITLE_CELLS = 60
_DAY = 86400.0
"""Seconds."""
_NEWEST_FIRST = "ORDER BY updated DESC, id DESC"


class Store(StoreFile):
    """The conversations of one file. Made by `Store.open` or `Store.temporary`; a context manager."""

    # --- conversations -----------------------------------------------------------------------------------

    def conversations(self) -> list[Conversation]:
        """All of them, the one in which something was last said first."""
        with self._reading() as connection:
            return rows.conversations(connection, _NEWEST_FIRST)

    def latest(self) -> Conversation | None:
        """The conversation in which something was last said."""
        with self._reading() as connection:
            return next(iter(rows.conversations(connection, f"{_NEWEST_FIRST} LIMIT 1")), None)

    def conversation(self, conversation: int) -> Conversation:
        """The conversation with this id. QuietlyError where it is gone."""
        with self._reading() as connection:
            return rows.conversation(connection, conversation)

    def create(
        self,
        title: str = "",
        system_prompt: str = "",
        model: str | None = None,
        settings: GenerationSettings | None = None,
    ) -> Conversation:
        """A new, empty conversation; a title given here is the person's."""
        now = time.time()
        with self._changing() as connection:
            made = connection.execute(
                "INSERT INTO conversations (title, titled_by, system_prompt, model, settings, created, updated)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    storable(title),
                    "person" if title else "line",
                    storable(system_prompt),
                    rows.optional(model),
                    rows.encoded(settings or GenerationSettings()),
                    now,
                    now,
                ),
            )
            return rows.conversation(connection, rows.row_id(made))

    def instruct(self, conversation: int, system_prompt: str) -> None:
        """Tell the model something else before the first message, from the next answer on."""
        with self._changing() as connection:
            rows.conversation(connection, conversation)
            connection.execute(
                "UPDATE conversations SET system_prompt = ? WHERE id = ?", (storable(system_prompt), conversation)
            )

    def tune(self, conversation: int, settings: GenerationSettings) -> None:
        """Let the conversation's next answers be generated with these settings."""
        with self._changing() as connection:
            rows.conversation(connection, conversation)
            connection.execute(
                "UPDATE conversations SET settings = ? WHERE id = ?", (rows.encoded(settings), conversation)
            )

    def rename(self, conversation: int, title: str, by: Literal["model", "person"] = "person") -> bool:
        """Give the conversation another title; it keeps its place in the list. Returns whether it has it.

        A model's title only takes the place of a first line, never of what a model or a person wrote before.
        """
        with self._changing() as connection:
            found = rows.conversation(connection, conversation)
            if by == "model" and found.titled_by != "line":
                return False
            _set_title(connection, conversation, storable(title), by)
            return True

    def pin(self, conversation: int, pinned: bool) -> None:
        """Keep the conversation on top of the list, or no longer."""
        with self._changing() as connection:
            rows.conversation(connection, conversation)
            connection.execute("UPDATE conversations SET pinned = ? WHERE id = ?", (pinned, conversation))

    def delete(self, conversation: int) -> None:
        """Remove the conversation and every message in it, for good; nothing where it is gone already.

        From the backups too, which takes a while; from the screen call `remove_conversation`, and `forget` aside.
        """
        with self._changing() as connection:
            if not rows.conversations(connection, "WHERE id = ?", (conversation,)):
                return
            removed = tree.remove_conversation(connection, conversation)
        self.forget(removed)

    def take_in(self, conversation: Conversation, messages: Sequence[Message]) -> int | None:
        """Keep a conversation that comes from elsewhere, its messages the oldest first; returns its id here.

        Its ids and those of its messages only say what belongs together. None where one that began at the same
        moment already says all that it says, branch for branch.
        """
        from app.chat import arriving

        with self._changing() as connection:
            return arriving.take_in(connection, conversation, messages)

    def expire(self, days: int) -> int:
        """Delete the conversations in which nothing was said for so many days, for good; returns how many.

        Pinned ones stay, and those in which an answer is being written; with 0 days all. Takes a while; call it aside.
        """
        if days <= 0:
            return 0
        before = time.time() - days * _DAY
        gone = []
        while True:
            # One at a time: whoever writes meanwhile is hardly held up.
            with self._changing() as connection:
                removed = tree.remove_oldest(connection, before)
            if removed is None:
                break
            gone.append(removed)
        self._make_final(gone)
        return len(gone)

    def remove_conversation(self, conversation: int) -> Removed:
        """Delete the conversation with all that is in it; `restore` undoes that, `forget` makes it final."""
        with self._changing() as connection:
            return tree.remove_conversation(connection, conversation)

    # --- messages ----------------------------------------------------------------------------------------

    def ask(
        self, conversation: int, parent: int | None, content: str, attachments: Sequence[Attachment] = ()
    ) -> Message:
        """Add the person's message after `parent` and make it the head. It is on disk when this returns."""
        with self._changing() as connection:
            found = rows.conversation(connection, conversation)
            message = rows.add(connection, conversation, parent, "user", content)
            rows.attach(connection, "message", message, attachments)
            if not found.title:
                lines = (one_line(text, TITLE_CELLS) for text in (content, *(one.name for one in attachments)))
                _set_title(connection, conversation, next(filter(None, lines), ""), "line")
            return rows.message(connection, message)

    def begin_answer(
        self,
        conversation: int,
        parent: int,
        model: str | None,
        sampling: Mapping[str, object] | None = None,
        *,
        content: str = "",
        reasoning: str = "",
        token_ids: Sequence[int] | None = None,
        fingerprint: str | None = None,
    ) -> Message:
        """Add an answer after `parent`, "writing" while this process lives, and make it the head.

        It is empty, or begins with words that are there already, and their exact tokens.
        """
        with self._changing() as connection:
            rows.conversation(connection, conversation)
            message = rows.add(connection, conversation, parent, "assistant", content, reasoning)
            connection.execute(
                "UPDATE messages SET token_ids = ?, fingerprint = ? WHERE id = ?",
                (rows.packed(token_ids), rows.optional(fingerprint), message),
            )
            self._write_on(connection, conversation, message, model, sampling)
            return rows.message(connection, message)

    def resume(self, message: int, model: str | None, sampling: Mapping[str, object] | None = None) -> Message:
        """Make an answer that nothing follows "writing" again, its text as it is, and the head.

        `sampling`: the settings that it goes on with, in the place of those it was begun with.
        QuietlyError where it is no answer, something follows it, or it is being written already.
        """
        with self._changing() as connection:
            found = rows.message(connection, message)
            if found.role != "assistant":
                raise QuietlyError("This message is a question, and only answers are continued; answer it.")
            if found.status == "writing":
                raise QuietlyError("This answer is being written already; wait for it, or stop it first.")
            if tree.children(connection, found.conversation, message):
                raise QuietlyError("This answer has something after it; continue the last answer instead.")
            self._write_on(connection, found.conversation, message, model, sampling)
            connection.execute(
                "UPDATE conversations SET head = ?, updated = ? WHERE id = ?",
                (message, time.time(), found.conversation),
            )
            return rows.message(connection, message)

    def add_answer(
        self, conversation: int, parent: int, content: str, model: str | None, *, reasoning: str = ""
    ) -> Message:
        """Add an answer whose words a person changed: complete, without tokens, and the head."""
        with self._changing() as connection:
            rows.conversation(connection, conversation)
            message = rows.add(connection, conversation, parent, "assistant", content, reasoning)
            connection.execute(
                "UPDATE messages SET edited = 1, model = ? WHERE id = ?", (rows.optional(model), message)
            )
            return rows.message(connection, message)

    def write(self, message: int, answer: str, reasoning: str = "") -> None:
        """Keep the answer's whole text so far; an answer that is finished stays as it is."""
        with self._changing() as connection:
            # Tokens that the answer began with are no longer all of it once there are more words.
            kept = connection.execute(
                "UPDATE messages SET content = ?1, reasoning = ?2,"
                " token_ids = CASE WHEN content = ?1 AND reasoning = ?2 THEN token_ids END"
                " WHERE id = ?3 AND status = 'writing'",
                (storable(answer), storable(reasoning), message),
            )
            if not kept.rowcount:
                rows.message(connection, message)

    def finish(
        self,
        message: int,
        status: Outcome,
        *,
        answer: str,
        reasoning: str = "",
        fingerprint: str | None = None,
        token_ids: Sequence[int] | None = None,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        first_token_seconds: float | None = None,
        decode_seconds: float | None = None,
        note: str = "",
    ) -> Message:
        """Keep the whole answer and how it ended. Of several calls the first counts; seconds, tokens.

        What is not known now stays as it was; tokens only where the words are still the same.
        """
        with self._changing() as connection:
            # "interrupted" gives way too: another window may have taken this process for dead.
            kept = connection.execute(
                "UPDATE messages SET status = ?1, writer = NULL, note = ?2, content = ?3, reasoning = ?4,"
                " fingerprint = coalesce(?5, fingerprint), token_ids = coalesce(?6,"
                " CASE WHEN content = ?3 AND reasoning = ?4 THEN token_ids END),"
                " prompt_tokens = coalesce(?7, prompt_tokens), completion_tokens = coalesce(?8, completion_tokens),"
                " first_token_seconds = coalesce(?9, first_token_seconds),"
                " decode_seconds = coalesce(?10, decode_seconds)"
                " WHERE id = ?11 AND role = 'assistant' AND status IN ('writing', 'interrupted')",
                (
                    status,
                    storable(note),
                    storable(answer),
                    storable(reasoning),
                    rows.optional(fingerprint),
                    rows.packed(token_ids),
                    prompt_tokens,
                    completion_tokens,
                    first_token_seconds,
                    decode_seconds,
                    message,
                ),
            )
            found = rows.message(connection, message)
            if kept.rowcount:
                connection.execute(
                    "UPDATE conversations SET updated = ? WHERE id = ?", (time.time(), found.conversation)
                )
            return found

    # --- the tree ----------------------------------------------------------------------------------------

    def branch(self, conversation: int, end: int | None = None) -> list[Message]:
        """The messages from the conversation's opening to its head, or to `end`. QuietlyError where that is gone."""
        with self._reading() as connection:
            return tree.branch(connection, conversation, end)

    def whole(self, conversation: int) -> list[Message]:
        """All messages of all branches, the oldest first."""
        with self._reading() as connection:
            return tree.whole(connection, conversation)

    def children(self, message: int | None, conversation: int) -> list[Message]:
        """What follows `message`, the oldest first; for None, what opens the conversation."""
        with self._reading() as connection:
            return tree.children(connection, conversation, message)

    def siblings(self, conversation: int, end: int | None = None) -> dict[int, tuple[int, ...]]:
        """For each message of the branch in use, or to `end`, that has siblings, all of them and itself, the oldest
        first."""
        with self._reading() as connection:
            return tree.siblings(connection, conversation, end)

    def move_head(self, conversation: int, message: int | None) -> None:
        """Make `message` the end of the branch in use; with None the next one opens it anew."""
        with self._changing() as connection:
            tree.move_head(connection, conversation, message)

    def switch(self, conversation: int, message: int) -> None:
        """Bring `message` onto the branch in use: the head becomes the newest leaf below it."""
        with self._changing() as connection:
            tree.switch(connection, conversation, message)

    def remove_message(self, message: int) -> Removed:
        """Delete `message` and all that follows it; `restore` undoes that, `forget` makes it final.

        A head among them goes to the newest leaf of the nearest sibling, else to the parent. QuietlyError where a
        part of it is being written.
        """
        with self._changing() as connection:
            return tree.remove_message(connection, message)

    def restore(self, removed: Removed) -> None:
        """Put back what was removed, with the same ids and the head as it was.

        An answer that was being written comes back as interrupted. QuietlyError where what it followed is gone.
        """
        with self._changing() as connection:
            tree.restore(connection, removed)

    # --- search ------------------------------------------------------------------------------------------

    def catch_up(self, most: int = 500) -> int:
        """Take up to `most` messages that wait into the full-text index; an answer being written waits on.

        One short transaction, long texts make it end earlier; returns how many more could be taken in. Call it aside.
        """
        from app.chat import indexing

        with self._changing() as connection:
            return indexing.catch_up(connection, most)

    # --- beside the conversations ------------------------------------------------------------------------

    def prompts(self, limit: int = 500) -> list[str]:
        """What the person asked, newest first, each text once."""
        with self._reading() as connection:
            return beside.prompts(connection, limit)

    def draft(self, conversation: int | None) -> Draft:
        """What was typed there and not yet sent; for None, on the empty page."""
        with self._reading() as connection:
            return beside.draft(connection, conversation)

    def keep_draft(self, conversation: int | None, draft: Draft) -> None:
        """Keep what is typed, for the conversation or the empty page; an empty draft removes it."""
        with self._changing() as connection:
            beside.keep_draft(connection, conversation, draft)

    def templates(self) -> list[Template]:
        """The person's prompt templates by name."""
        with self._reading() as connection:
            return beside.templates(connection)

    def keep_template(self, template: Template) -> None:
        """Keep `template`, in the place of one of the same name. QuietlyError where it has none."""
        with self._changing() as connection:
            beside.keep_template(connection, template)

    def remove_template(self, name: str) -> None:
        """Remove the template called `name`; nothing where there is none."""
        with self._changing() as connection:
            connection.execute("DELETE FROM templates WHERE name = ?", (storable(name),))

    def system_prompts(self) -> list[SystemPrompt]:
        """The person's system prompts by name."""
        with self._reading() as connection:
            return beside.system_prompts(connection)

    def keep_system_prompt(self, prompt: SystemPrompt) -> None:
        """Keep `prompt`, in the place of one of the same name. QuietlyError where it has none."""
        with self._changing() as connection:
            beside.keep_system_prompt(connection, prompt)

    def remove_system_prompt(self, name: str) -> None:
        """Remove the system prompt called `name`; nothing where there is none."""
        with self._changing() as connection:
            connection.execute("DELETE FROM system_prompts WHERE name = ?", (storable(name),))

    def presets(self) -> list[Preset]:
        """The person's presets by name."""
        with self._reading() as connection:
            return beside.presets(connection)

    def keep_preset(self, preset: Preset) -> None:
        """Keep `preset`, in the place of one of the same name. QuietlyError where it has none."""
        with self._changing() as connection:
            beside.keep_preset(connection, preset)

    def remove_preset(self, name: str) -> None:
        """Remove the preset called `name`; nothing where there is none."""
        with self._changing() as connection:
            connection.execute("DELETE FROM presets WHERE name = ?", (storable(name),))

    def model_settings(self, model: str) -> GenerationSettings:
        """What was chosen for all answers of the model that people call `model`."""
        with self._reading() as connection:
            return beside.model_settings(connection, model)

    def keep_model_settings(self, model: str, settings: GenerationSettings) -> None:
        """Choose `settings` for all answers of the model."""
        with self._changing() as connection:
            beside.keep_model_settings(connection, model, settings)

    def models_used(self) -> dict[str, float]:
        """When each model answered last, by the name that people call it, in seconds since the epoch."""
        with self._reading() as connection:
            return beside.models_used(connection)

    def remembered(self, key: str) -> str | None:
        """What was last remembered under `key`."""
        with self._reading() as connection:
            return beside.remembered(connection, key)

    def remember(self, key: str, value: str) -> None:
        """Keep `value` under `key` for the next runs."""
        with self._changing() as connection:
            beside.remember(connection, key, value)

    # --- within ------------------------------------------------------------------------------------------

    def _write_on(
        self,
        connection: sqlite3.Connection,
        conversation: int,
        message: int,
        model: str | None,
        sampling: Mapping[str, object] | None,
    ) -> None:
        """Make the answer one that this process is writing with `model`, by these settings."""
        chosen = None if sampling is None else msgspec.json.encode(dict(sampling)).decode()
        connection.execute(
            "UPDATE messages SET status = 'writing', writer = ?, note = '', model = coalesce(?, model),"
            " sampling = coalesce(?, sampling) WHERE id = ?",
            (self._writer(), rows.optional(model), chosen, message),
        )
        connection.execute(
            "UPDATE conversations SET model = coalesce(?, model) WHERE id = ?", (rows.optional(model), conversation)
        )


def _set_title(connection: sqlite3.Connection, conversation: int, title: str, by: TitledBy) -> None:
    connection.execute("UPDATE conversations SET title = ?, titled_by = ? WHERE id = ?", (title, by, conversation))
