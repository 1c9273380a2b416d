"""Conversations of a store written as files that other programs read, and that Quietly reads again."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.carrying.files import Folder
from app.carrying.tale import Branches, Format, Tale, tale_of

if TYPE_CHECKING:
    from app.chat.store import Store

SUFFIXES: dict[Format, str] = {"markdown": ".md", "json": ".json", "html": ".html"}


def render(tale: Tale, format: Format) -> str:
    """The conversation as the text of a file."""
    if format == "markdown":
        from app.carrying.markdown import markdown

        return markdown(tale)
    if format == "json":
        from app.carrying.json_file import json_file

        return json_file(tale)
    from app.carrying.html import html

    return html(tale)


def export(
    store: "Store",
    conversations: Sequence[int],
    folder: Path,
    format: Format = "markdown",
    branches: Branches = "current",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Write each conversation into a file of its own in `folder`; none replaces another.

    `progress` hears how many of how many are written, before each and at the end; what it raises ends the export and
    leaves the files written so far. QuietlyError where a conversation is gone or a file cannot be written.
    """
    into = Folder(folder)
    written: list[Path] = []
    for conversation in conversations:
        progress(len(written), len(conversations))
        tale = tale_of(store, conversation, branches)
        written.append(into.write(tale.conversation.title, SUFFIXES[format], render(tale, format)))
    progress(len(written), len(conversations))
    return written


def export_one(
    store: "Store", conversation: int, folder: Path, format: Format = "markdown", branches: Branches = "current"
) -> Path:
    """Write one conversation into `folder`; returns the file. QuietlyError as `export`."""
    (written,) = export(store, [conversation], folder, format, branches)
    return written
