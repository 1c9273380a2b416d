"""Where an export goes when a person presses a key: Downloads where there is one, else the home folder."""

from pathlib import Path

from app.chat import export as exports
from app.chat.store import Store


def export_folder() -> Path:
    """The folder people look into first."""
    downloads = Path.home() / "Downloads"
    return downloads if downloads.is_dir() else Path.home()


def export(store: Store, conversation: int) -> Path:
    """Write the branch in use as Markdown; returns the file, which never replaced another. QuietlyError where
    it cannot."""
    return exports.write_export(store.conversation(conversation), store.branch(conversation), export_folder())
