"""Ollama's models: manifests name the blobs that a model consists of, one of them a GGUF file without a suffix.

    manifests/<host>/<namespace>/<model>/<tag>      JSON: layers, each with a media type and a digest
    blobs/sha256-<hex>                              their contents

They are Ollama's: nothing is written here or removed.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from app.library import disk
from app.library.describing import describe
from app.library.disk import shown
from app.library.records import InstalledModel

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_KIND = "application/vnd.ollama.image."
_REGISTRY = "registry.ollama.ai"
_MOST = 1000
"""Manifests that are read."""
_MOST_MANIFEST = 1024 * 1024


class _Layer(msgspec.Struct):
    media_type: str = msgspec.field(name="mediaType", default="")
    digest: str = ""
    size: int = 0


class _Manifest(msgspec.Struct):
    layers: list[_Layer] = []


def models_folder() -> Path | None:
    """Where Ollama keeps them, by the environment variable it honours."""
    if named := os.environ.get("OLLAMA_MODELS"):
        return Path(named)
    return disk.home(".ollama/models")


def is_ollama(folder: Path) -> bool:
    """Whether a folder is laid out as Ollama's is."""
    return disk.is_dir(folder / "manifests") and disk.is_dir(folder / "blobs")


def ollama(folder: Path | None) -> Iterator[InstalledModel]:
    """Every model there, by the names that `ollama list` has; one blob under several names as often."""
    if folder is None:
        return
    for _, manifest in zip(range(_MOST), _manifests(folder / "manifests", 4), strict=False):
        yield _model(folder, manifest, _name(manifest.relative_to(folder / "manifests").parts))


def _manifests(folder: Path, levels: int) -> Iterator[Path]:
    """The manifests `levels` below: host, namespace, model, tag."""
    for child in disk.children(folder):
        if child.name.startswith("."):
            continue
        if levels == 1:
            if not disk.is_dir(child):
                yield child
        else:
            yield from _manifests(child, levels - 1)


def _name(parts: Sequence[str]) -> str:
    host, namespace, model, tag = parts
    above = [] if host == _REGISTRY else [host]
    if above or namespace != "library":
        above.append(namespace)
    return f"{'/'.join([*above, model])}:{tag}"


def _model(folder: Path, manifest: Path, name: str) -> InstalledModel:
    model = InstalledModel(name, manifest, "ollama", within=folder)
    try:
        layers = msgspec.json.decode(disk.beginning(manifest, _MOST_MANIFEST + 1), type=_Manifest).layers
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return replace(model, problem=f"{shown(name)}: its manifest is damaged; `ollama pull` brings it again.")
    held = [layer for layer in layers if layer.media_type.startswith(_KIND) and _DIGEST.fullmatch(layer.digest)]
    by_kind: dict[str, list[_Layer]] = {}
    for layer in held:
        by_kind.setdefault(layer.media_type.removeprefix(_KIND), []).append(layer)
    weights = by_kind.get("model", [])
    size = sum(disk.total(_blob(folder, layer)) for layer in {layer.digest: layer for layer in held}.values())
    if (problem := _not_openable(name, by_kind)) is not None:
        return replace(model, size=size, problem=problem)
    blob = _blob(folder, weights[0])
    model = replace(model, path=blob, size=size)
    if disk.total(blob) != weights[0].size:
        problem = f"{shown(name)} is not wholly here: `ollama pull` brings the rest of it."
        return replace(model, problem=problem)
    described = describe(blob, "ollama", name)
    licence = _licence(folder, by_kind.get("license", [])) or described.licence
    return replace(described, size=size, licence=licence, within=folder)


def _not_openable(name: str, by_kind: dict[str, list[_Layer]]) -> str | None:
    if "tensor" in by_kind:
        return f"{shown(name)} is stored in a form that only Ollama opens: get a version of it made for MLX."
    if not by_kind.get("model"):
        return f"{shown(name)} has no weights on this machine: Ollama runs it elsewhere."
    if "adapter" in by_kind:
        return f"{shown(name)} has an adapter, which only Ollama applies: get a version of it in one piece."
    if len(by_kind["model"]) > 1:
        return f"{shown(name)} is in {len(by_kind['model'])} parts, which only Ollama opens: get it in one file."
    return None


def _blob(folder: Path, layer: _Layer) -> Path:
    """Where a layer lies; Ollama's first versions had the colon in the name."""
    older = folder / "blobs" / layer.digest
    return older if disk.exists(older) else folder / "blobs" / layer.digest.replace(":", "-")


def _licence(folder: Path, layers: list[_Layer]) -> str | None:
    """The first line of the licence's text, which is its title."""
    for layer in layers:
        text = disk.beginning(_blob(folder, layer), 4096).decode("utf-8", "replace")
        for line in text.splitlines():
            if title := " ".join(line.split()):
                return shown(title)
    return None
