"""LM Studio's models: GGUF files and MLX folders, in publisher/name below the folder that it is set to.

That folder stands in the settings.json of LM Studio's home, which is ~/.lmstudio or, of older ones, ~/.cache/lm-studio;
a file says where it was moved to. It is read, never written.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from app.home import expanded
from app.library import disk
from app.library.disk import shown
from app.library.places.folders import below
from app.library.records import InstalledModel

_HOMES = (".lmstudio", ".cache/lm-studio")
_POINTER = ".lmstudio-home-pointer"


def lm_studio() -> Iterator[InstalledModel]:
    """Every model in LM Studio's folders; a row for one that it is set to and that is gone."""
    for folder, configured in model_folders().items():
        if disk.is_dir(folder):
            yield from (replace(model, repo=_repo(model, folder)) for model in below(folder, "lm-studio"))
        elif configured:
            where = f"LM Studio keeps its models in {shown(str(folder))}, which cannot be looked into"
            problem = f"{where}: plug in the disk, or set LM Studio to another folder."
            yield InstalledModel("LM Studio", folder, "lm-studio", problem=problem, within=folder)


def model_folders() -> dict[Path, bool]:
    """Where its models may be, and whether LM Studio is set to look there."""
    found: dict[Path, bool] = {}
    for home in _homes():
        if not disk.is_dir(home):
            continue
        set_to = _path(disk.json_object(home / "settings.json").get("downloadsFolder"))
        if set_to is not None:
            found[set_to] = True
        found.setdefault(home / "models", False)
    return found


def _homes() -> list[Path]:
    pointer = disk.home(_POINTER)
    moved = disk.beginning(pointer, 4096).decode("utf-8", "replace").strip() if pointer else ""
    homes = [_path(moved), *map(disk.home, _HOMES)]
    return list(dict.fromkeys(home for home in homes if home is not None))


def _path(named: object) -> Path | None:
    """An absolute path that a file names."""
    if not isinstance(named, str) or "\0" in named:
        return None
    path = expanded(named)
    return path if path.is_absolute() else None


def _repo(model: InstalledModel, folder: Path) -> str | None:
    """publisher/name, which is the repository on the Hub that LM Studio fetched it from."""
    holder = model.path if disk.is_dir(model.path) else model.path.parent
    parts = holder.relative_to(folder).parts
    return "/".join(parts) if len(parts) == 2 else None
