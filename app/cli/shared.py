"""What the commands share: the store and the settings as they are found, and how far a long work has come."""

import sys
import time
from typing import Self

from app.chat.store import Store
from app.chat.text import one_line, visible
from app.settings import Settings, load_settings, paths

_AT_ONCE = 1.0
"""Seconds that pass without a word about how far something has come."""
_EVERY = 0.2
"""Seconds between two words about it."""
_TITLE_CELLS = 60
UNTITLED = "Untitled"


def opened() -> Store:
    """The conversations; what was found wrong with their file is said."""
    store = Store.open(paths().database)
    if store.notice:
        tell(store.notice)
    return store


def settings_in_force() -> Settings:
    """What the person has set; what of it is not understood is said."""
    settings, notices = load_settings(paths().settings)
    for notice in notices:
        tell(notice)
    return settings


def tell(sentence: str) -> None:
    """Say something that is not what was asked for: on standard error."""
    sys.stdout.flush()  # where both go to one place, what was said first stands first
    print(visible(sentence), file=sys.stderr)


def named(title: str) -> str:
    """A title as it stands in a line."""
    return one_line(title, _TITLE_CELLS) or UNTITLED


class Progress:
    """One line on a terminal's standard error that says how far something has come, and goes at its end."""

    def __init__(self, doing: str) -> None:
        """`doing` as in "Exporting"."""
        self._doing = doing
        self._next = time.monotonic() + _AT_ONCE
        self._shown = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._show("")
            print(end="\r", file=sys.stderr, flush=True)

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next and sys.stderr.isatty():
            self._next = now + _EVERY
            self._show(f"{self._doing} {done:,} of {total:,}" if total else f"{self._doing} {done:,}")

    def _show(self, line: str) -> None:
        print(f"\r{line.ljust(self._shown)}", end="", file=sys.stderr, flush=True)
        self._shown = len(line)
