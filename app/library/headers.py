"""What the headers of weight files tell of a model: parameters, bits, context, and what is wrong with the files.

Each file is read once for each of its states, so that looking again costs a look at its size and times. No weights are
read, and neither MLX nor numpy is loaded. It knows no places.
"""

import functools
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from model.config import Config, Quantization, parse_config
from model.errors import ModelError
from model.weights import blinkdl
from model.weights.counting import has_head, weight_count
from model.weights.gguf_header import Header, read
from model.weights.gguf_shape import converted_bytes, fields_of, weights
from model.weights.gguf_tokenizer import Vocabulary, refuse_unknown
from model.weights.gguf_types import FILE_TYPES, TYPES
from model.weights.safetensors import shards

LONGEST = 16 * 1024 * 1024
"""Bytes of an index or a header. Those of the largest published models have some million; longer ones take seconds."""

State = tuple[tuple[str, int, int, int], ...]
"""Names of files with their bytes, and when content and entry changed last: what says whether to read again."""


@dataclass(frozen=True)
class Safetensors:
    """The weights of a checkpoint folder, as their headers have them."""

    nbytes: int
    parameters: int
    stored: str
    """The type of most numbers that are not packed: "bf16"."""
    has_head: bool
    """Whether the head is stored, so that the embedding is not it."""


@dataclass(frozen=True)
class SingleFile:
    """A model that is one file, as far as its header tells; `problem` where it cannot be used, with what is known all
    the same."""

    architecture: str | None = None
    parameters: int | None = None
    bits: float | None = None
    stored: str = ""
    context: int | None = None
    licence: str | None = None
    weights: int = 0
    """Bytes that the weights will take when they are loaded."""
    config: Config | None = None
    problem: str | None = None


def state(files: Iterable[Path]) -> State:
    """The state of these files; those that cannot be looked at are left out."""
    found = []
    for file in files:
        try:
            status = file.stat()
        except (OSError, ValueError):
            continue
        found.append((file.name, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(found)


@functools.lru_cache(maxsize=512)
def safetensors(folder: Path, quantization: Quantization | None, state: State) -> Safetensors | str:
    """The weights of `folder` while it is in this `state`, or the sentence that says why they cannot be used."""
    try:
        files = shards(folder, LONGEST)
    except ModelError as error:
        return str(error)
    except OSError as error:
        return _unreadable(folder, error)
    tensors = [(name, tensor) for held in files.values() for name, tensor in held.items()]
    plain: Counter[str] = Counter()
    for name, tensor in tensors:
        if tensor.dtype != "U32" and not name.endswith((".scales", ".biases")):
            plain[tensor.dtype] += tensor.nbytes
    return Safetensors(
        nbytes=sum(tensor.nbytes for _, tensor in tensors),
        parameters=weight_count(files, quantization),
        stored=max(plain, key=lambda dtype: plain[dtype], default="").lower(),
        has_head=has_head(files),
    )


@functools.lru_cache(maxsize=512)
def gguf(path: Path, name: str, state: State) -> SingleFile:
    """The facts of the file at `path` while it is in this `state`; `name` is what sentences call it."""
    try:
        header = read(path, vocabulary=False)
    except ModelError as error:
        return SingleFile(problem=str(error))
    except OSError as error:
        return SingleFile(problem=_unreadable(path, error))
    architecture = header.text("general.architecture")
    elements, nbytes = _amounts(header)
    facts = SingleFile(
        architecture=architecture,
        parameters=elements or None,
        bits=round(nbytes * 8 / elements, 2) if nbytes and elements else None,
        stored=FILE_TYPES.get(header.whole("general.file_type") or -1) or _usual_type(header),
        context=header.whole(f"{architecture}.context_length") or None,
        licence=_licence(header),
    )
    if (problem := _no_chat_model(header, name)) is not None:
        return replace(facts, problem=problem)
    try:
        config = parse_config(fields_of(header), name)
        refuse_unknown(path, Vocabulary.of(header))
    except ModelError as error:
        return replace(facts, problem=str(error))
    return replace(facts, config=config, weights=converted_bytes(header), context=config.context)


def pth(path: Path, name: str) -> SingleFile:
    """The same of an RWKV's .pth file. No architecture, and a problem, for one of another model."""
    return _pth(path, name, state([path, *map(path.with_name, blinkdl.VOCABULARIES)]))


@functools.lru_cache(maxsize=512)
def _pth(path: Path, name: str, state: State) -> SingleFile:
    """While it and what may be its vocabulary are in this `state`."""
    from model.weights.pth import read as read_pth  # zip archives and pickles: nothing that every start should load

    try:
        tensors = read_pth(path)
        config = parse_config(blinkdl.fields_of(tensors, path.stem), name)
    except ModelError as error:
        return SingleFile(problem=str(error))
    except OSError as error:
        return SingleFile(problem=_unreadable(path, error))
    elements = sum(math.prod(tensor.shape) for tensor in tensors.values())
    nbytes = sum(tensor.nbytes for tensor in tensors.values())
    facts = SingleFile(
        architecture=config.model_type,
        parameters=elements,
        bits=round(nbytes * 8 / elements, 2),
        stored=blinkdl.usual_type(tensors).lower(),
        context=config.trained,
        weights=nbytes,
        config=config,
    )
    try:
        blinkdl.vocabulary_beside(path, config.vocab_size)
    except ModelError as error:
        return replace(facts, problem=str(error))
    return facts


def _amounts(header: Header) -> tuple[int, int]:
    """Weights, and the bytes they take; no bytes where a type is unknown."""
    elements = nbytes = 0
    known = True
    for tensor in weights(header):
        count = math.prod(tensor.shape)
        elements += count
        kind = TYPES.get(tensor.kind)
        known = known and kind is not None
        nbytes += count * kind.size // kind.block if kind else 0
    return elements, nbytes if known else 0


def _usual_type(header: Header) -> str:
    """The type of most weights."""
    often: Counter[int] = Counter()
    for tensor in weights(header):
        often[tensor.kind] += math.prod(tensor.shape)
    kind = TYPES.get(max(often, key=lambda number: often[number], default=-1))
    return kind.name if kind else ""


def _licence(header: Header) -> str | None:
    named = header.text("general.license.name") or header.text("general.license")
    return named if named and re.fullmatch(r"[\w.+ -]{1,60}", named) else None


def _no_chat_model(header: Header, name: str) -> str | None:
    """What the file is, where it is something else than a model that writes."""
    architecture = header.text("general.architecture") or ""
    kind = header.text("general.type") or "model"
    if kind == "adapter":
        return f"{name} is an adapter for another model: merge it into that one with llama.cpp's export-lora first."
    if kind == "mmproj" or architecture == "clip":
        return f"{name} is the part of a model that sees: it belongs to another file, which answers without it."
    if kind == "imatrix":
        return f"{name} is what was measured for quantising a model, and no model: choose the model itself."
    pooled = header.whole(f"{architecture}.pooling_type")
    if pooled or "bert" in architecture or architecture in ("gemma-embedding", "llama-embed", "t5encoder"):
        return f"{name} is an embedding model, which answers with numbers: choose a chat model."
    return None


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path} cannot be read ({error.strerror or error}): check the disk it lies on, and who may read it."


def stored_bits(found: Safetensors) -> float | None:
    """Bits a weight takes, on the average of all."""
    return round(found.nbytes * 8 / found.parameters, 2) if found.parameters else None
