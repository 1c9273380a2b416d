"""The models on this machine: all that is found, in every place, and the one that is meant by a name.

It knows neither MLX nor the Hub's client; `describing` reads what a model is, `places` know where to look.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from app.errors import QuietlyError
from app.home import expanded
from app.library import disk, headers, starter
from app.library.describing import describe, looks_like_model
from app.library.disk import shown
from app.library.naming import begins, names, near, with_unique_names
from app.library.places.cache import cached, hub_cache, is_repository, own, repository
from app.library.places.demonstration import demonstrations
from app.library.places.folders import Walk, below, missing
from app.library.places.lm_studio import lm_studio
from app.library.places.ollama import is_ollama, models_folder, ollama
from app.library.records import InstalledModel, Source
from app.settings import paths

__all__ = ["InstalledModel", "Source", "find", "hub_cache", "installed"]


def installed(folders: Iterable[Path] = ()) -> list[InstalledModel]:
    """Every model there is, once each, the starter first, those that came with Quietly last.

    Those that Quietly fetched or made, in the Hub's cache, of LM Studio, of Ollama, and in `folders`: each of these is
    a checkpoint, or holds some up to two levels down. What cannot be used is listed with its `problem`; nothing is
    raised for anything a disk can hold.
    """
    theirs = (cached(hub_cache()), lm_studio(), ollama(models_folder()))
    places = (_starter(), own(paths().models), demonstrations(), *theirs)
    found: dict[Path, InstalledModel] = {}
    for model in (*(model for place in places for model in place), *_added(folders)):
        found.setdefault(disk.real(model.path), model)
    named = with_unique_names(list(found.values()))
    return sorted(named, key=_rank)


def find(reference: str, folders: Iterable[Path] = ()) -> InstalledModel:
    """The model that `reference` means: a name, its beginning, organisation/name, a folder, a GGUF or a .pth file.

    The result may have a `problem`. QuietlyError naming the candidates where it means none or several.
    """
    models = installed(folders)
    wanted = reference.strip().casefold()
    if not wanted:
        raise QuietlyError(f"No model was named: choose one of {names(models)}.")
    exact = [model for model in models if wanted in (model.name.casefold(), (model.repo or "").casefold())]
    if exact:
        return next((model for model in exact if model.problem is None), exact[0])
    path = _as_path(reference.strip())
    is_bare = not re.search(r"[/~]|\.(gguf|pth)$|^\.+$", reference.strip())
    if path is not None and not is_bare:
        return _at(path, models)
    begun = [model for model in models if begins(model, wanted)]
    usable = [model for model in begun if model.problem is None] or begun
    if len(usable) == 1:
        return usable[0]
    if usable:
        raise QuietlyError(f"{shown(reference)} could be {names(usable)}: write more of the name.")
    if path is not None and next(Walk().checkpoints(path, 0), None) is not None:
        return _at(path, models)
    if wanted == starter.NAME:
        raise QuietlyError("The starter is not installed: get it with `quietly models get starter`.")
    raise QuietlyError(f"There is no model {shown(reference)} here: {near(wanted, models)}")


def _rank(model: InstalledModel) -> tuple[bool, bool, str, str]:
    return model.source == "demonstration", model.source != "starter", model.name.casefold(), model.name


def _starter() -> Iterator[InstalledModel]:
    if (path := starter.starter_file()) is not None:
        facts = headers.gguf(path, starter.NAME, headers.state([path]))
        yield InstalledModel(
            name=starter.NAME,
            path=path,
            source="starter",
            architecture=starter.ARCHITECTURE,
            parameters=starter.PARAMETERS,
            bits=facts.bits,
            size=starter.SIZE,
            weights=facts.weights or starter.SIZE,
            stored=facts.stored,
            context=starter.CONTEXT,
            licence=starter.LICENCE,
            runs="quietly",
            config=facts.config,
            problem=facts.problem,
        )


def _added(folders: Iterable[Path]) -> Iterator[InstalledModel]:
    """What lies in folders a person named. One that is gone, or has no model in it, is listed as such."""
    for folder in folders:
        yield from list(_in_folder(folder)) or [missing(folder)]


def _in_folder(folder: Path) -> Iterator[InstalledModel]:
    if is_ollama(folder):
        yield from ollama(folder)
    elif is_repository(folder):
        yield from repository(folder, "folder")
    else:
        yield from below(folder, "folder")
        for model in cached(folder, "folder"):
            yield replace(model, within=folder)


def _as_path(reference: str) -> Path | None:
    """`reference` as an existing folder or file of a model, where it is one."""
    try:
        path = expanded(reference).absolute()
    except (OSError, ValueError, RuntimeError):
        return None
    return path if disk.is_dir(path) or (disk.exists(path) and looks_like_model(path)) else None


def _at(path: Path, models: Iterable[InstalledModel]) -> InstalledModel:
    real = disk.real(path)
    return next((model for model in models if disk.real(model.path) == real), None) or describe(path, "folder")
