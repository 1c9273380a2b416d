"""Search over 40,000 messages beside a plain LIKE, in turns: `python -m tests.benchmarks.search [messages]`.

Words come as often as in real text (Zipf's law), messages have 1 to 2 KB, one in five is Chinese. Every query is
asked of the whole of `Search.find`, snippets included, on a file that lies in the system's cache.
"""

import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path

from app.chat.search import Query, Search, parse
from app.chat.store import Store

EACH = 60
"""Queries of a kind."""
TURNS = 20
"""Messages in a conversation."""
SEED = 20261122
TODAY = date(2026, 11, 22)
START = 1_700_000_000.0
_SYLLABLES = [first + vowel for first in "bcdfglmnpr" for vowel in "aeio"]


class Words:
    """A vocabulary whose words come by Zipf's law, and text made of it."""

    def __init__(self, chance: random.Random) -> None:
        made: dict[str, None] = {}
        while len(made) < 50_000:
            made["".join(chance.choices(_SYLLABLES, k=min(5, 1 + len(made) // 30 + chance.randrange(2))))] = None
        self.latin = list(made)
        self.han = [chr(0x4E00 + point) for point in chance.sample(range(6_000), 3_000)]
        self._chance = chance
        self._sums = {len(kind): _sums(len(kind)) for kind in (self.latin, self.han)}

    def drawn(self, kind: list[str], count: int) -> list[str]:
        """`count` words as often as they come in text."""
        return self._chance.choices(kind, cum_weights=self._sums[len(kind)], k=count)

    def message(self) -> str:
        """1 to 2 KB of text."""
        if self._chance.random() < 0.2:
            return "".join(self.drawn(self.han, self._chance.randrange(330, 670)))
        return " ".join(self.drawn(self.latin, self._chance.randrange(140, 280)))


def _sums(count: int) -> list[float]:
    total, sums = 0.0, []
    for rank in range(count):
        total += 1 / (rank + 1)
        sums.append(total)
    return sums


def fill(path: Path, words: Words, messages: int) -> list[str]:
    """A file with `messages` in it; returns what they say."""
    texts = [words.message() for _ in range(messages)]
    Store.open(path).close()
    connection = sqlite3.connect(path)
    for conversation in range(1, messages // TURNS + 1):
        title = " ".join(words.drawn(words.latin, 5))
        at = START + conversation * TURNS * 60.0
        connection.execute(
            "INSERT INTO conversations (id, title, system_prompt, model, created, updated) VALUES (?, ?, '', ?, ?, ?)",
            (conversation, title, f"model {conversation % 5}", at, at),
        )
    connection.executemany(
        "INSERT INTO messages (conversation, role, content, reasoning, status, note, model, created)"
        " VALUES (?, ?, ?, '', 'complete', '', ?, ?)",
        (
            (number // TURNS + 1, ("user", "assistant")[number % 2], text, f"model {number % 5}", START + number * 60.0)
            for number, text in enumerate(texts)
        ),
    )
    connection.commit()
    connection.close()
    return texts


def queries(words: Words, texts: list[str], chance: random.Random) -> dict[str, Callable[[], str]]:
    """What is asked, by kind, as it would be typed."""

    def some(kind: list[str], low: int, high: int) -> str:
        return kind[chance.randrange(low, high)]

    def row(latin: bool, length: int) -> str:
        text = next(text for text in iter(lambda: chance.choice(texts), "") if text.isascii() == latin)
        units = text.split() if latin else list(text)
        at = chance.randrange(len(units) - length)
        return (" " if latin else "").join(units[at : at + length])

    return {
        "a word as it comes in text": lambda: f"{words.drawn(words.latin, 1)[0]} ",
        "a rare word (rank 5,000 and above)": lambda: f"{some(words.latin, 5_000, 50_000)} ",
        "a word in between (rank 100 to 5,000)": lambda: f"{some(words.latin, 100, 5_000)} ",
        "one of the 30 most frequent words": lambda: f"{some(words.latin, 0, 30)} ",
        "two words": lambda: f"{some(words.latin, 100, 5_000)} {some(words.latin, 30, 5_000)} ",
        "two of the 30 most frequent words": lambda: f"{some(words.latin, 0, 30)} {some(words.latin, 0, 30)} ",
        "a phrase of three words": lambda: f'"{row(True, 3)}"',
        "two Chinese characters": lambda: f"{row(False, 2)} ",
        "four Chinese characters": lambda: f"{row(False, 4)} ",
        "a word, one letter typed": lambda: some(words.latin, 0, 50_000)[:1],
        "a word, two letters typed": lambda: some(words.latin, 0, 50_000)[:2],
        "a word, three letters typed": lambda: some(words.latin, 0, 50_000)[:3],
        "a word, four letters typed": lambda: some(words.latin, 0, 50_000)[:4],
        "a word, five letters typed": lambda: some(words.latin, 0, 50_000)[:5],
        "a word but not another": lambda: f"{some(words.latin, 30, 5_000)} -{some(words.latin, 0, 100)} ",
        "a word of one model": lambda: f"{some(words.latin, 100, 5_000)} model:3 ",
        "a frequent word of one model": lambda: f"{some(words.latin, 0, 100)} model:3 ",
        "a frequent word of one month": lambda: f"{some(words.latin, 0, 100)} after:2023-12 before:2024 ",
    }


def like(connection: sqlite3.Connection, query: Query) -> int:
    """The newest messages in which the same words stand anywhere, without ranks, snippets and titles."""
    parts = [*query.words, *query.phrases]
    where = " AND ".join(["content LIKE ?"] * len(parts))
    found = connection.execute(
        f"SELECT id, content FROM messages WHERE {where} ORDER BY id DESC LIMIT 51", [f"%{part}%" for part in parts]
    )
    return len(found.fetchall())


def _timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return (time.perf_counter() - begun) * 1_000


def _percentiles(times: list[float]) -> str:
    cuts = statistics.quantiles(times, n=20)
    return f"{statistics.median(times):.1f}, {cuts[-1]:.1f}"


def _indexed(path: Path) -> Iterator[float]:
    with Store.open(path) as store:
        waiting = 1
        while waiting:
            begun = time.perf_counter()
            waiting = store.catch_up()
            yield (time.perf_counter() - begun) * 1_000


def main(messages: int) -> None:
    """Print what was measured as rows of a table."""
    chance = random.Random(SEED)
    words = Words(chance)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "conversations.sqlite3"
        texts = fill(path, words, messages)
        before = path.stat().st_size
        calls = list(_indexed(path))
        print(f"{messages:,} messages, {before / 1e6:.0f} MB; with the index {path.stat().st_size / 1e6:.0f} MB")
        print(
            f"indexed in {sum(calls) / 1_000:.1f} s, a call p50 and p95 {_percentiles(calls)} ms, most {max(calls):.0f}"
        )
        search = Search.open(path)
        plain = sqlite3.connect(path)
        print("| query | found | search p50, p95 (ms) | LIKE p50, p95 (ms) |\n| --- | --- | --- | --- |")
        for kind, typed in queries(words, texts, chance).items():
            asked = [parse(typed(), TODAY) for _ in range(EACH)]
            hits = statistics.median(len(search.find(query).hits) for query in asked[:10])
            ours, theirs = [], []
            for query in asked:
                ours.append(_timed(partial(search.find, query)))
                theirs.append(_timed(partial(like, plain, query)))
            print(f"| {kind} | {hits:.0f} | {_percentiles(ours)} | {_percentiles(theirs)} |", flush=True)
        search.close()
        plain.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40_000)
