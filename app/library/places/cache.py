"""Models in the layout of the Hub's cache: the Hub client's own, and Quietly's folder, which has the same.

A repository is a folder `models--organisation--name` with `blobs`, `refs` and `snapshots`. It knows nothing of the Hub.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from app.home import expanded
from app.library import disk
from app.library.describing import describe, is_gguf_name, is_rwkv
from app.library.disk import shown
from app.library.layout import PART, read_record, unfinished
from app.library.places.folders import Walk
from app.library.records import InstalledModel, Source

_PREFIX = "models--"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_cache() -> Path:
    """The folder of the Hub client's cache, by the environment variables it honours."""
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return expanded(os.path.expandvars(named or f"{home}/hub"))


def cached(cache: Path, source: Source = "hub") -> Iterator[InstalledModel]:
    """The models of every repository in a cache."""
    for folder in disk.children(cache):
        if is_repository(folder):
            yield from repository(folder, source)


def is_repository(folder: Path) -> bool:
    """Whether a folder is called as a cached repository is, and has something of one in it."""
    parts = ("snapshots", "blobs", "refs")
    return folder.name.startswith(_PREFIX) and any(disk.is_dir(folder / part) for part in parts)


def own(models: Path) -> Iterator[InstalledModel]:
    """What Quietly fetched or made.

    Repositories; folders organisation--name, as it fetched them once, with `.part` while that lasted; folders of one
    name, which it quantised; and models of one file that someone put there.
    """
    for folder in disk.children(models):
        if is_repository(folder):
            yield from repository(folder, "quietly")
        elif disk.is_dir(folder) and not folder.name.startswith("."):
            yield _plain_folder(folder)
        elif (is_gguf_name(folder.name) or is_rwkv(folder)) and not folder.name.startswith("."):
            yield replace(describe(folder, "quietly"), within=models)


def repository(folder: Path, source: Source) -> Iterator[InstalledModel]:
    """The models of one repository, from the snapshot that `main` points at; itself, where it has none yet."""
    repo = folder.name.removeprefix(_PREFIX).replace("--", "/", 1)
    name = repo.rpartition("/")[2]
    snapshot = _snapshot(folder)
    if snapshot is None:
        yield InstalledModel(
            name=name,
            path=folder,
            source=source,
            repo=repo,
            size=disk.total(folder),
            unfinished=(unfinished(folder) or (disk.total(folder / "blobs"), 0)) if source == "quietly" else None,
            problem=_unfinished_sentence(name, source),
            within=folder.parent,
        )
        return
    revision = snapshot.name if _COMMIT.fullmatch(snapshot.name) else None
    for path in _in_snapshot(snapshot):
        model = describe(path, source, name if path == snapshot else None)
        model = replace(model, repo=repo, revision=revision, within=folder.parent)
        if model.problem is not None and any(disk.children(folder / "blobs", ".incomplete")):
            model = replace(model, problem=_unfinished_sentence(name, source))
        elif model.problem is None and source == "quietly" and (cut := _cut(folder, snapshot)):
            model = replace(model, problem=f"{shown(name)}: {shown(cut)} is not as long as it should be; get it again.")
        yield model


def _unfinished_sentence(name: str, source: Source) -> str:
    return f"The download of {shown(name)} has not finished: get it again{' to go on' if source == 'quietly' else ''}."


def _in_snapshot(snapshot: Path) -> list[Path]:
    """The snapshot itself, unless all it has is models of one file: then these."""
    found = list(Walk().checkpoints(snapshot))
    files = [path for path in found if not disk.is_dir(path)]
    return [snapshot, *files] if snapshot in found or not files else files


def _snapshot(folder: Path) -> Path | None:
    """The snapshot of a cached repository: that of `main`, or else the newest."""
    try:
        revision = disk.beginning(folder / "refs" / "main", 200).decode("ascii").strip()
    except ValueError:
        revision = ""
    if re.fullmatch(r"[\w-][\w.-]*", revision) and disk.is_dir(folder / "snapshots" / revision):
        return folder / "snapshots" / revision
    # A download of one pinned revision leaves no ref; what begins with a dot is being made.
    snapshots = [
        child for child in disk.children(folder / "snapshots") if not child.name.startswith(".") and disk.is_dir(child)
    ]
    return max(snapshots, key=disk.changed, default=None)


def _cut(folder: Path, snapshot: Path) -> str | None:
    """The name of a file that is not as long as the note of its download says."""
    record = read_record(folder)
    if record is None or record.commit != snapshot.name:
        return None
    sizes = disk.sizes(snapshot)
    return next((file.name for file in record.files if sizes.get(file.name, file.size) != file.size), None)


def _plain_folder(folder: Path) -> InstalledModel:
    repo = folder.name.removesuffix(PART).replace("--", "/", 1)
    name = repo.rpartition("/")[2] or folder.name
    model = replace(describe(folder, "quietly", name), repo=repo if "/" in repo else None, within=folder.parent)
    if folder.name.endswith(PART):
        problem = _unfinished_sentence(name, "quietly")
        return replace(model, problem=problem, unfinished=(model.size, 0))
    noted = disk.json_object(folder / ".quietly.json").get("revision")
    return replace(model, revision=noted if isinstance(noted, str) and _COMMIT.fullmatch(noted) else None)
