"""Which models there are and which one answers next. Knows the store's memory and the library's records, no
widget."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.sizes import size

if TYPE_CHECKING:
    from app.chat.store import Store
    from app.library.local import InstalledModel

_CHOSEN = "model"
_FOLDERS = "model_folders"


class Shelf:
    """The installed models, and the choice among them that outlives the program."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self.models: Sequence[InstalledModel] = ()
        self.chosen: InstalledModel | None = None
        self.only_demonstrated = False
        """Whether a demonstration answers next because there is nothing else, and nobody has chosen it."""

    @property
    def folders(self) -> list[Path]:
        """Folders a person added by hand."""
        import json

        try:
            stored = json.loads(self._store.remembered(_FOLDERS) or "[]")
        except ValueError:
            return []
        return [Path(folder) for folder in stored if isinstance(folder, str)] if isinstance(stored, list) else []

    def add_folder(self, folder: Path) -> None:
        """Remember a folder with a model in it."""
        import json

        folders = self.folders
        if folder not in folders:
            self._store.remember(_FOLDERS, json.dumps([*map(str, folders), str(folder)]))

    def drop_folder(self, folder: Path) -> None:
        """Look into a folder no more, where it is one of those."""
        import json

        self._store.remember(_FOLDERS, json.dumps([str(kept) for kept in self.folders if kept != folder]))

    def fill(self, models: "Sequence[InstalledModel]") -> None:
        """Take in what was found; the choice stays where it still can be made, else is the likeliest.

        A demonstration is that only where there is nothing else, and for as long.
        """
        self.models = models
        remembered = self._store.remembered(_CHOSEN)
        wanted = remembered if self.chosen is None or self.only_demonstrated else str(self.chosen.path)
        usable = [model for model in models if model.problem is None]
        by_path = next((model for model in usable if str(model.path) == wanted), None)
        starter = next((model for model in usable if model.source == "starter"), None)
        self.chosen = by_path or starter or next(iter(usable), None)
        self.only_demonstrated = by_path is None and self.chosen is not None and self.chosen.source == "demonstration"

    def find(self, key: str) -> "InstalledModel | None":
        """The model whose path is `key`."""
        return next((model for model in self.models if str(model.path) == key), None)

    def choose(self, model: "InstalledModel") -> None:
        """Let `model` answer next, now and after the next start."""
        self.chosen, self.only_demonstrated = model, False
        self._store.remember(_CHOSEN, str(model.path))


def beside(model: "InstalledModel") -> str:
    """What stands beside a model that could be chosen: its size, and whether it came with Quietly."""
    return f"demonstration, {size(model.size)}" if model.source == "demonstration" else size(model.size)
