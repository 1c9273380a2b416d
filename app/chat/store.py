"""The store: conversations as trees of messages in one SQLite file, which is the person's own.

What a person wrote is on disk before a method returns; an answer is written again and again while it comes.
Several processes may use the file at once. Nothing here ever replaces or removes a file that cannot be read.
Methods may be called from any thread; they take turns. Text is kept as it was written. Knows neither models
nor the screen.
"""

import contextlib
import fcntl
import os
import sqlite3
import stat
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from app.chat import lease, schema
from app.chat.failures import explained
from app.chat.text import one_line, storable
from app.errors import QuietlyError
from app.settings import private_folder

Role = Literal["user", "assistant"]
Status = Literal["complete", "writing", "stopped", "interrupted", "failed"]
Outcome = Literal["complete", "stopped", "interrupted", "failed"]

TITLE_CELLS = 60
PATIENCE = 5.0
"""Seconds that a call waits for another process's transaction; ours take milliseconds."""


class Conversation(msgspec.Struct, frozen=True):
    """A conversation as lists show it; times are seconds since 1970, UTC."""

    id: int
    title: str
    created: float
    updated: float
    """When something was last said in it."""
    head: int | None
    """The message at the end of the branch in use."""
    system_prompt: str
    model: str | None
    """The model that answered last, or was chosen for the first answer."""


class Message(msgspec.Struct, frozen=True):
    """A message as it stands in the file; what was never measured is None."""

    id: int
    conversation: int
    parent: int | None
    role: Role
    content: str
    reasoning: str
    model: str | None
    fingerprint: str | None
    sampling: dict[str, object] | None
    status: Status
    note: str
    packed_ids: bytes | None
    """The answer's tokens as stored, four bytes each, little-endian; a tuple would take 36."""
    prompt_tokens: int | None
    completion_tokens: int | None
    first_token_seconds: float | None
    decode_seconds: float | None
    created: float

    @property
    def token_ids(self) -> tuple[int, ...] | None:
        """The exact tokens of the answer, unpacked at each call."""
        if self.packed_ids is None:
            return None
        count = len(self.packed_ids) // 4
        return struct.unpack(f"<{count}I", self.packed_ids[: count * 4])


# The columns in the order of the fields above.
_CONVERSATIONS = "SELECT id, title, created, updated, head, system_prompt, model FROM conversations"
_MESSAGES = (
    "SELECT id, conversation, parent, role, content, reasoning, model, fingerprint, sampling, status, note,"
    " token_ids, prompt_tokens, completion_tokens, first_token_seconds, decode_seconds, created FROM messages"
)
_LINE = (
    "(WITH RECURSIVE line (member) AS (SELECT head FROM conversations WHERE id = ?"
    " UNION ALL SELECT parent FROM line JOIN messages ON id = member WHERE parent IS NOT NULL)"
    " SELECT member FROM line)"
)
_SAMPLING = Message.__struct_fields__.index("sampling")


