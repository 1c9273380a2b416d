"""The models on this machine: where they lie, what they are, what is wrong with those that cannot be used.

Only configurations, indexes, model cards and sizes are read, never weights. It knows neither MLX nor the
Hub's client: the Hub's cache is read as it lies on disk.
"""

import ast
import functools
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from app.errors import QuietlyError
from app.library import starter
from app.settings import paths
from model.config import SHAPES, parse_config, parse_model_type, parse_quantization, read_fields
from model.errors import ModelError
from model.facts import parameters

Source = Literal["starter", "hub", "folder", "quietly"]

PART = ".part"
"""The end of a folder's name while its download lasts."""
_MOST_ENTRIES = 2000
"""Entries looked at in one folder; someone may add their home by mistake."""
_MOST_INDEX = 64 * 1024 * 1024
"""Bytes of an index; the longest published one has a hundredth of it."""


@dataclass(frozen=True)
class InstalledModel:
    """A model on disk. Names and paths are as the disk has them: make them visible before they are shown."""

    name: str
    """Unique among those listed together."""
    path: Path
    """A checkpoint folder or a GGUF file."""
    source: Source
    architecture: str | None = None
    parameters: int | None = None
    bits: int | None = None
    """Bits a weight as stored; None: not quantised, or not known."""
    size: int = 0
    """Bytes on disk."""
    context: int | None = None
    """Tokens it was trained for."""
    licence: str | None = None
    repo: str | None = None
    """organisation/name on the Hub, where it came from there."""
    problem: str | None = None
    """One sentence where it cannot be used."""


def installed(folders: Iterable[Path] = ()) -> list[InstalledModel]:
    """Every model there is, once each: the starter, those Quietly fetched, in `folders`, in the Hub's cache.

    Each of `folders` is a checkpoint, or holds some up to two levels down. What cannot be used is listed
    with its `problem`; nothing is raised for anything a disk can hold.
    """
    own = paths().models
    found: dict[Path, InstalledModel] = {}
    for model in (*_starter(), *_quietly(own), *_added(folders, own), *_hub(hub_cache())):
        found.setdefault(_real(model.path), model)
    named = _with_unique_names(list(found.values()))
    return sorted(named, key=lambda model: (model.source != "starter", model.name.casefold(), model.name))


def find(reference: str, folders: Iterable[Path] = ()) -> InstalledModel:
    """The model that `reference` means: a name, its beginning, organisation/name, a folder or a .gguf file.

    The result may have a `problem`. QuietlyError naming the candidates where it means none or several.
    """
    models = installed(folders)
    wanted = reference.strip().casefold()
    if not wanted:
        raise QuietlyError(f"No model was named: choose one of {_names(models)}.")
    exact = [model for model in models if wanted in (model.name.casefold(), (model.repo or "").casefold())]
    if exact:
        return next((model for model in exact if model.problem is None), exact[0])
    path = _as_path(reference.strip())
    is_bare = not re.search(r"[/~]|\.gguf$|^\.+$", reference.strip())
    if path is not None and not is_bare:
        return _at(path, models)
    begun = [model for model in models if _begins(model, wanted)]
    usable = [model for model in begun if model.problem is None] or begun
    if len(usable) == 1:
        return usable[0]
    if usable:
        raise QuietlyError(f"{_shown(reference)} could be {_names(usable)}: write more of the name.")
    if path is not None and next(_checkpoints(path, 0), None) is not None:
        return _at(path, models)
    if wanted == starter.NAME:
        raise QuietlyError("The starter is not installed: get it with `quietly models get starter`.")
    raise QuietlyError(f"There is no model {_shown(reference)} here: {_near(wanted, models)}")


def hub_cache() -> Path:
    """The folder of the Hub client's cache, by the environment variables it honours."""
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(named or f"{home}/hub")).expanduser()


# --- where models lie -----------------------------------------------------------------------------


def _starter() -> Iterator[InstalledModel]:
    if (path := starter.starter_file()) is not None:
        yield InstalledModel(
            name=starter.NAME,
            path=path,
            source="starter",
            architecture=starter.ARCHITECTURE,
            parameters=starter.PARAMETERS,
            bits=starter.BITS,
            size=starter.SIZE,
            context=starter.CONTEXT,
            licence=starter.LICENCE,
        )


