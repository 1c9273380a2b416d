"""Models in folders that a person named: checkpoints and GGUF files up to two levels down, or a whole other place.

Someone may name their home by mistake, so the search ends after a while, and says so.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from app.library import disk
from app.library.describing import SPLIT, describe, is_coming, is_gguf_name, is_rwkv, looks_like_model
from app.library.disk import shown
from app.library.records import InstalledModel, Source

LEVELS = 2
"""Folders below the named one that are looked into: publisher and model."""
MOST_ENTRIES = 20_000
"""Entries looked at in one search."""


class Walk:
    """One search for checkpoints, within a number of entries looked at."""

    def __init__(self) -> None:
        self._left = MOST_ENTRIES
        self.ended_early = False
        """Whether there was more than it looked at."""

    def checkpoints(self, folder: Path, levels: int = LEVELS) -> Iterator[Path]:
        """The checkpoint folders, and files that are a model, at or below `folder`; of a split one the first part, and
        half ones too."""
        if not disk.is_dir(folder):
            if disk.exists(folder) and looks_like_model(folder):
                yield folder
            return
        entries = list(disk.children(folder))
        children = [entry for entry in entries if not entry.name.startswith(".")]
        self._left -= len(entries)
        self.ended_early |= self._left <= 0 or len(entries) == disk.MOST_ENTRIES
        names = {child.name for child in children}
        if any(name.endswith((".safetensors", ".safetensors.index.json")) for name in names):
            yield folder
            yield from _files(children)
            return
        found = False
        for path in (*_files(children), *self._below(children, levels)):
            found = True
            yield path
        if not found and {"config.json", "adapter_config.json"} & names:
            yield folder

    def _below(self, children: list[Path], levels: int) -> Iterator[Path]:
        for child in children:
            if levels and self._left > 0 and disk.is_dir(child):
                yield from self.checkpoints(child, levels - 1)


def _files(children: list[Path]) -> Iterator[Path]:
    """The models of one file among these, those that are still coming included unless they are here as well."""
    names = {child.name for child in children}
    seen = set()
    for child in children:
        if is_gguf_name(child.name):
            split = SPLIT.fullmatch(child.name)
            whole = (split[1], split[3]) if split else child.name
            if whole not in seen and not disk.is_dir(child):
                seen.add(whole)
                yield child
        elif is_rwkv(child) or ((name := coming_gguf(child)) is not None and name not in names):
            yield child


def coming_gguf(path: Path) -> str | None:
    """What the GGUF file will be called that is still being fetched into `path`; None where that is none."""
    if not is_coming(path.name):
        return None
    name = path.stem.removeprefix("downloading_")
    return name if is_gguf_name(name) else None


def below(folder: Path, source: Source) -> Iterator[InstalledModel]:
    """Every model at or below `folder`."""
    walk = Walk()
    for path in walk.checkpoints(folder):
        if (coming := coming_gguf(path)) is not None:
            name = Path(coming).stem
            problem = f"The download of {shown(name)} has not finished: let the program that fetches it go on."
            model = InstalledModel(name, path, source, size=disk.total(path), problem=problem)
        else:
            model = describe(path, source)
        yield replace(model, within=folder)
    if walk.ended_early:
        problem = f"{shown(folder.name)} holds too much to look through: add the folders of its models instead."
        yield InstalledModel(folder.name, folder, source, problem=problem, within=folder)


def missing(folder: Path) -> InstalledModel:
    """A place where models should be, and are none: the row that says why."""
    name = folder.name or str(folder)
    return InstalledModel(name, folder, "folder", problem=f"{shown(name)} {_why(folder)}.", within=folder)


def _why(folder: Path) -> str:
    try:
        if not folder.exists():
            return "is no longer there"
        with os.scandir(folder):
            pass
    except PermissionError:
        return "may not be read: check whose it is"
    except (NotADirectoryError, ValueError):
        pass
    except OSError:
        return "cannot be read: check the disk it lies on"
    return "holds no model: neither config.json nor a .gguf file"
