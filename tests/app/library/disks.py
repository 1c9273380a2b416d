"""Models as they lie on people's disks. Headers and notes are true, so that only what a test breaks is broken; the
weights themselves are zeros, for nothing here reads them."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.library.layout import File, Record, Repository
from app.library.records import InstalledModel
from model.weights.safetensors import BITS
from model.weights.writing import safetensors_header

SHAPE: dict[str, Any] = {
    "model_type": "qwen2",
    "num_hidden_layers": 24,
    "hidden_size": 896,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "intermediate_size": 4864,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
    "quantization": {"group_size": 64, "bits": 4},
}
COMMIT, OLDER = "c" * 40, "0" * 40

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""dtype and shape by name."""


def safetensors(tensors: Tensors | None = None) -> bytes:
    """A sound file with these tensors, by default one that has 100 bytes of weights."""
    listed = []
    for name, (dtype, shape) in (tensors or {"model.norm.weight": ("BF16", (50,))}).items():
        listed.append((name, dtype, shape, math.prod(shape) * BITS[dtype] // 8))
    return safetensors_header(listed) + bytes(sum(size for *_, size in listed))


WEIGHTS = safetensors()


def checkpoint(folder: Path, weights: bytes = WEIGHTS, **changes: object) -> Path:
    """A checkpoint folder of Qwen2.5 0.5B's shape, with `changes` to its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**SHAPE, **changes}))
    if weights:
        (folder / "model.safetensors").write_bytes(weights)
    return folder


def snapshot(
    cache: Path, repo: str, commit: str = COMMIT, ref: bool = True, files: Mapping[str, bytes] | None = None
) -> Path:
    """A snapshot in a Hub cache, its files links to blobs by checksum; with `ref`, `main` is that commit."""
    repository = cache / f"models--{repo.replace('/', '--')}"
    here = repository / "snapshots" / commit
    here.mkdir(parents=True)
    (repository / "blobs").mkdir(exist_ok=True)
    for name, content in (files or {"config.json": json.dumps(SHAPE).encode(), "model.safetensors": WEIGHTS}).items():
        blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).symlink_to(os.path.relpath(blob, (here / name).parent))
    if ref:
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / "main").write_text(commit)
    return here


def fetched(models: Path, repo: str = "org/Model", done: Mapping[str, int] | None = None) -> Path:
    """What Quietly's own download leaves: the whole model, or of each file so many bytes as `done` says."""
    contents = {"config.json": json.dumps(SHAPE).encode(), "model.safetensors": WEIGHTS}
    files = tuple(
        File(name, len(content), sha256=hashlib.sha256(content).hexdigest()) for name, content in contents.items()
    )
    repository = Repository(models, repo)
    record = Record(repo, "main", COMMIT, files)
    repository.begin(record)
    for file in files:
        come = len(contents[file.name]) if done is None else done.get(file.name, 0)
        whole = come == file.size
        (repository.blob(file) if whole else repository.part(file)).write_bytes(contents[file.name][:come])
    return repository.finish(record) if done is None else repository.folder


def ollama_layer(models: Path, kind: str, content: bytes) -> dict[str, object]:
    """A layer of a manifest, and its blob."""
    digest = hashlib.sha256(content).hexdigest()
    (models / "blobs").mkdir(parents=True, exist_ok=True)
    (models / "blobs" / f"sha256-{digest}").write_bytes(content)
    return {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}


def ollama_model(models: Path, name: str, *layers: dict[str, object]) -> Path:
    """A manifest `host/namespace/model/tag` of these layers."""
    manifest = models / "manifests" / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "config": {}, "layers": layers}))
    return manifest


def only(models: list[InstalledModel]) -> InstalledModel:
    """The one model beside the starter."""
    [model] = [model for model in models if model.source != "starter"]
    return model


def by_name(models: list[InstalledModel]) -> dict[str, InstalledModel]:
    return {model.name: model for model in models if model.source != "starter"}


def tree(folder: Path) -> set[str]:
    """Everything below a folder, by its path there."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
