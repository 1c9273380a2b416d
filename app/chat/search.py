"""Searching all that was said: what is typed becomes a query, a query finds conversations and messages.

It reads through a connection of its own, so that nobody who writes ever waits for it. Text of messages is data: a
snippet is what stands there, made safe to show. Knows neither the screen nor models, and changes nothing.
"""

import contextlib
import re
import sqlite3
import threading
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import islice
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote

import msgspec

from app.chat import opening, schema
from app.chat.failures import explaining, legible
from app.chat.indexing import spaced
from app.chat.records import Role
from app.chat.snippets import Place, Term, cut, places, shown
from app.chat.text import storable
from app.errors import QuietlyError

Where = Literal["title", "content", "reasoning", "attachments"]

RANKED = 1_000
"""Of more matches than this the newest are ranked: what very many messages say hardly tells them apart."""
_TYPED = 1_000
"""Characters that are read of what was typed: nobody means more, and FTS5 takes 40 KB for each word of a row."""
_TERMS = 64
"""Words that are looked for: an expression of FTS5 takes 256."""
_PATIENCE = 0.1
"""Seconds that a search waits for another process that opens or closes the file; nobody who writes holds it up."""
_PREFIX = 2
"""Letters from which on a word that is being typed may go on; fewer would begin too many words."""

_PIECE = re.compile(
    r'(?P<without>-(?=[\w"]))?(?:(?P<key>model|after|before):)?'
    r'(?:"(?P<phrase>[^"]*)(?P<closed>"?)|(?P<word>[^\s"]*))'
)
_QUOTES = str.maketrans("“”„‟＂", '"' * 5)
_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{1,2}))?(?:-([0-9]{1,2}))?")
_WHOLE_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_FILTERS = (
    "(?2 IS NULL OR messages.created >= ?2) AND (?3 IS NULL OR messages.created < ?3)"
    " AND (?4 = '' OR instr(lower(coalesce(messages.model, conversations.model, '')), ?4))"
)
# CROSS: in this order, the index first.
_MATCHES = "FROM message_index"
_FILTERED = (
    "FROM message_index CROSS JOIN messages ON messages.id = message_index.rowid"
    f" CROSS JOIN conversations ON conversations.id = messages.conversation AND {_FILTERS}"
)
_ALL = "SELECT messages.id FROM messages JOIN conversations ON conversations.id = messages.conversation"
_WITHOUT = "(?1 = '' OR messages.id NOT IN (SELECT rowid FROM message_index WHERE message_index MATCH ?1))"
_RANK = "bm25(message_index, 1.0, 0.5, 0.3)"
_TITLES = (
    "SELECT id, title FROM conversations WHERE (?1 IS NULL OR updated >= ?1)"
    " AND (?2 IS NULL OR created < ?2) AND (?3 = '' OR instr(lower(coalesce(model, '')), ?3))"
    " ORDER BY updated DESC, id DESC"
)
_TITLED = "SELECT model, updated FROM conversations WHERE id = ?"
_HIT = (
    "SELECT conversation, title, messages.id, role, messages.model, messages.created"
    " FROM messages JOIN conversations ON conversations.id = conversation WHERE messages.id = ?"
)
# One after the other, and only as far as needed: an attached book need not be read for a word of the question.
_TEXTS: tuple[tuple[Where, str], ...] = (
    ("content", "SELECT content FROM messages WHERE id = ?"),
    ("reasoning", "SELECT reasoning FROM messages WHERE id = ?"),
    ("attachments", "SELECT name || char(10) || text FROM attachments WHERE message = ? ORDER BY place"),
)


class Query(msgspec.Struct, frozen=True):
    """What is looked for; times are seconds since 1970, UTC."""

    words: tuple[str, ...] = ()
    """All of them; one with signs in it, such as foo_bar, is found as its parts in a row."""
    phrases: tuple[str, ...] = ()
    """Words in a row, all of these too."""
    excluded: tuple[str, ...] = ()
    """Words and phrases that must not be there."""
    model: str = ""
    """Part of the name of the model that answered, or of the conversation's; empty is any."""
    since: float | None = None
    """Not before this."""
    until: float | None = None
    """Before this."""
    unfinished: bool = False
    """The last of `words` is still being typed: it may go on."""


class Hit(msgspec.Struct, frozen=True):
    """A place where everything was found."""

    conversation: int
    title: str
    """The conversation's, as it is stored."""
    message: int | None
    """None: the title has it."""
    role: Role | None
    model: str | None
    created: float
    """When the message was written; for a title, when something was last said. Seconds since 1970, UTC."""
    where: Where
    snippet: str
    """One line of what stands there, safe to show."""
    marks: tuple[tuple[int, int], ...]
    """Ranges of characters in `snippet` that were looked for; none where only the index still has the words."""


