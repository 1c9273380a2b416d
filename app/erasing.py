"""Deleting everything that a person said, and saying which files stay, and why.

Goes by the folders of the program and the names of what it writes there; what it does not know it leaves alone and
says so. Knows no screen and asks nothing: whoever calls this has asked.
"""

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from app import kept
from app.chat.failures import explaining
from app.chat.store import Store
from app.settings import Paths

_LOG = re.compile(r"(engine|crash)-.+\.(log|txt)|(download|asking|measurer|quantiser)\.log")
_EDITED = re.compile(r"quietly-[a-z0-9_]{8}")
"""A folder in which a message lay while it was written in the person's own editor; a killed program leaves it."""


class Left(msgspec.Struct, frozen=True):
    """A file that is still there, and why."""

    file: Path
    why: str
    """For people, as "a model"."""


def erase_everything(places: Paths, store: Store) -> tuple[Left, ...]:
    """Delete for good all that was said, kept beside it, or noted about it; returns every file that stays.

    `store` is the one in `places`. QuietlyError, and nothing is deleted, where an answer is being written or another
    window is open; QuietlyError too where a file cannot be removed. Takes a while; call it aside.
    """
    store.erase()
    with explaining(places.sessions):
        kept.clear(places.sessions)
    for file in [*_logs(places), *_edited()]:
        with explaining(file):
            if file.is_dir():
                shutil.rmtree(file)
            else:
                file.unlink(missing_ok=True)
    return left(places)


def left(places: Paths) -> tuple[Left, ...]:
    """Every file in the folders of the program, sorted, and why it outlives `erase_everything`."""
    folders = (places.data, places.cache, places.logs, places.config)
    found = {file for folder in folders for file in _files(folder)}  # on some systems two of them are one
    return tuple(Left(file, _why(file, places)) for file in sorted(found))


def _files(folder: Path) -> Iterator[Path]:
    for inner, _, names in os.walk(folder):
        for name in names:
            yield Path(inner, name)


def _why(file: Path, places: Paths) -> str:
    if file == places.settings:
        return "your settings: how the program behaves, yours to delete"
    if file.is_relative_to(places.models):
        return "a model: remove it from the list of models"
    if file.is_relative_to(places.conversions):
        return "a converted model: made from the model's file alone"
    if file == places.tuned:
        return "what was measured of models on this machine: no word of yours"
    if file == places.database:
        return "the conversations file: empty"
    if file.name.startswith(places.database.name) and file.parent == places.data:
        return "SQLite's notes on the conversations file: empty"
    return "not made by Quietly: yours to delete"


def _logs(places: Paths) -> list[Path]:
    return [file for file in places.logs.glob("*") if _LOG.fullmatch(file.name)]


def _edited() -> list[Path]:
    """Folders with a message in them that is being edited by nobody any more: no other window is open."""
    found = []
    for folder in Path(tempfile.gettempdir()).glob("quietly-*"):
        if _EDITED.fullmatch(folder.name) and (folder / "message.md").is_file():
            state = folder.lstat()
            if stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid():
                found.append(folder)
    return found
