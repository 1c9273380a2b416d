"""A checkpoint in fewer bits: `quantise` writes one that we and mlx-lm open alike.

Weights are read, packed, looked at and written a module at a time, so that a model of any size passes through little
memory; what packing costs in precision is measured on the way. The folder appears whole or not at all. It knows
architectures only as modules with paths.
"""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from model.config import LayerQuantization, parse_config, parse_model_type
from model.errors import ModelError
from model.registry import OURS, mlx_lm_network
from model.weights.blinkdl import read_fields
from model.weights.counting import has_head
from model.weights.deviation import Deviation, all_finite, deviation
from model.weights.place import Placement
from model.weights.safetensors import amount, shards, short
from model.weights.writing import new_file, safetensors_header, sync_folder

Progress = Callable[[int, int], None]
"""Called with bytes written and bytes to write."""

MOST_SHARD = 5 * 1024**3
"""Bytes of one weights file, as on the Hub. A module larger than that gets a file of its own."""
_BITS = (2, 3, 4, 5, 6, 8)
_GROUPS = (32, 64, 128)
_COPIED = (".json", ".jinja", ".model", ".tiktoken", ".txt", ".md")
"""Endings of what goes along: tokenizer, template, generation defaults, vocabulary, card. Never code."""
_MOST_COPIED = 128 * 1024**2
"""Bytes; the largest tokenizer there is has a third of it."""
_MARGIN = 64 * 1024**2
"""Bytes for tokenizer, template and card."""
_WORKSPACE = 128 * 1024**2
"""Bytes of memory beside the module that is packed."""
_NAMES = {
    mx.float32: "F32",
    mx.float16: "F16",
    mx.bfloat16: "BF16",
    mx.bool_: "BOOL",
    mx.uint8: "U8",
    mx.uint16: "U16",
    mx.uint32: "U32",
    mx.uint64: "U64",
    mx.int8: "I8",
    mx.int16: "I16",
    mx.int32: "I32",
    mx.int64: "I64",
}
"""MLX's types as safetensors calls them."""


@dataclass(frozen=True)
class Recipe:
    """Which modules get more bits than the rest, as ends of their paths."""

    about: str
    always: tuple[str, ...] = ()
    """Modules that matter in every place."""
    at_the_ends: tuple[str, ...] = ()
    """Modules that matter in the first and last eighth of the layers, where errors are made and where they show."""
    extra: int = 0
    """Bits beyond the rest's, up to 8."""


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "uniform": Recipe("The same bits everywhere: the smallest file."),
        "mixed": Recipe(
            "Two bits more for the embeddings, the head, and v_proj and down_proj of the first and last layers, which "
            "lose most by it (the idea of llama.cpp's Q4_K_M): a twentieth larger, and closer to the original.",
            always=("embed_tokens", "embeddings", "lm_head", "head"),
            at_the_ends=("v_proj", "down_proj"),
            extra=2,
        ),
    }
)


def quantise(
    folder: str | Path,
    destination: str | Path,
    bits: int = 4,
    group_size: int = 64,
    recipe: str = "uniform",
    progress: Progress = lambda done, total: None,
    *,
    name: str | None = None,
    memory: int | None = None,
    measured: Callable[[Deviation], None] | None = None,
) -> Path:
    """Write the checkpoint of `folder` in `bits` a weight to the new folder `destination`, and return that.

    Every `group_size` neighbouring weights of a row share a scale and an offset (MLX's affine quantisation). Norms and
    biases stay as they are, and so do matrices whose rows are no multiple of the group. `recipe` is one of `RECIPES`.
    `progress` gets bytes; what it raises stops the work and leaves nothing behind. `name` is what errors call the
    model, by default as its folder is called; `memory` the bytes there are to work in; `measured` gets the deviation of
    each packed module, which takes a second look at it. ModelError, one sentence, where the source cannot be opened, is
    quantised already or holds a NaN, where the destination exists or has no room, and where memory is too small.
    """
    source, target = (Path(path).expanduser().absolute() for path in (folder, destination))
    if bits not in _BITS or group_size not in _GROUPS:
        raise ModelError(
            f"{bits} bits in groups of {group_size} is nothing MLX has; choose {_list(_BITS)} bits and groups of "
            f"{_list(_GROUPS)}.",
            "request",
        )
    if recipe not in RECIPES:
        raise ModelError(f"There is no recipe {short(recipe)!r}; choose {_list(sorted(RECIPES))}.", "request")
    if not source.is_dir():
        raise ModelError(f"{source} is not a model folder; give one that holds config.json and weights.", "request")
    if os.path.lexists(target):
        raise ModelError(f"{target} exists already; choose another place, or remove it first.", "request")
    fields = read_fields(source)
    name = name or source.name
    if any(fields.get(key) is not None for key in ("quantization", "quantization_config")):
        raise ModelError(f"{name} is quantised already; quantise the original that it was made from.", "request")
    network, config = _network(source, name, fields)
    originals: dict[str, mx.array] = dict(tree_flatten(network.parameters()))  # still to be had when they are packed
    overrides = _quantised(network, name, bits, group_size, RECIPES[recipe])
    entry = {"group_size": group_size, "bits": bits, "mode": "affine", **overrides}
    # Both keys, as mlx-lm writes them: the second is where the Hub looks.
    config |= {"quantization": entry, "quantization_config": entry}
    parameters: dict[str, mx.array] = dict(tree_flatten(network.parameters()))
    in_parts = parse_model_type(fields, name) not in OURS
    weights = _Weights(name, originals, parameters, _packings(network), in_parts)
    del network, originals  # from here on a tensor lives only as long as it takes to write it
    plan = _plan(weights.parameters)
    if memory is not None and (needed := max(map(weights.memory, (m for file in plan for m in file)))) > memory:
        raise ModelError(
            f"{name} needs {amount(needed)} of memory for its largest module, and {amount(memory)} are free; close "
            "other programs first.",
            "request",
        )
    try:
        _write_folder(target, source, config, weights, plan, progress, measured)
    except OSError as error:
        raise ModelError(f"{target} cannot be written ({error.strerror or error}); choose another place.") from None
    return target