class Found(msgspec.Struct, frozen=True):
    """What a query found, the best first, titles before messages."""

    hits: tuple[Hit, ...] = ()
    more: bool = False
    """There are others that are not among `hits`."""


def parse(text: str, today: date) -> Query:
    """The query in what a person typed: words, "a phrase", -without, model:name, after:day and before:day.

    A day is 2026-01-31, 2026-01, 2026, today or yesterday; `after` begins with its first moment, `before` ends there.
    Whatever else is typed is looked for as it stands; of a whole page the beginning. Everything is a query but a day
    that is written out and is none, such as 2026-02-30, which is a QuietlyError.
    """
    words: list[str] = []
    phrases: list[str] = []
    excluded: list[str] = []
    model, since, until, unfinished = "", None, None, False
    text = text[:_TYPED].translate(_QUOTES)
    for piece in _PIECE.finditer(text):
        key, phrase, open_ended = piece["key"], piece["phrase"], piece.end() == len(text) and not piece["closed"]
        value = piece["word"] if phrase is None else phrase
        if key and not piece["without"]:
            if key == "model":
                model = value
                continue
            at = _moment(value, today)
            if at is not None or not value.strip("0123456789-"):  # a date that is still being typed is none yet
                since, until = (at, until) if key == "after" else (since, at)
                continue
        value = f"{key}:{value}" if key else value
        if not spaced(value).split():
            continue
        if piece["without"]:
            excluded.append(value)
        elif phrase is not None and not open_ended:
            phrases.append(value)
        else:
            words.append(value)
            unfinished = open_ended
    return Query(tuple(words), tuple(phrases), tuple(excluded), model, since, until, unfinished)


def _moment(day: str, today: date) -> float | None:
    """When `day` begins here, in seconds since 1970; None where it is no day, or none yet."""
    if day in ("today", "yesterday"):
        first = today - timedelta(days=day == "yesterday")
    elif named := _DATE.fullmatch(day):
        try:
            first = date(*(int(number or 1) for number in named.groups()))
        except ValueError:
            if _WHOLE_DATE.fullmatch(day):
                raise QuietlyError(f"{day} is no day; write one that there is, as 2026-01-31.") from None
            return None
    else:
        return None
    with contextlib.suppress(OverflowError, ValueError, OSError):  # a year that the system's clock does not know
        return datetime.combine(first, time()).timestamp()
    return None


