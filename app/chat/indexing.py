"""What full-text search reads: text as words that stand apart, and the index caught up with what was said.

SQLite's tokenizer splits at gaps and takes a run of Chinese, Japanese or Korean for one word. So each character of
the scripts that need no gaps becomes a word of its own here, and so does each emoji; letters lose their case and
their diacritics. Whoever asks the index has to ask in these words. Knows neither queries nor ranks.
"""

import re
import sqlite3
import unicodedata

from app.chat import rows

AT_ONCE = 100_000
"""Characters after which one call of `catch_up` ends: the person's next word waits for it."""

_HALF_WIDTH_VOICED = re.compile("[\uff66-\uff9d][\uff9e\uff9f]")
_ALONE = re.compile(
    "["
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese, Khmer
    "\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"  # Hangul
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b"  # radicals, signs of Chinese and Japanese
    "\u3041-\u3096\u309d-\u30fa\u30fc-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\ua4cf"  # kana, bopomofo, Han, Yi
    "\U00016fe0-\U00018d08\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
    "]"
)
_GAPS = ("Cn", "Cs", "Sc", "Sk", "Sm")
_SELECTOR = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_WAITING = (
    "SELECT unindexed.message, content, reasoning, EXISTS (SELECT 1 FROM attachments WHERE message = messages.id)"
    " FROM unindexed LEFT JOIN messages ON id = unindexed.message WHERE status IS NOT 'writing' ORDER BY 1 DESC LIMIT ?"
)
_MORE = (
    "SELECT (SELECT count(*) FROM unindexed)"
    " - (SELECT count(*) FROM messages WHERE status = 'writing' AND id IN (SELECT message FROM unindexed))"
)


def catch_up(connection: sqlite3.Connection, most: int) -> int:
    """Index the newest of what waits, up to `most` messages or AT_ONCE characters; returns how many more could be."""
    taken: list[tuple[int, str, str, str]] = []
    gone: list[int] = []
    read = 0
    for message, content, reasoning, has_attachments in connection.execute(_WAITING, (most,)):
        if content is None:  # deleted by a hand that knew no triggers
            gone.append(message)
            continue
        attached = rows.attached(connection, "message", message) if has_attachments else ()
        texts = (content, reasoning, "\n".join(f"{one.name}\n{one.text}" for one in attached))
        taken.append((message, *map(spaced, texts)))
        read += sum(map(len, texts))
        if read >= AT_ONCE:
            break
    # The oldest first: to go back, FTS5 would write a segment for each.
    connection.executemany(
        "INSERT OR REPLACE INTO message_index (rowid, content, reasoning, attachments) VALUES (?, ?, ?, ?)",
        reversed(taken),
    )
    done = [*gone, *(message for message, *_ in taken)]
    connection.executemany("DELETE FROM unindexed WHERE message = ?", [(message,) for message in done])
    (more,) = connection.execute(_MORE).fetchone()
    return int(more)


def spaced(text: str) -> str:
    """`text` as words with gaps between them, as the index has it; one that was spaced already stays the same."""
    return composed(text).translate(LETTERS)


def composed(text: str) -> str:
    """`text` with each letter and its marks as one character where Unicode has one: what LETTERS takes."""
    if text.isascii():
        return text
    return _HALF_WIDTH_VOICED.sub(
        lambda voiced: unicodedata.normalize("NFKC", voiced[0]), unicodedata.normalize("NFC", text)
    )


class _Letters(dict[int, str]):
    """What each character is in the index, worked out when it is first met."""

    def __missing__(self, point: int) -> str:
        character = chr(point)
        # Twice: the lower case of a letter can be one that comes apart again.
        lower = unicodedata.normalize("NFKD", character).casefold()
        parts = "".join(filter(None, map(_bare, unicodedata.normalize("NFKD", lower))))
        self[point] = spelled = "".join(map(_placed, unicodedata.normalize("NFC", parts)))
        return spelled


LETTERS = _Letters()


def _bare(character: str) -> str:
    """`character`, a gap for what stands between words, nothing for what only adorns a letter or is not seen."""
    category = unicodedata.category(character)
    if character.isspace() or category[0] in "PZ" or category in _GAPS or character == "\u200c":
        return " "
    # Marks of these classes stand above, below or within a letter. The rest are vowels, or the voice of a kana.
    place = unicodedata.combining(character)
    adorns = 10 <= place < 100 or place >= 200
    return "" if adorns or category in ("Cc", "Cf", "Me") or _SELECTOR.match(character) else character


def _placed(character: str) -> str:
    """`character` so that the tokenizer keeps it: what it would take for a gap is moved to where it looks no closer."""
    category = unicodedata.category(character)
    kept = chr(0xF0000 + (ord(character) & 0xFFFF)) if category[0] == "M" or category == "So" else character
    return f" {kept} " if category == "So" or _ALONE.match(character) else kept