def _list(values: Sequence[object]) -> str:
    return f"{', '.join(map(str, values[:-1]))} or {values[-1]}"


# --- the model, unread ----------------------------------------------------------------------------------------------


def _network(folder: Path, name: str, fields: dict[str, object]) -> tuple[nn.Module, dict[str, Any]]:
    """The architecture with its weights still on disk, and the configuration to be written with it."""
    kind = parse_model_type(fields, name)
    files = shards(folder)
    if kind not in OURS:
        return mlx_lm_network(folder, kind).module, dict(fields)
    config = parse_config(fields, name)
    tied = bool(config.tie_word_embeddings) or not has_head(files)
    network = OURS[kind](replace(config, tie_word_embeddings=tied))
    Placement(network, config, files, name, tied).place_unread()
    return network, {**fields, **_spelt_out(fields, tied)}


def _spelt_out(fields: Mapping[str, object], tied: bool) -> dict[str, Any]:
    """What other readers would guess differently: whether the head is tied, and transformers 5's rope in 4's words."""
    explicit: dict[str, Any] = {"tie_word_embeddings": tied}
    rope = fields.get("rope_parameters")
    if isinstance(rope, dict) and not fields.get("rope_scaling"):
        if "rope_theta" in rope:
            explicit["rope_theta"] = rope["rope_theta"]
        if rope.get("rope_type", "default") != "default":
            explicit["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    return explicit


def _quantised(network: nn.Module, name: str, bits: int, group_size: int, recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Replace the modules of a network by packed ones, nothing evaluated; returns those that differ from the rule."""
    own_rule = getattr(network, "quant_predicate", None)  # an mlx-lm model's word on its routers and the like
    layers = _layer_count(network)
    overrides: dict[str, dict[str, Any]] = {}
    packed = 0

    def settings(path: str, module: nn.Module) -> bool | dict[str, Any]:
        nonlocal packed
        if not hasattr(module, "to_quantized") or module.weight.shape[-1] % group_size:
            return False
        chosen: bool | dict[str, Any] = own_rule(path, module) if own_rule is not None else True
        if chosen is True:
            wanted = min(8, bits + recipe.extra) if _matters(path, recipe, layers) else bits
            wanted = 8 if wanted == 7 else wanted  # MLX packs no seven
            chosen = {"group_size": group_size, "bits": wanted, "mode": "affine"}
        if not chosen:
            return False
        packed += 1
        if chosen != {"group_size": group_size, "bits": bits, "mode": "affine"}:
            overrides[path] = chosen
        return chosen

    nn.quantize(network, class_predicate=settings)
    if not packed:
        raise ModelError(
            f"{name} has no matrix whose rows divide into groups of {group_size}; choose a smaller group.", "request"
        )
    return overrides


def _packings(network: nn.Module) -> dict[str, LayerQuantization]:
    """How each packed module is packed, by its path."""
    return {
        path: LayerQuantization(module.group_size, module.bits, module.mode)
        for path, module in network.named_modules()
        if "scales" in module
    }


def _layer_count(network: nn.Module) -> int:
    return max((layer for path, _ in network.named_modules() if (layer := _layer(path)) is not None), default=-1) + 1


def _layer(path: str) -> int | None:
    return next((int(part) for part in path.split(".") if part.isdecimal()), None)


def _matters(path: str, recipe: Recipe, layers: int) -> bool:
    """Whether the recipe gives this module more bits."""
    module, layer, margin = path.rpartition(".")[2], _layer(path), max(1, layers // 8)
    at_an_end = layer is not None and not margin <= layer < layers - margin
    return module in recipe.always or (at_an_end and module in recipe.at_the_ends)


# --- the folder -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tensor:
    """A tensor that waits to be read, and what its header entry will say."""

    path: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


_Module = list[_Tensor]


def _plan(parameters: Mapping[str, mx.array]) -> list[list[_Module]]:
    """The modules of each file. Shapes and types are known before anything is read."""
    files: list[list[_Module]] = []
    room = 0
    for _, group in groupby(parameters.items(), key=lambda item: item[0].rpartition(".")[0]):
        module = [_Tensor(path, _NAMES[array.dtype], tuple(array.shape), array.nbytes) for path, array in group]
        size = sum(tensor.nbytes for tensor in module)
        if not files or size > room:
            files.append([])
            room = MOST_SHARD
        files[-1].append(module)
        room -= size
    return files


@dataclass(frozen=True)
class _Weights:
    """The tensors of a model before and after packing, all unread. They are used up by being read."""

    name: str
    originals: dict[str, mx.array]
    parameters: dict[str, mx.array]
    packings: Mapping[str, LayerQuantization]
    in_parts: bool
    """Whether a tensor may be stored in parts that are put together, as mlx-lm does with experts."""

    def memory(self, module: _Module) -> int:
        """Bytes that reading it takes: of what is stored, and of what becomes of that."""
        stored = sum(self.originals[tensor.path].nbytes for tensor in module if tensor.path in self.originals)
        return stored * (2 if self.in_parts else 1) + sum(tensor.nbytes for tensor in module) + _WORKSPACE

    def read(self, module: _Module, measured: Callable[[Deviation], None] | None) -> Iterator[memoryview]:
        """The bytes of a module's tensors. ModelError where what they were made from holds a NaN or an infinity."""
        arrays = {tensor.path: self.parameters.pop(tensor.path) for tensor in module}
        originals = {path: self.originals.pop(path) for path in arrays if path in self.originals}
        mx.eval(list(arrays.values()), list(originals.values()))
        floating = (path for path, original in originals.items() if mx.issubdtype(original.dtype, mx.floating))
        if (unsound := next((path for path in floating if not all_finite(originals[path])), None)) is not None:
            raise ModelError(
                f"{self.name}: {short(unsound)} holds a NaN or an infinity, and so would what is made of it; download "
                "the model again, or choose another version of it."
            )
        owner = module[0].path.rpartition(".")[0]
        if measured and owner in self.packings:
            parts = {path.rpartition(".")[2]: array for path, array in arrays.items()}
            measured(deviation(owner, originals[f"{owner}.weight"], parts, self.packings[owner]))
        del originals
        for array in arrays.values():
            yield np.asarray(mx.contiguous(array.reshape(-1)).view(mx.uint8)).data


def _write_folder(
    target: Path,
    source: Path,
    config: Mapping[str, Any],
    weights: _Weights,
    plan: Sequence[Sequence[_Module]],
    progress: Progress,
    measured: Callable[[Deviation], None] | None,
) -> None:
    """Write everything beside the target, then rename. `weights` are used up on the way."""
    total = sum(tensor.nbytes for file in plan for module in file for tensor in module)
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < total + _MARGIN:
        raise ModelError(
            f"{weights.name} takes {amount(total + _MARGIN)} when quantised, and {target.parent} has {amount(free)} "
            "left; make room, or choose another place.",
            "request",
        )
    unfinished = target.parent / f".{uuid.uuid4().hex}.unfinished"
    unfinished.mkdir()
    try:
        written = 0
        owners: dict[str, str] = {}
        progress(0, total)
        for number, modules in enumerate(plan, 1):
            many = f"model-{number:05d}-of-{len(plan):05d}.safetensors"
            name = many if len(plan) > 1 else "model.safetensors"
            with new_file(unfinished / name) as file:
                tensors = (tensor for module in modules for tensor in module)
                file.write(safetensors_header((t.path, t.dtype, t.shape, t.nbytes) for t in tensors))
                for module in modules:
                    for data in weights.read(module, measured):
                        file.write(data)
                        written += len(data)
                    owners |= {tensor.path: name for tensor in module}
                    progress(written, total)
        if len(plan) > 1:
            index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(owners.items()))}
            _write_json(unfinished / "model.safetensors.index.json", index)
        _write_json(unfinished / "config.json", config)
        for path in _companions(source):
            with new_file(unfinished / path.name) as file, path.open("rb") as original:
                shutil.copyfileobj(original, file)
        sync_folder(unfinished)
        unfinished.rename(target)
        sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _companions(folder: Path) -> list[Path]:
    """What of a checkpoint goes along as it is."""

    def wanted(path: Path) -> bool:
        licence = path.name.upper().startswith(("LICENSE", "LICENCE", "NOTICE"))
        described_anew = path.name == "config.json" or path.name.endswith(".index.json")
        if described_anew or path.name.startswith(".") or not (licence or path.suffix in _COPIED):
            return False
        return path.is_file() and path.stat().st_size <= _MOST_COPIED

    return sorted(path for path in folder.iterdir() if wanted(path))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with new_file(path) as file:
        file.write(json.dumps(content, indent=2).encode())