class Search:
    """A reader of the conversations file, made by `open`. `find` takes turns; `interrupt` may come from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()
        self._given_up = threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._titles: dict[str, str] = {}
        """Titles as words, so that they are worked out once."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """A search in the file `path`, which need not be there yet."""
        return cls(path)

    def close(self) -> None:
        """Let go of the file, once a `find` that is running has ended."""
        with self._turn:
            self._disconnect()

    def interrupt(self) -> None:
        """Let the `find` that is running find nothing, soon."""
        self._given_up.set()
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(sqlite3.ProgrammingError):  # closed at this moment
                connection.interrupt()

    def find(self, query: Query, limit: int = 50) -> Found:
        """What is found, titles first, at most half of `limit`; then messages by rank.

        Of more than RANKED messages only the newest are looked at. A word of one letter does not go on while it is
        typed. Without words the newest messages that fit are found. Nothing is found in a file that is not there, or
        not up to date yet; and nothing once `interrupt` was called. QuietlyError where the file cannot be read.
        """
        with self._turn, explaining(self._path), legible():
            self._given_up.clear()
            try:
                with self._reading() as connection:
                    found = self._find(connection, query, limit) if connection else Found()
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _PASSING:
                    raise
                return Found()
            return Found() if self._given_up.is_set() else found

    # --- within ------------------------------------------------------------------------------------------

    def _find(self, connection: sqlite3.Connection, query: Query, limit: int) -> Found:
        wanted = _terms((*query.phrases, *query.words), unfinished=query.unfinished)
        without = _terms(query.excluded)
        if not wanted and not query.model and query.since is query.until is None:
            return Found()
        most = max(1, limit // 2)
        titled = list(islice(self._titled(connection, query, wanted, without), most + 1)) if wanted else []
        hits = titled[:most]
        messages = _matching(connection, query, wanted, without, limit + 1 - len(hits))
        more = len(titled) > most or len(messages) > limit - len(hits)
        for message in messages[: limit - len(hits)]:
            if self._given_up.is_set():
                break
            hits.extend(_hit(connection, message, wanted))
        return Found(tuple(hits), more)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """The conversations as they are at one moment; None where there are none that this version can read."""
        connection = self._connected()
        if connection is None:
            yield None
            return
        connection.execute("BEGIN")
        try:
            yield connection if _is_current(connection) else None
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _titled(
        self, connection: sqlite3.Connection, query: Query, wanted: tuple[Term, ...], without: tuple[Term, ...]
    ) -> Iterator[Hit]:
        filters = (query.since, query.until, storable(query.model).lower())
        for conversation, title in connection.execute(_TITLES, filters):
            words = self._titles.get(title)
            if words is None:
                words = self._titles[title] = spaced(title)
            if _holds(words, wanted, without):
                model, updated = connection.execute(_TITLED, (conversation,)).fetchone()
                line = shown(title)
                snippet, marks = cut(line, places(line, wanted))
                yield Hit(conversation, title, None, None, model, updated, "title", snippet, marks)

    def _connected(self) -> sqlite3.Connection | None:
        """The connection to the file that lies there now; None where there is none."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._disconnect()
            return None
        if self._file != (status.st_dev, status.st_ino):
            self._disconnect()
            self._connection = sqlite3.connect(
                f"file:{quote(str(self._path.absolute()))}?mode=rw",  # never made here
                uri=True,
                timeout=_PATIENCE,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connection.text_factory = opening.readable
            # Not opened as read-only: whoever closes the file last has to be able to put its log away.
            self._connection.execute("PRAGMA query_only = ON")
            self._file = (status.st_dev, status.st_ino)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection, self._file = self._connection, None, None
        self._titles.clear()
        if connection is not None:
            connection.close()


_PASSING = (sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN)
"""Given up; or the file is being made, brought up to date or replaced at this moment."""


def _is_current(connection: sqlite3.Connection) -> bool:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    return bool(version == schema.VERSION and application == schema.APPLICATION_ID)


def _holds(words: str, wanted: tuple[Term, ...], without: tuple[Term, ...]) -> bool:
    for term in wanted:  # asked of every title at every look, and mostly ends at the first: `all` takes twice as long
        if not term.pattern.search(words):
            return False
    return not (without and any(term.pattern.search(words) for term in without))


def _terms(texts: tuple[str, ...], *, unfinished: bool = False) -> tuple[Term, ...]:
    """What `texts` are in the index; the last of them may go on where it is `unfinished`."""
    last = len(texts) - 1
    split = [(spaced(text).split(), unfinished and place == last) for place, text in enumerate(texts)]
    terms = [Term.of(words, goes_on=goes_on and len(words[-1]) >= _PREFIX) for words, goes_on in split if words]
    return tuple(dict.fromkeys(terms))[-_TERMS:]


def _matching(
    connection: sqlite3.Connection, query: Query, wanted: tuple[Term, ...], without: tuple[Term, ...], limit: int
) -> list[int]:
    """The ids of at most `limit` messages, the best first."""
    unwanted = " OR ".join(term.expression for term in without)
    filters = (query.since, query.until, storable(query.model).lower())
    if not wanted:
        found = connection.execute(
            f"{_ALL} WHERE {_FILTERS} AND {_WITHOUT} ORDER BY messages.id DESC LIMIT ?5", (unwanted, *filters, limit)
        ).fetchall()
        return [message for (message,) in found]
    expression = " AND ".join(term.expression for term in wanted)
    if unwanted:
        expression = f"({expression}) NOT ({unwanted})"
    source, values = (_FILTERED, (expression, *filters)) if filters != (None, None, "") else (_MATCHES, (expression,))
    matches = f"{source} WHERE message_index MATCH ?1"
    newest = connection.execute(
        f"SELECT {_RANK}, -message_index.rowid {matches} ORDER BY message_index.rowid DESC LIMIT {max(RANKED, limit)}",
        values,
    )
    return [-message for _, message in sorted(newest)[:limit]]


def _hit(connection: sqlite3.Connection, message: int, wanted: tuple[Term, ...]) -> Iterator[Hit]:
    """The hit in `message`, where most of what is wanted stands close together; none where the message is gone."""
    row = connection.execute(_HIT, (message,)).fetchone()
    if row is None:
        return
    best: tuple[Where, str, list[Place]] = ("content", "", [])
    most = -1
    for where, statement in _TEXTS:
        for (text,) in connection.execute(statement, (message,)):
            found = places(text := shown(text), wanted)
            count = len({term for _, _, term in found})
            if text and count > most:
                best, most = (where, text, found), count
        if most == len(wanted):
            break
    where, text, found = best
    snippet, marks = cut(text, found)
    conversation, title, identity, role, model, created = row
    yield Hit(conversation, title, identity, role, model, created, where, snippet, marks)