def _quietly(own: Path) -> Iterator[InstalledModel]:
    """What Quietly fetched: folders named organisation--name, with `.part` while a download lasts."""
    for folder in _children(own):
        if not _is_dir(folder) or folder.name.startswith("."):
            continue
        repo = folder.name.removesuffix(PART).replace("--", "/", 1)
        model = replace(_describe(folder, "quietly"), name=repo.rpartition("/")[2], repo=repo if "/" in repo else None)
        if folder.name.endswith(PART):
            model = replace(model, problem=f"The download of {model.name} has not finished: get it again to go on.")
        yield model


def _added(folders: Iterable[Path], own: Path) -> Iterator[InstalledModel]:
    """What lies in folders a person named. One that is gone, or has no model in it, is listed as such."""
    for folder in folders:
        if _real(folder) == _real(own):
            continue
        models = [_describe(path, "folder") for path in _checkpoints(folder)]
        if not models:
            models = [InstalledModel(folder.name, folder, "folder", problem=f"{_shown(folder.name)} {_empty(folder)}.")]
        yield from models


def _hub(cache: Path) -> Iterator[InstalledModel]:
    """The snapshots that `main` points at, of every model repository in a Hub cache."""
    for folder in _children(cache):
        if not folder.name.startswith("models--"):
            continue
        repo = folder.name.removeprefix("models--").replace("--", "/", 1)
        name = repo.rpartition("/")[2]
        snapshot = _snapshot(folder)
        if snapshot is None:
            problem = f"The download of {name} has not finished: get it again."
            yield InstalledModel(name, folder, "hub", repo=repo, problem=problem)
            continue
        model = replace(_describe(snapshot, "hub", name), repo=repo)
        if model.problem is not None and any(_children(folder / "blobs", ".incomplete")):
            model = replace(model, problem=f"The download of {name} has not finished: get it again.")
        yield model


def _snapshot(folder: Path) -> Path | None:
    """The snapshot of a cached repository: that of `main`, or else the newest."""
    try:
        revision = (folder / "refs" / "main").read_text(encoding="ascii").strip()
        if re.fullmatch(r"[\w.-]+", revision) and _is_dir(folder / "snapshots" / revision):
            return folder / "snapshots" / revision
    except (OSError, ValueError):
        pass  # a download of one pinned revision leaves no ref
    snapshots = [child for child in _children(folder / "snapshots") if _is_dir(child)]
    return max(snapshots, key=_changed, default=None)


def _checkpoints(folder: Path, levels: int = 2) -> Iterator[Path]:
    """The checkpoint folders and GGUF files at or below `folder`."""
    if folder.suffix == ".gguf" and not _is_dir(folder):
        if _exists(folder):
            yield folder
        return
    children = list(_children(folder))
    if any(child.name == "config.json" or child.suffix == ".safetensors" for child in children):
        yield folder
        return
    for child in children:
        if child.name.startswith("."):
            continue
        if child.suffix == ".gguf" or (levels and _is_dir(child) and not child.is_symlink()):
            yield from _checkpoints(child, levels - 1)


