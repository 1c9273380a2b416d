"""What is in a folder, and which of it fits what is typed. Knows nothing of the screen."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.chat.text import storable, visible
from app.errors import QuietlyError


class Entry(msgspec.Struct, frozen=True):
    """A file or a folder, by its name as the disk has it."""

    name: str
    is_folder: bool
    sought: str
    """What is compared with what is typed."""


def entries(folder: Path) -> list[Entry]:
    """The folders in `folder`, then its regular files, by name. Slow where there are many; QuietlyError where it
    cannot be read."""
    found = []
    try:
        with os.scandir(folder) as inside:
            for entry in inside:
                try:
                    is_folder = entry.is_dir()
                    if is_folder or entry.is_file():
                        found.append(Entry(entry.name, is_folder, _sought(entry.name)))
                except OSError:  # links that lead in a circle
                    continue
    except OSError as error:
        shown = visible(storable(str(folder)))
        raise QuietlyError(f"{shown} cannot be opened ({(error.strerror or 'unknown reason').lower()}).") from error
    found.sort(key=lambda entry: (not entry.is_folder, entry.sought, entry.name))
    return found


def fitting(found: Sequence[Entry], typed: str) -> list[Entry]:
    """Those of `found` that `typed` begins, then those it is part of; hidden ones where it begins with a dot."""
    sought = _sought(typed)
    shown = found if typed.startswith(".") else [entry for entry in found if not entry.name.startswith(".")]
    if not sought:
        return list(shown)
    begun = [entry for entry in shown if entry.sought.startswith(sought)]
    return begun + [entry for entry in shown if sought in entry.sought and not entry.sought.startswith(sought)]


def _sought(name: str) -> str:
    return storable(name).casefold()
