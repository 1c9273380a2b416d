"""The model library as the window asks for it. Imports nothing of it before it is asked: the first frame
comes first."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.home import expanded
from app.settings import Paths

if TYPE_CHECKING:
    from app.library.catalogue import Offer, Waiting
    from app.library.downloads import Download, Downloads
    from app.library.fit import Fit
    from app.library.hub import Found
    from app.library.local import InstalledModel
    from app.library.machine import Machine
    from app.library.removing import Removal


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
    demonstrations: "tuple[InstalledModel, ...]" = ()
    """The models that came with Quietly and can be used, by name."""


class Stock(msgspec.Struct, frozen=True):
    """What a look at this machine and at the catalogue came to."""

    machine: str
    """Chip, memory, what models may take of it, and what the disk has room for."""
    offers: "tuple[Offer, ...]"
    waiting: "tuple[Waiting, ...]"
    """What the catalogue names that cannot run here."""
    fits: "Mapping[str, Fit]"
    """By a model's path, or an offer's reference."""


class Library:
    """What there is and what can be had. Methods that are not async may take seconds: they are called in
    threads."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._listener: Callable[[], object] = lambda: None

    # --- what there is ---

    def models(self, folders: Sequence[Path]) -> "Sequence[InstalledModel]":
        """The installed models, those in `folders` that a person added among them."""
        from app.library.local import installed

        return installed(folders)

    def offers(self) -> Offers:
        """This machine and the ways to begin on it."""
        from app.library.catalogue import recommend
        from app.library.places.demonstration import demonstrations
        from app.library.starter import starter_file

        machine = self._machine()
        found = recommend(machine.budget, machine.backend)
        line = _in_words(machine)
        return Offers(
            machine=f"{line}\n{machine.problem}" if machine.problem else line,
            recommended=Recommended(found.name, found.repo, found.size, found.licence) if found else None,
            starter=starter_file(),
            demonstrations=tuple(model for model in demonstrations() if model.problem is None),
        )

    def stock(self, models: "Sequence[InstalledModel]", context: int | None) -> Stock:
        """The catalogue, and how each of it and of `models` fits here at `context` tokens."""
        import shutil

        from app.library.catalogue import catalogue, waiting
        from app.library.fit import fit_of
        from app.words import size

        machine = self._machine()
        offers = catalogue()
        fits = {str(model.path): fit_of(model, machine, context) for model in models if model.problem is None}
        fits |= {offer.reference: fit_of(offer, machine, context) for offer in offers}
        place = next(folder for folder in (self._paths.models, *self._paths.models.parents) if folder.exists())
        line = f"{_in_words(machine)}; models may take {size(machine.budget)}, "
        return Stock(f"{line}{size(shutil.disk_usage(place).free)} free on the disk", offers, waiting(), fits)

    def fits(self, found: "Sequence[Found]", context: int | None) -> "dict[str, Fit]":
        """How models of the Hub would fit here, by their repository."""
        from app.library.fit import fit_of

        machine = self._machine()
        return {one.repo: fit_of(one, machine, context) for one in found}

    def folder(self, typed: str, folders: Sequence[Path]) -> Path:
        """The model at the path a person typed. QuietlyError where there is none that works."""
        from app.errors import QuietlyError
        from app.library.local import find

        model = find(str(expanded(typed).absolute()), folders)
        if model.problem is not None:
            raise QuietlyError(model.problem)
        return model.path

    def _machine(self) -> "Machine":
        from app.library.machine import this_machine

        return this_machine()

    # --- what goes ---

    def removal(self, model: "InstalledModel") -> "Removal":
        """What deleting `model` would do."""
        from app.library.removing import removal

        return removal(model)

    def remove(self, model: "InstalledModel") -> int:
        """Delete `model`; bytes freed. QuietlyError where that cannot be."""
        from app.library.removing import remove

        return remove(model)

    # --- what comes ---

    def listen(self, listener: Callable[[], object]) -> None:
        """Call `listener` whenever a download has come further."""
        self._listener = listener

    @cached_property
    def downloads(self) -> "Downloads":
        """Made when it is first asked for, on the event loop."""
        from app.library.downloads import Downloads

        return Downloads(self._paths.models, self._changed)

    def _changed(self) -> None:
        self._listener()

    @property
    def coming(self) -> "tuple[Download, ...]":
        """The downloads under way or waiting, without making anything."""
        return self.downloads.all if "downloads" in vars(self) else ()

    async def search(self, words: str) -> "tuple[Found, ...]":
        """The models on the Hub by these words. QuietlyError where it cannot be asked."""
        from app.library.hub import search

        return await search(words)

    async def look_up(self, repo: str) -> "Found":
        """What the Hub knows of one model, exactly. QuietlyError where it is missing, gated, or cannot run here."""
        from app.library.hub import look_up

        return await look_up(repo)

    async def download(self, model: Recommended, progress: Callable[[int, int], None], *, agreed: bool = False) -> Path:
        """Fetch `model`; cancelling the task pauses the download. Progress in bytes. `agreed` as in `Downloads`."""
        before = self._listener

        def listen() -> None:
            before()
            self._tell(model.repo, progress)

        self._listener = listen
        try:
            return await self.downloads.start(model.repo, agreed=agreed)
        except asyncio.CancelledError:
            self.downloads.pause(model.repo)
            raise
        finally:
            self._listener = before

    def _tell(self, repo: str, progress: Callable[[int, int], None]) -> None:
        for download in self.coming:
            if download.repo == repo and download.total:
                progress(download.done, download.total)

    async def bring_starter(self) -> Path:
        """The starter's file, installed first where it is missing; cancelling the task ends the installer."""
        from app.library.starter import install_starter, starter_file

        found = await asyncio.to_thread(starter_file)
        if found is not None:
            return found
        return await install_starter(lambda line: None)

    async def close(self) -> None:
        """Pause what is being fetched; it goes on another time."""
        if "downloads" in vars(self):
            await self.downloads.close()


def _in_words(machine: "Machine") -> str:
    from app.words import size

    return f"{machine.chip}, {size(machine.memory)} of memory, {machine.system}, {machine.backend}"
