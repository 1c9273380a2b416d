"""The model library as the window asks for it. Imports nothing of it before it is asked: the first frame
comes first."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.settings import Paths

if TYPE_CHECKING:
    from app.library.local import InstalledModel


class Recommended(msgspec.Struct, frozen=True):
    """The model from the catalogue that this machine runs best."""

    name: str
    repo: str
    size: int
    """Bytes to download."""
    licence: str


class Offers(msgspec.Struct, frozen=True):
    """What a person can begin with here."""

    machine: str
    """Chip, memory and back end in one line."""
    recommended: Recommended | None
    starter: Path | None
    """Its file, where it is installed."""


class Library:
    """What there is and what can be had. Methods that are not async may take seconds: they are called in
    threads."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def models(self, folders: Sequence[Path]) -> "Sequence[InstalledModel]":
        """The installed models, those in `folders` that a person added among them."""
        from app.library.local import installed

        return installed(folders)

    def offers(self) -> Offers:
        """This machine and the ways to begin on it."""
        from app.library.catalogue import recommend
        from app.library.machine import this_machine
        from app.library.starter import starter_file
        from app.words import size

        machine = this_machine()
        found = recommend(machine.budget, machine.backend)
        line = f"{machine.chip}, {size(machine.memory)} of memory, {machine.system}, {machine.backend}"
        return Offers(
            machine=f"{line}\n{machine.problem}" if machine.problem else line,
            recommended=Recommended(found.name, found.repo, found.size, found.licence) if found else None,
            starter=starter_file(),
        )

    def folder(self, typed: str, folders: Sequence[Path]) -> Path:
        """The model at the path a person typed. QuietlyError where there is none that works."""
        from app.errors import QuietlyError
        from app.library.local import find

        model = find(str(Path(typed).expanduser().absolute()), folders)
        if model.problem is not None:
            raise QuietlyError(model.problem)
        return model.path

    async def download(self, model: Recommended, progress: Callable[[int, int], None]) -> Path:
        """Fetch `model`; cancelling the task ends the download. Progress in bytes."""
        from app.library.download import fetch

        return await fetch(model.repo, self._paths.models, progress)

    async def bring_starter(self) -> Path:
        """The starter's file, installed first where it is missing; cancelling the task ends the installer."""
        from app.library.starter import install_starter, starter_file

        found = await asyncio.to_thread(starter_file)
        if found is not None:
            return found
        return await install_starter(lambda line: None)