def _children(folder: Path, ending: str = "") -> Iterator[Path]:
    """What is in a folder, by name; nothing where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for _, entry in zip(range(_MOST_ENTRIES), entries, strict=False)]
    except (OSError, ValueError):
        return
    for name in sorted(names):
        if name.endswith(ending):
            yield folder / name


# --- what one model is ----------------------------------------------------------------------------


class _Metadata(msgspec.Struct):
    total_parameters: int | None = None


class _Index(msgspec.Struct):
    weight_map: dict[str, str]
    metadata: _Metadata | None = None


def _describe(path: Path, source: Source, name: str | None = None) -> InstalledModel:
    """One checkpoint folder or GGUF file, described as far as it can be."""
    name = name or path.name or str(path)
    sizes = _sizes(path)
    model = InstalledModel(name, path, source, size=sum(sizes.values()))
    if path.suffix == ".gguf" and not _is_dir(path):
        problem = None if model.size else f"{name} is empty or cannot be read: get it again."
        return replace(model, name=path.stem, architecture="gguf", problem=problem)
    try:
        fields = read_fields(path)
        architecture = parse_model_type(fields, name)
    except ModelError as error:
        return replace(model, problem=str(error))
    model = replace(model, architecture=architecture, context=_context(fields), licence=_licence(path / "README.md"))
    try:
        index = _index(path, name, sizes)
    except ModelError as error:
        return replace(model, problem=str(error))
    if index is not None and index.metadata is not None:
        model = replace(model, parameters=index.metadata.total_parameters)
    problem = _cannot_run(architecture, name)
    try:
        quantization = parse_quantization(fields, name)
        model = replace(model, bits=quantization.default.bits if quantization else None)
        if architecture in SHAPES:
            shape = parse_config(fields, name)
            counted = model.parameters or parameters(shape).total
            model = replace(model, context=shape.context, parameters=counted)
    except ModelError as error:
        # What is merely unknown to us may be known to mlx-lm; what cannot be true is true for nobody.
        problem = problem or (str(error) if error.kind == "checkpoint" else None)
    return replace(model, problem=problem)


def _sizes(path: Path) -> dict[str, int]:
    """The regular files of a folder, or the file itself, by name and bytes; links are followed."""
    sizes = {}
    for file in _children(path) if _is_dir(path) else (path,):
        try:
            status = file.stat()
        except OSError:  # a link into a blob that is not there yet
            continue
        if stat.S_ISREG(status.st_mode):
            sizes[file.name] = status.st_size
    return sizes


def _index(folder: Path, name: str, sizes: Mapping[str, int]) -> _Index | None:
    """The index of the shards, if there is one. ModelError where weights are missing."""
    index = None
    if 0 < sizes.get("model.safetensors.index.json", 0) <= _MOST_INDEX:
        try:
            index = msgspec.json.decode((folder / "model.safetensors.index.json").read_bytes(), type=_Index)
        except (OSError, msgspec.DecodeError, RecursionError):
            raise ModelError(f"{name}: model.safetensors.index.json is damaged; get the model again.") from None
    shards = {file: size for file, size in sizes.items() if file.endswith(".safetensors")}
    wanted = set(index.weight_map.values()) if index else _siblings(shards)
    missing = sorted(wanted - {file for file, size in shards.items() if size})
    if missing:
        raise ModelError(f"{name}: {len(missing)} of {len(wanted)} weight files are missing; get the model again.")
    if not shards:
        if any(file.endswith((".bin", ".pt", ".pth")) for file in sizes):
            raise ModelError(f"{name}: its weights are pickles, which can run code; get a safetensors version.")
        raise ModelError(f"{name}: there are no weights beside config.json; get the model again.")
    return index


def _siblings(shards: Iterable[str]) -> set[str]:
    """All the names that go with `model-00001-of-00003.safetensors`, where there is no index to name them."""
    wanted = set(shards)
    for shard in shards:
        if match := re.fullmatch(r"(.*-)(\d{5})-of-(\d{5})\.safetensors", shard):
            count = min(int(match[3]), _MOST_ENTRIES)
            wanted |= {f"{match[1]}{i:05d}-of-{match[3]}.safetensors" for i in range(1, count + 1)}
    return wanted


def _context(fields: Mapping[str, object]) -> int | None:
    inner = fields.get("text_config")
    for one in (fields, inner if isinstance(inner, dict) else {}):
        value = one.get("max_position_embeddings")
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31:
            return value
    return None


def _licence(card: Path) -> str | None:
    """The licence in a model card's front matter."""
    try:
        if not stat.S_ISREG(card.stat().st_mode):
            return None
        with card.open("rb") as file:
            head = file.read(8192).decode("utf-8", "replace")
    except OSError:
        return None
    if not head.startswith("---"):
        return None
    front = head[3:].partition("\n---")[0]
    for key in ("license_name", "license"):
        if match := re.search(rf"^{key}:[ \t]*['\"]?([\w.+-]{{1,60}})", front, re.MULTILINE):
            return match[1]
    return None


