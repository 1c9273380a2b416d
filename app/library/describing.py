"""What one model is: a checkpoint folder, a GGUF file or an RWKV's .pth file, described as far as it can be.

Configurations, indexes, headers, model cards and sizes are read, never weights. What is wrong becomes one sentence; for
nothing that a disk can hold anything is raised. It knows neither MLX nor where models lie.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from app.library import disk, headers
from app.library.disk import shown
from app.library.records import InstalledModel, Source
from app.library.running import runner
from model.config import SHAPES, Quantization, parse_config, parse_model_type, parse_quantization
from model.errors import ModelError
from model.facts import parameters
from model.weights.blinkdl import read_fields
from model.weights.conversions import is_pth
from model.weights.gguf_header import is_gguf

SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE | re.DOTALL)
"""The name of a part of a GGUF file that llama.cpp has split."""
_COMING = re.compile(r".+\.(part|partial|incomplete|download|crdownload|tmp)", re.IGNORECASE | re.DOTALL)
"""How programs call a file while they fetch it."""
_INDEX = "model.safetensors.index.json"


class _Metadata(msgspec.Struct):
    total_parameters: int | None = None


class _Index(msgspec.Struct):
    weight_map: dict[str, str]
    metadata: _Metadata | None = None


def describe(path: Path, source: Source, name: str | None = None) -> InstalledModel:
    """The model at `path`, called `name` or as its folder or file is."""
    if disk.is_dir(path):
        model = _checkpoint(path, source, name or path.name or str(path))
    elif is_pth(path):
        model = InstalledModel(name or path.stem, path, source, size=disk.total(path))
        model = _of_file(model, headers.pth(path, shown(model.name)))
    else:
        model = _gguf(path, source, name or gguf_name(path))
    if model.problem is not None:  # files are called after the whole way to them, which is long
        model = replace(model, problem=_plain(model.problem.replace(str(path), shown(model.name))))
    return model


def gguf_name(path: Path) -> str:
    """What a GGUF file is called, without its suffix and its number among parts."""
    split = SPLIT.fullmatch(path.name)
    return split[1] if split else path.stem if is_gguf_name(path.name) else path.name


def is_gguf_name(name: str) -> bool:
    """Whether a file of this name should be GGUF."""
    return name.lower().endswith(".gguf")


def is_coming(name: str) -> bool:
    """Whether a file of this name is still being fetched, or was when that ended."""
    return _COMING.fullmatch(name) is not None


# --- a GGUF file ----------------------------------------------------------------------------------


def _gguf(path: Path, source: Source, name: str) -> InstalledModel:
    parts = gguf_parts(path)
    model = InstalledModel(name, path, source, size=sum(map(disk.total, parts)))
    if SPLIT.fullmatch(path.name):
        return replace(model, problem=_in_parts(path, name, len(parts)))
    if not model.size:
        return replace(model, problem=f"{shown(name)} is empty or cannot be read: get it again.")
    return _of_file(model, headers.gguf(path, shown(name), headers.state([path])))


def _of_file(model: InstalledModel, facts: headers.SingleFile) -> InstalledModel:
    """With what the header of its one file tells."""
    return replace(
        model,
        architecture=facts.architecture,
        parameters=facts.parameters,
        bits=facts.bits,
        stored=facts.stored,
        context=facts.context,
        licence=facts.licence or licence(model.path.with_name("README.md")),
        weights=facts.weights or model.size,
        config=facts.config,
        runs="quietly" if facts.config is not None else None,
        problem=facts.problem,
    )


def gguf_parts(path: Path) -> list[Path]:
    """The files that a GGUF file consists of, as far as they are there; most of one."""
    if not (split := SPLIT.fullmatch(path.name)):
        return [path]
    beginning, ending = f"{split[1]}-", f"-of-{split[3]}{path.suffix}"
    return [
        file
        for file in disk.children(path.parent, ending)
        if file.name.startswith(beginning) and len(file.name) == len(path.name) and SPLIT.fullmatch(file.name)
    ]


def _in_parts(path: Path, name: str, here: int) -> str:
    split = SPLIT.fullmatch(path.name)
    count = int(split[3]) if split else 1
    if here < count:
        return f"{shown(name)}: {here} of {count} parts are here; get the others, or a version in one file."
    return f"{shown(name)} is in {count} parts: merge them with llama.cpp's gguf-split, or get a version in one file."


# --- a checkpoint folder --------------------------------------------------------------------------


def _checkpoint(folder: Path, source: Source, name: str) -> InstalledModel:
    sizes = disk.sizes(folder)
    model = InstalledModel(name, folder, source, size=disk.total(folder), licence=licence(folder / "README.md"))
    if "adapter_config.json" in sizes and "config.json" not in sizes:
        problem = f"{shown(name)} is an adapter for another model: fuse it into that one with `mlx_lm.fuse` first."
        return replace(model, problem=problem)
    try:
        fields = read_fields(folder, shown(name), headers.LONGEST)
        architecture = parse_model_type(fields, shown(name))
        model = replace(model, architecture=architecture, runs=runner(architecture), context=_context(fields))
        quantization = _quantization(fields, name)
    except ModelError as error:
        return replace(model, problem=str(error))
    try:
        index = _index(folder, name, sizes)
    except ModelError as error:
        return replace(model, problem=_not_finished(sizes, name) or str(error))
    found = headers.safetensors(folder, quantization, _state(folder, sizes))
    model = _with_shape(model, fields, quantization, index, found)
    if isinstance(found, str):
        return replace(model, problem=found)
    wrong = _no_chat_model(model, fields, sizes)
    return model if wrong is None else replace(model, runs=None, problem=wrong)


def _with_shape(
    model: InstalledModel,
    fields: Mapping[str, object],
    quantization: Quantization | None,
    index: _Index | None,
    found: "headers.Safetensors | str",
) -> InstalledModel:
    """With what configuration, index and headers tell together; with the problem where the shape cannot be."""
    if isinstance(found, headers.Safetensors):
        model = replace(model, weights=found.nbytes, parameters=found.parameters)
    if index is not None and index.metadata is not None and index.metadata.total_parameters:
        model = replace(model, parameters=index.metadata.total_parameters)
    bits, stored = _storage(fields, quantization, found)
    model = replace(model, bits=bits, stored=stored)
    if model.architecture not in SHAPES:
        return model
    try:
        config = parse_config(fields, shown(model.name))
    except ModelError as error:
        return replace(model, runs=None, problem=str(error))
    tied = config.tie_word_embeddings
    if isinstance(found, headers.Safetensors):
        tied = bool(tied) or not found.has_head  # a head that is not stored is the embedding, whatever is said
    config = replace(config, tie_word_embeddings=tied)
    return replace(model, config=config, context=config.trained, parameters=parameters(config).total)


def _storage(
    fields: Mapping[str, object], quantization: Quantization | None, found: "headers.Safetensors | str"
) -> tuple[float | None, str]:
    """`bits` and `stored` of a record."""
    read = found if isinstance(found, headers.Safetensors) else None
    if quantization is not None:
        rule = quantization.default
        mixed = headers.stored_bits(read) if read and quantization.overrides else None
        return mixed or rule.bits_per_weight, f"{rule.bits} bit" if rule.mode == "affine" else rule.mode.upper()
    other = fields.get("quantization_config")
    method = other.get("quant_method") if isinstance(other, dict) else None
    if isinstance(method, str) and re.fullmatch(r"[\w.-]{1,20}", method, re.ASCII):
        return None, method
    return (headers.stored_bits(read), read.stored) if read else (None, "")


def _quantization(fields: Mapping[str, object], name: str) -> Quantization | None:
    """MLX's own; mlx-lm opens some of other methods' checkpoints too, of which then nothing is said.

    ModelError for what cannot be true, which it is for nobody.
    """
    try:
        return parse_quantization(fields, shown(name))
    except ModelError as error:
        if error.kind == "checkpoint":
            raise
        return None


def _state(folder: Path, sizes: Mapping[str, int]) -> headers.State:
    return headers.state(folder / name for name in sizes if name.endswith(".safetensors") or name == _INDEX)


def _index(folder: Path, name: str, sizes: Mapping[str, int]) -> _Index | None:
    """The index of the shards, if there is one. ModelError where weights are missing."""
    index = None
    if 0 < sizes.get(_INDEX, 0) <= headers.LONGEST:
        try:
            index = msgspec.json.decode((folder / _INDEX).read_bytes(), type=_Index)
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
            raise ModelError(f"{shown(name)}: {_INDEX} is damaged; get the model again.") from None
    shards = {file: size for file, size in sizes.items() if file.endswith(".safetensors")}
    wanted = set(index.weight_map.values()) if index else _siblings(shards)
    missing = wanted - {file for file, size in shards.items() if size}
    if missing:
        count = f"{len(missing)} of {len(wanted)} weight files are missing"
        raise ModelError(f"{shown(name)}: {count}; get the model again.")
    if not shards:
        if any(file.endswith((".bin", ".pt", ".pth")) for file in sizes):
            raise ModelError(f"{shown(name)}: its weights are pickles, which can run code; get a safetensors version.")
        raise ModelError(f"{shown(name)}: there are no weights beside config.json; get the model again.")
    return index


def _siblings(shards: Iterable[str]) -> set[str]:
    """All the names that go with `model-00001-of-00003.safetensors`, where there is no index to name them."""
    wanted = set(shards)
    for shard in shards:
        if match := re.fullmatch(r"(.*-)(\d{5})-of-(\d{5})\.safetensors", shard):
            count = min(int(match[3]), disk.MOST_ENTRIES)
            wanted |= {f"{match[1]}{i:05d}-of-{match[3]}.safetensors" for i in range(1, count + 1)}
    return wanted


def _not_finished(sizes: Iterable[str], name: str) -> str | None:
    if any(map(is_coming, sizes)):
        return f"The download of {shown(name)} has not finished: let the program that fetches it go on."
    return None


def _context(fields: Mapping[str, object]) -> int | None:
    inner = fields.get("text_config")
    for one in (fields, inner if isinstance(inner, dict) else {}):
        value = one.get("max_position_embeddings")
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31:
            return value
    return None


def _no_chat_model(model: InstalledModel, fields: Mapping[str, object], sizes: Iterable[str]) -> str | None:
    """Why this cannot answer, though nothing is wrong with its files."""
    name = shown(model.name)
    classes = fields.get("architectures")
    heads = [one for one in classes if isinstance(one, str)] if isinstance(classes, list) else []
    if {"modules.json", "config_sentence_transformers.json"} & set(sizes):
        return f"{name} is an embedding model, which answers with numbers: choose a chat model."
    if any(head.endswith("Classification") for head in heads):
        return f"{name} sorts texts and writes none: choose a chat model."
    if model.problem is not None:
        return model.problem
    if model.runs is None:
        return f"{name} is a {shown(model.architecture or '')} model, and nothing here runs those: choose a chat model."
    return None


# --- the licence ----------------------------------------------------------------------------------


def licence(card: Path) -> str | None:
    """The licence in a model card's front matter."""
    head = disk.beginning(card, 8192).decode("utf-8", "replace")
    if not head.startswith("---"):
        return None
    front = head[3:].partition("\n---")[0]
    for key in ("license_name", "license"):
        if match := re.search(rf"^{key}:[ \t]*(?:\r?\n[ \t]*-[ \t]*)?['\"]?([\w.+-]{{1,60}})", front, re.MULTILINE):
            return match[1]
    return None


# --- sentences ------------------------------------------------------------------------------------


def _plain(sentence: str) -> str:
    """On one line, in what can be shown, with its full stop."""
    line = "".join(character if character.isprintable() else "�" for character in sentence)
    return line if line.endswith(".") else f"{line}."


def looks_like_model(path: Path) -> bool:
    """Whether this file is to be opened as one: by its name, or else because it begins as GGUF does."""
    return not disk.is_dir(path) and (is_gguf_name(path.name) or is_pth(path) or is_gguf(path))


def is_rwkv(path: Path) -> bool:
    """Whether this is a .pth file that holds an RWKV, which can be opened; others are let lie where they are found."""
    return is_pth(path) and not disk.is_dir(path) and headers.pth(path, shown(path.stem)).architecture is not None
