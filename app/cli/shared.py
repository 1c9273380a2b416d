"""What the commands share: the store and the settings as they are found, and how far a long work has come."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Self

from app.chat.store import Store
from app.chat.text import one_line, unbroken
from app.settings import Settings, load_settings, paths

_AT_ONCE = 1.0
"""Seconds that pass without a word about how far something has come."""
_EVERY = 0.2
"""Seconds between two words about it."""
_TITLE_CELLS = 60
_TYPED_CELLS = 40
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
    print(unbroken(sentence), file=sys.stderr)


def tell_whom_it_spoke_to() -> None:
    """Say in one line the hosts of the ledger, and how much was sent to and received from each."""
    from app import connections
    from app.words import size

    def amount(count: int | None, done: str) -> str:
        return f"{size(count)} {done}" if count is not None else f"nobody counted what was {done}"

    said = [
        f"{one.host[:200]} ({amount(one.sent, 'sent')}, {amount(one.received, 'received')})"
        for one in connections.ledger.connections
    ]
    tell(f"Spoken to: {'; '.join(said)}." if said else "Spoken to nobody.")


def print_json(value: object) -> None:
    """Print what was asked for as JSON, in one line."""
    import msgspec

    line = ""
    with contextlib.suppress(UnicodeEncodeError):  # the name of a file need not be Unicode
        line = msgspec.json.encode(value).decode()
    if not line or not (line.isascii() or sys.stdout.encoding.lower() == "utf-8"):
        line = json.dumps(msgspec.to_builtins(value), separators=(",", ":"))  # escaped, and nothing is lost
    print(line)


def as_given(text: str) -> str:
    """What was typed as it stands in a sentence, where nothing would not be seen."""
    return one_line(text, _TYPED_CELLS) or '""'


def named(title: str) -> str:
    """A title as it stands in a line."""
    return one_line(title, _TITLE_CELLS) or UNTITLED


@contextlib.contextmanager
def bar_of_bytes(doing: str) -> Iterator[Callable[[int | None, int | None, str], None]]:
    """A bar on a terminal's standard error; it is told the bytes done and in all, None as before, and what is done."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    named = TextColumn("{task.description}", markup=False)
    with Progress(named, *columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total, doing: bar.update(task, completed=done, total=total, description=doing)


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