# --- what can run ---------------------------------------------------------------------------------


def _cannot_run(architecture: str, name: str) -> str | None:
    if architecture in SHAPES or (package := _mlx_lm()) is None:
        return None
    for kind in (architecture, architecture.replace("-", "_")):
        if re.fullmatch(r"[\w.-]+", kind) and (package / "models" / f"{kind}.py").is_file():
            return None
    if architecture in _renamed(package):
        return None
    shown = architecture if len(architecture) < 40 else f"{architecture[:37]}..."
    return f"{name} is a {shown} model, and nothing here runs those: choose a chat model."


@functools.cache
def _mlx_lm() -> Path | None:
    """The folder of mlx-lm, found without importing it: that would load MLX."""
    from importlib import util

    spec = util.find_spec("mlx_lm")
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


@functools.cache
def _renamed(package: Path) -> frozenset[str]:
    """The model types that mlx-lm runs under another's name, read from its source as data."""
    try:
        tree = ast.parse((package / "utils.py").read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return frozenset()
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MODEL_REMAPPING":
            return frozenset(ast.literal_eval(node.value))
    return frozenset()


# --- names ----------------------------------------------------------------------------------------


def _with_unique_names(models: Sequence[InstalledModel]) -> list[InstalledModel]:
    """The same models; those that share a name get their organisation or source with it, then a number."""
    for more in (lambda model: model.repo or model.name, lambda model: f"{model.name} ({model.source})"):
        often = Counter(model.name.casefold() for model in models)
        models = [
            replace(model, name=more(model))
            if often[model.name.casefold()] > 1 and model.source != "starter"
            else model
            for model in models
        ]
    taken: Counter[str] = Counter()
    named = []
    for model in models:
        name = model.name
        while taken[name.casefold()]:
            taken[model.name.casefold()] += 1
            name = f"{model.name} {taken[model.name.casefold()]}"
        taken[name.casefold()] += 1
        named.append(replace(model, name=name))
    return named


def _begins(model: InstalledModel, wanted: str) -> bool:
    return model.name.casefold().startswith(wanted) or (model.repo or "").casefold().startswith(wanted)


def _as_path(reference: str) -> Path | None:
    """`reference` as an existing folder or GGUF file, where it is one."""
    try:
        path = Path(reference).expanduser().absolute()
        return path if _is_dir(path) or (path.suffix == ".gguf" and path.is_file()) else None
    except (OSError, ValueError, RuntimeError):
        return None


def _at(path: Path, models: Sequence[InstalledModel]) -> InstalledModel:
    real = _real(path)
    return next((model for model in models if _real(model.path) == real), None) or _describe(path, "folder")


def _near(wanted: str, models: Sequence[InstalledModel]) -> str:
    from difflib import get_close_matches

    by_name = {model.name.casefold(): model for model in models}
    close = [by_name[name] for name in get_close_matches(wanted, by_name, n=3)]
    holding = [model for name, model in by_name.items() if wanted in name]
    if near := (close or holding)[:3]:
        return f"did you mean {_names(near, ' or ')}?"
    if usable := [model for model in models if model.problem is None]:
        return f"choose {_names(usable, ' or ')}."
    return "there are none yet; `quietly models get starter` brings one."


def _names(models: Sequence[InstalledModel], last: str = " and ") -> str:
    names = [_shown(model.name) for model in models[:8]]
    if len(models) > 8:
        names.append(f"{len(models) - 8} more")
    return last.join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names) or "none"


def _shown(name: str) -> str:
    """A name inside a sentence, whatever a folder was called."""
    plain = "".join(character if character.isprintable() else "�" for character in name)
    return plain if len(plain) <= 60 else f"{plain[:57]}..."


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links
        return path.absolute()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _empty(folder: Path) -> str:
    """Why there is no model at a place a person named."""
    try:
        with os.scandir(folder):
            return "holds no model: neither config.json nor a .gguf file"
    except PermissionError:
        return "may not be read: check whose it is"
    except (OSError, ValueError):
        return "is no longer there"


def _is_dir(path: Path) -> bool:
    """Path.is_dir, which raises where a folder above may not be entered."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0
