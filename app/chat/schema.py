"""The tables of the conversations file, and how an older file becomes a current one.

Steps are applied in order, each in a transaction of its own, and `user_version` counts them; a step that was
published is never edited, a change is a new step. The comments inside the SQL are stored in the file, where
any SQLite tool shows them (`.schema`). Kept to what SQLite 3.34 knows (no STRICT, no RETURNING), because some
systems still ship it. Knows nothing of Python's types.
"""

import sqlite3

APPLICATION_ID = 0x51744C79
"""Bytes 68 to 71 of the file ("QtLy"): this database is Quietly's, whatever it is called."""

STEPS: tuple[str, ...] = (
    """
    CREATE TABLE conversations (
        id            INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again after a deletion
        title         TEXT NOT NULL,  -- shown in lists; empty until the first message
        system_prompt TEXT NOT NULL,  -- what the model is told before the first message; may be empty
        model         TEXT,           -- the model that answered last, or was chosen for the first answer
        head          INTEGER,        -- the message at the end of the branch in use; NULL: nothing said yet
        created       REAL NOT NULL,  -- seconds since 1970-01-01 00:00 UTC
        updated       REAL NOT NULL,  -- when something was last said in it; seconds since 1970, UTC
        FOREIGN KEY (id, head) REFERENCES messages (conversation, id)
            DEFERRABLE INITIALLY DEFERRED
    );
    CREATE INDEX conversations_newest ON conversations (updated DESC, id DESC);

    CREATE TABLE messages (
        id            INTEGER PRIMARY KEY AUTOINCREMENT, -- grows along every branch: parents are older
        conversation  INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        parent        INTEGER,        -- the message this one follows; NULL: it opens the conversation
        role          TEXT NOT NULL,  -- 'user' or 'assistant'
        content       TEXT NOT NULL,  -- the text as written, nothing removed or marked up
        reasoning     TEXT NOT NULL,  -- what the model thought before it answered; may be empty
        status        TEXT NOT NULL,  -- 'complete', 'writing', 'stopped', 'interrupted' or 'failed'
        note          TEXT NOT NULL,  -- why, in words for people, where the status needs it; may be empty
        writer        TEXT,           -- while 'writing': the file in "writers" that its process holds locked
        model         TEXT,           -- the model's name for people
        fingerprint   TEXT,           -- the exact weights, configuration and tokenizer that wrote it
        sampling      TEXT,           -- the settings it was asked with, as a JSON object
        token_ids     BLOB,           -- the exact tokens of the answer, four bytes each, little-endian
        prompt_tokens       INTEGER,  -- length of the prompt, in tokens
        completion_tokens   INTEGER,  -- length of the answer, in tokens
        first_token_seconds REAL,     -- from the question to the first token
        decode_seconds      REAL,     -- from the first token to the last
        created       REAL NOT NULL,  -- seconds since 1970-01-01 00:00 UTC
        UNIQUE (conversation, id),
        CHECK (parent < id),
        -- Deferred, not cascading: a cascade would nest once for each message, and SQLite stops at 1000.
        FOREIGN KEY (conversation, parent) REFERENCES messages (conversation, id)
            DEFERRABLE INITIALLY DEFERRED
    );
    CREATE INDEX messages_children ON messages (conversation, parent);
    CREATE INDEX messages_being_written ON messages (writer) WHERE status = 'writing';

    CREATE TABLE remembered (
        key   TEXT PRIMARY KEY,       -- what the program remembers from run to run, such as the last model
        value TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE conversations ADD COLUMN
        pinned INTEGER NOT NULL DEFAULT 0 /* 1: the person wants it on top of the list */;
    ALTER TABLE conversations ADD COLUMN
        titled_by TEXT NOT NULL DEFAULT 'person' /* whose the title is: 'line' (the first one), 'model', 'person' */;
    ALTER TABLE messages ADD COLUMN
        edited INTEGER NOT NULL DEFAULT 0 /* 1: a person changed the words of this answer */;

    CREATE TABLE drafts (
        id           INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation INTEGER UNIQUE REFERENCES conversations (id) ON DELETE CASCADE, -- NULL: the empty page
        content      TEXT NOT NULL    -- what was typed and not yet sent
    );

    CREATE TABLE attachments (
        message INTEGER REFERENCES messages (id) ON DELETE CASCADE, -- what it was sent with; or NULL
        draft   INTEGER REFERENCES drafts (id) ON DELETE CASCADE,   -- what it will be sent with; or NULL
        place   INTEGER NOT NULL,     -- 0 for the first attachment of its message or draft
        name    TEXT NOT NULL,        -- the name of the file, for people
        text    TEXT NOT NULL,        -- what the model reads of it
        CHECK ((message IS NULL) <> (draft IS NULL))
    );
    CREATE UNIQUE INDEX attachments_of_messages ON attachments (message, place) WHERE message IS NOT NULL;
    CREATE UNIQUE INDEX attachments_of_drafts ON attachments (draft, place) WHERE draft IS NOT NULL;

    CREATE TABLE templates (
        name TEXT PRIMARY KEY,        -- what the person calls it
        text TEXT NOT NULL            -- the prompt itself
    ) WITHOUT ROWID;

    CREATE TABLE forgotten (
        kind    TEXT NOT NULL,        -- 'conversation' or 'message': deleted here, but a backup may still have it
        id      INTEGER NOT NULL,
        created REAL NOT NULL,        -- of the deleted one, so that no other with the same number is taken for it
        PRIMARY KEY (kind, id)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE conversations ADD COLUMN
        settings TEXT NOT NULL DEFAULT '{}' /* how its answers are generated, a JSON object; only what was chosen */;

    CREATE TABLE presets (
        name          TEXT PRIMARY KEY,
        model         TEXT,           -- the model's name for people; NULL: whichever is chosen
        system_prompt TEXT NOT NULL,
        settings      TEXT NOT NULL   -- as in "conversations"
    ) WITHOUT ROWID;

    CREATE TABLE system_prompts (
        name TEXT PRIMARY KEY,        -- what the person calls it
        text TEXT NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE model_settings (
        model    TEXT PRIMARY KEY,    -- the model's name for people
        settings TEXT NOT NULL        -- as in "conversations"; what was chosen there goes before this
    ) WITHOUT ROWID;

    -- What full-text search looks in, a row for a message, its id the rowid. Derived from the other tables: each
    -- character of Chinese, Japanese and Korean stands apart here, because the tokenizer takes a run of them for one
    -- word. What changed waits in "unindexed" until it is needed; a deletion takes effect at once.
    CREATE VIRTUAL TABLE message_index USING fts5 (
        content, reasoning, attachments, tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
    );
    CREATE TABLE unindexed (
        message INTEGER PRIMARY KEY   -- its words in "message_index" are missing or old
    );
    INSERT INTO unindexed SELECT id FROM messages;
    CREATE TRIGGER message_added AFTER INSERT ON messages BEGIN
        INSERT OR IGNORE INTO unindexed VALUES (new.id);
    END;
    CREATE TRIGGER message_changed AFTER UPDATE OF content, reasoning ON messages
    WHEN old.content IS NOT new.content OR old.reasoning IS NOT new.reasoning BEGIN
        INSERT OR IGNORE INTO unindexed VALUES (new.id);
    END;
    CREATE TRIGGER message_deleted AFTER DELETE ON messages BEGIN
        DELETE FROM message_index WHERE rowid = old.id;
        DELETE FROM unindexed WHERE message = old.id;
    END;
    CREATE TRIGGER attachment_added AFTER INSERT ON attachments WHEN new.message IS NOT NULL BEGIN
        INSERT OR IGNORE INTO unindexed VALUES (new.message);
    END;
    """,
)

VERSION = len(STEPS)


def statements(step: str) -> list[str]:
    """The single statements of `step`: sqlite3's executescript would commit the transaction around them."""
    found: list[str] = []
    pending = ""
    for line in step.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending.strip())
            pending = ""
    return found


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to VERSION, safe when two processes try at once. Expects no open transaction."""
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version >= VERSION:
                connection.execute("ROLLBACK")
                return
            for statement in statements(STEPS[version]):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