class Store:
    """The conversations of one file. Made by `Store.open`; a context manager that closes itself."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._turn = threading.RLock()
        self._lease: lease.Lease | None = None

    @classmethod
    def open(cls, path: Path) -> Self:
        """The store in `path`, created where there is none, brought up to date where it is older.

        Answers whose writer has died are marked as interrupted. QuietlyError where the file cannot be used.
        """
        with _explained(path):
            _prepare_file(path)
            connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                connection.text_factory = _text
                # One at a time: a file is recognised whole, never while another process creates it, and SQLite
                # does not wait for a lock while it changes the journal mode.
                with _turn_in(path.parent):
                    # Before anything that writes: a file of someone else's must stay exactly as it is.
                    _recognise(path, connection)
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.execute("PRAGMA synchronous = FULL")
                    # macOS: before the log is reused, the drive itself has to have written the file.
                    connection.execute("PRAGMA checkpoint_fullfsync = ON")
                    connection.execute("PRAGMA foreign_keys = ON")
                    connection.execute("PRAGMA secure_delete = ON")
                    schema.migrate(connection)
                store = cls(path, connection)
                store._mark_interrupted()
            except BaseException:
                connection.close()
                raise
        return store

    def close(self) -> None:
        """Let go of the file; an answer that was still being written is marked as interrupted."""
        with self._reading():
            held, self._lease = self._lease, None
            try:
                if held:
                    self._interrupt(held.name)
            finally:
                if held:
                    held.release()
                self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- conversations -----------------------------------------------------------------------------------

    def conversations(self) -> list[Conversation]:
        """All of them, the one in which something was last said first."""
        with self._reading() as connection:
            rows = connection.execute(_CONVERSATIONS + " ORDER BY updated DESC, id DESC")
            return [Conversation(*row) for row in rows]

    def latest(self) -> Conversation | None:
        """The conversation in which something was last said."""
        with self._reading() as connection:
            row = connection.execute(_CONVERSATIONS + " ORDER BY updated DESC, id DESC LIMIT 1").fetchone()
            return Conversation(*row) if row else None

    def conversation(self, conversation: int) -> Conversation:
        """The conversation with this id. QuietlyError where it is gone."""
        with self._reading() as connection:
            return self._conversation(connection, conversation)

    def create(self, title: str = "", system_prompt: str = "", model: str | None = None) -> Conversation:
        """A new, empty conversation."""
        now = time.time()
        with self._changing() as connection:
            made = connection.execute(
                "INSERT INTO conversations (title, system_prompt, model, created, updated) VALUES (?, ?, ?, ?, ?)",
                (storable(title), storable(system_prompt), _optional(model), now, now),
            )
            return self._conversation(connection, _row_id(made))

    def rename(self, conversation: int, title: str) -> None:
        """Give the conversation another title; it keeps its place in the list."""
        with self._changing() as connection:
            self._conversation(connection, conversation)
            _set_title(connection, conversation, storable(title))

    def delete(self, conversation: int) -> None:
        """Remove the conversation and every message in it, for good; nothing where it is gone already."""
        with self._changing() as connection:
            connection.execute("DELETE FROM conversations WHERE id = ?", (conversation,))
        with self._reading() as connection:
            # In the file deleted text is overwritten; the -wal file has copies of its pages until emptied.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    # --- messages ----------------------------------------------------------------------------------------

    def ask(self, conversation: int, parent: int | None, content: str) -> Message:
        """Add the person's message after `parent` and make it the head. It is on disk when this returns."""
        with self._changing() as connection:
            found = self._conversation(connection, conversation)
            message = self._add(connection, conversation, parent, "user", storable(content))
            if not found.title:
                _set_title(connection, conversation, one_line(message.content, TITLE_CELLS))
            return message

    def begin_answer(
        self, conversation: int, parent: int, model: str | None, sampling: Mapping[str, object] | None = None
    ) -> Message:
        """Add an empty answer after `parent`, "writing" while this process lives, and make it the head."""
        settings = None if sampling is None else msgspec.json.encode(dict(sampling)).decode()
        with self._changing() as connection:
            self._conversation(connection, conversation)
            if self._lease is None:
                self._lease = lease.Lease(self._writers)
            message = self._add(connection, conversation, parent, "assistant", "")
            connection.execute(
                "UPDATE messages SET status = 'writing', writer = ?, model = ?, sampling = ? WHERE id = ?",
                (self._lease.name, _optional(model), settings, message.id),
            )
            connection.execute(
                "UPDATE conversations SET model = coalesce(?, model) WHERE id = ?",
                (_optional(model), conversation),
            )
            return self._message(connection, message.id)

    def write(self, message: int, answer: str, reasoning: str = "") -> None:
        """Keep the answer's whole text so far; an answer that is finished stays as it is."""
        with self._changing() as connection:
            kept = connection.execute(
                "UPDATE messages SET content = ?, reasoning = ? WHERE id = ? AND status = 'writing'",
                (storable(answer), storable(reasoning), message),
            )
            if not kept.rowcount:
                self._message(connection, message)

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
        """Keep the whole answer and how it ended. Of several calls the first counts; seconds, tokens."""
        packed = None if token_ids is None else struct.pack(f"<{len(token_ids)}I", *token_ids)
        with self._changing() as connection:
            # "interrupted" gives way too: another window may have taken this process for dead.
            kept = connection.execute(
                "UPDATE messages SET status = ?, writer = NULL, note = ?, content = ?, reasoning = ?,"
                " fingerprint = ?, token_ids = ?, prompt_tokens = ?, completion_tokens = ?,"
                " first_token_seconds = ?, decode_seconds = ?"
                " WHERE id = ? AND role = 'assistant' AND status IN ('writing', 'interrupted')",
                (
                    status,
                    storable(note),
                    storable(answer),
                    storable(reasoning),
                    _optional(fingerprint),
                    packed,
                    prompt_tokens,
                    completion_tokens,
                    first_token_seconds,
                    decode_seconds,
                    message,
                ),
            )
            found = self._message(connection, message)
            if kept.rowcount:
                connection.execute(
                    "UPDATE conversations SET updated = ? WHERE id = ?", (time.time(), found.conversation)
                )
            return found

    def branch(self, conversation: int) -> list[Message]:
        """The messages from the conversation's opening to its head."""
        with self._reading() as connection:
            # Ids grow along a branch, so their order is the conversation's.
            rows = connection.execute(_MESSAGES + " WHERE id IN " + _LINE + " ORDER BY id", (conversation,))
            return [_message(row) for row in rows]

    def children(self, message: int | None, conversation: int) -> list[Message]:
        """What follows `message`, the oldest first; for None, what opens the conversation."""
        with self._reading() as connection:
            rows = connection.execute(
                _MESSAGES + " WHERE conversation = ? AND parent IS ? ORDER BY id", (conversation, message)
            )
            return [_message(row) for row in rows]

    def move_head(self, conversation: int, message: int | None) -> None:
        """Make `message` the end of the branch in use; with None the next one opens it anew."""
        with self._changing() as connection:
            self._conversation(connection, conversation)
            self._check_member(connection, conversation, message)
            connection.execute("UPDATE conversations SET head = ? WHERE id = ?", (message, conversation))

    # --- what the program remembers ----------------------------------------------------------------------

    def remembered(self, key: str) -> str | None:
        """What was last remembered under `key`."""
        with self._reading() as connection:
            row = connection.execute("SELECT value FROM remembered WHERE key = ?", (key,)).fetchone()
            return str(row[0]) if row else None

    def remember(self, key: str, value: str) -> None:
        """Keep `value` under `key` for the next runs."""
        with self._changing() as connection:
            connection.execute(
                "INSERT INTO remembered (key, value) VALUES (?, ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, storable(value)),
            )

    # --- within ------------------------------------------------------------------------------------------

    @property
    def _writers(self) -> Path:
        return self.path.parent / "writers"

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._turn, _explained(self.path):
            yield self._connection

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on disk at the end of the block, or without any effect."""
        with self._reading() as connection:
            # IMMEDIATE: a transaction that starts by reading could not wait for another writer.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _conversation(self, connection: sqlite3.Connection, conversation: int) -> Conversation:
        known = 0 < conversation < 1 << 63  # SQLite has no other ids
        row = known and connection.execute(_CONVERSATIONS + " WHERE id = ?", (conversation,)).fetchone()
        if not row:
            raise QuietlyError(
                f"Conversation {conversation} is gone, perhaps deleted in another window; start a new one."
            )
        return Conversation(*row)

    def _message(self, connection: sqlite3.Connection, message: int) -> Message:
        row = connection.execute(_MESSAGES + " WHERE id = ?", (message,)).fetchone()
        if row is None:
            raise QuietlyError(
                f"Message {message} is gone, perhaps its conversation was deleted in another window; start a new one."
            )
        return _message(row)

    def _check_member(self, connection: sqlite3.Connection, conversation: int, message: int | None) -> None:
        if message is not None and self._message(connection, message).conversation != conversation:
            raise QuietlyError(f"Message {message} belongs to another conversation than {conversation}; open that one.")

    def _add(
        self, connection: sqlite3.Connection, conversation: int, parent: int | None, role: Role, content: str
    ) -> Message:
        self._check_member(connection, conversation, parent)
        now = time.time()
        made = connection.execute(
            "INSERT INTO messages (conversation, parent, role, content, reasoning, status, note, created)"
            " VALUES (?, ?, ?, ?, '', 'complete', '', ?)",
            (conversation, parent, role, content, now),
        )
        message = _row_id(made)
        connection.execute("UPDATE conversations SET head = ?, updated = ? WHERE id = ?", (message, now, conversation))
        return self._message(connection, message)

    def _mark_interrupted(self) -> None:
        """Mark the answers of writers that are dead, and remove what those left behind."""
        unfinished = self._connection.execute("SELECT DISTINCT writer FROM messages WHERE status = 'writing'")
        for name in {str(writer) for (writer,) in unfinished} | lease.names(self._writers):
            with lease.seized(self._writers, name) as dead:
                if dead:
                    self._interrupt(name)

    def _interrupt(self, writer: str) -> None:
        self._connection.execute(
            "UPDATE messages SET status = 'interrupted', writer = NULL WHERE status = 'writing' AND writer = ?",
            (writer,),
        )


def _message(row: Sequence[Any]) -> Message:
    values = list(row)
    values[_SAMPLING] = _settings(values[_SAMPLING])
    return Message(*values)


def _settings(stored: object) -> dict[str, object] | None:
    """The sampling settings; None where a hand edited them into something else: the words matter more."""
    if stored is None:
        return None
    try:
        return msgspec.json.decode(str(stored), type=dict[str, object])
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def _optional(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _text(stored: bytes) -> str:
    """Text from the file; a damaged letter costs itself, not the conversation."""
    return str(stored, "utf-8", "replace")


def _set_title(connection: sqlite3.Connection, conversation: int, title: str) -> None:
    connection.execute("UPDATE conversations SET title = ? WHERE id = ?", (title, conversation))


def _row_id(cursor: sqlite3.Cursor) -> int:
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _prepare_file(path: Path) -> None:
    """Make sure that `path` is a file only we can read; new -wal and -shm files take its mode from SQLite."""
    private_folder(path.parent)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise QuietlyError(
                f"{path} is not a file; move it away, so that Quietly can keep its conversations there."
            ) from None
        for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            with contextlib.suppress(FileNotFoundError):
                if (mode := file.stat().st_mode) & 0o077:
                    file.chmod(stat.S_IMODE(mode) & 0o700)
        # SQLite would open a file it may not write, and fail only at the first word.
        os.close(os.open(path, os.O_RDWR))
    else:
        os.close(descriptor)


def _recognise(path: Path, connection: sqlite3.Connection) -> None:
    """Raise QuietlyError unless the file is empty, or Quietly's and not from its future."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (things,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != schema.APPLICATION_ID and (application or version or things):
        raise QuietlyError(
            f"{path} is another program's database; move it away, so that Quietly can keep its conversations there."
        )
    if version > schema.VERSION:
        raise QuietlyError(
            f"{path} was written by a newer Quietly; update Quietly to open it, the file was left as it is."
        )


@contextlib.contextmanager
def _turn_in(folder: Path) -> Iterator[None]:
    """Processes that open the same file for the first time do so one after the other."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the system leave as one sentence for people."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise explained(path, error) from error
