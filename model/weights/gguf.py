"""GGUF files, converted once into a checkpoint folder that opens like any other.

Opening a GGUF file takes seconds, a converted one a fraction; so each file is converted when it is first used and kept
by its identity. What of the weights can be repacked without loss is; the rest is quantised anew, and conversion.json
says how much that changed. It runs in numpy and knows no MLX.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType

from model.errors import ModelError
from model.weights.conversions import (
    REPORT,
    Bits,
    Identity,
    alone,
    check_room,
    folder_name,
    identity,
    is_whole,
    remove_stale,
    taking_place,
)
from model.weights.gguf_blocks import Array, dequantised, pack
from model.weights.gguf_header import Header, StoredTensor, read
from model.weights.gguf_settings import settings_of
from model.weights.gguf_shape import (
    ROPE_FACTORS,
    architecture,
    block_type,
    config_of,
    interleaved_heads,
    our_name,
    weights,
)
from model.weights.gguf_types import TYPES, Packing, packing
from model.weights.safetensors import short
from model.weights.writing import new_file, safetensors_header

CHUNK = 1 << 20
"""Weights that are converted at once, by each thread: some 40 MB while it lasts."""
THREADS = min(6, os.cpu_count() or 1)

Progress = Callable[[int, int], None]

_PLAIN = {
    GGMLQuantizationType.F32: "F32",
    GGMLQuantizationType.F16: "F16",
    GGMLQuantizationType.BF16: "BF16",
}


@dataclass(frozen=True)
class TypeReport:
    """What became of all matrices of one of ggml's types."""

    tensors: int
    bits: int
    """Of a weight, now; 4 or 8."""
    worst: float
    """The largest error of a tensor: the root mean square of the differences over that of the weights."""
    mean: float


def convert(path: Path, conversions: Path, progress: Progress, *, bits: Bits | None = None) -> Path:
    """The checkpoint folder of a GGUF file: the one made before, or a new one below `conversions`.

    `progress(done, total)` counts tensors; it is not called where nothing has to be done. `bits` is for what cannot be
    repacked: None takes 8 for types of more than 5 bits, else 4, and leaves plain numbers as they are. Any number of
    processes may convert at once: one does, the others wait and use the result. ModelError, one sentence.
    """
    if bits not in (None, 4, 8):
        raise ModelError(f"GGUF weights are requantised to 4 or 8 bits, not {bits}; choose one of these", "request")
    try:
        state = identity(path)
        folder = conversions / folder_name(path, state, bits)
        if is_whole(folder):
            return folder
        header = read(path)
        plan = _plan(header, bits)
        with alone(conversions):
            if is_whole(folder):
                return folder
            _convert(header, plan, folder, progress, state)
            remove_stale(folder)
    except OSError as error:
        raise ModelError(f"{path} cannot be converted into {conversions}: {error.strerror or error}") from None
    return folder


def conversion_report(folder: Path) -> dict[str, TypeReport]:
    """By ggml's type, what the conversion of a folder that `convert` made cost in precision.

    Plain numbers that were kept are not listed: nothing became of them. ModelError where the folder has no report.
    """
    try:
        types = json.loads((folder / REPORT).read_text(encoding="utf-8"))["types"]
        return {name: TypeReport(**entry) for name, entry in types.items()}
    except OSError as error:
        raise ModelError(f"{folder} has no readable {REPORT} ({error.strerror}); convert its GGUF file again") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{folder}: {REPORT} is damaged; remove the folder and convert its GGUF file again") from None


# --- the folder -----------------------------------------------------------------------------------------------------


def _convert(header: Header, plan: "list[_Planned]", folder: Path, progress: Progress, state: Identity) -> None:
    path = header.path
    check_room(path, folder.parent, sum(part.size for planned in plan for part in planned.parts()))
    progress(0, len(plan))
    config = config_of(
        header,
        {planned.name: planned.stored.shape for planned in plan},
        {planned.name: planned.form for planned in plan if planned.form},
        _rope_factors(header),
    )
    if any(planned.kind == GGMLQuantizationType.BF16 and not planned.form for planned in plan):
        config["torch_dtype"] = "bfloat16"
    settings = settings_of(header, config)
    with taking_place(folder, path, state) as unfinished:
        with new_file(unfinished / "model.safetensors", 0o600) as file:
            errors = _write_weights(file, header, plan, config, progress)
        settings[REPORT] = _report(plan, errors)
        for name, content in settings.items():
            with new_file(unfinished / name, 0o600) as file:
                text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=1)
                file.write(text.encode())


# --- what is to be written ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """One tensor of the new file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    """Bytes."""


@dataclass(frozen=True)
class _Planned:
    """What becomes of one tensor: our name for it, and how it is packed, if it is."""

    name: str
    stored: StoredTensor
    kind: GGMLQuantizationType
    form: Packing | None

    @property
    def rows(self) -> int:
        return self.stored.shape[0] if len(self.stored.shape) == 2 else 1

    @property
    def columns(self) -> int:
        return self.stored.shape[-1]

    @property
    def row_bytes(self) -> int:
        """Of a row in the GGUF file."""
        kind = TYPES[self.stored.kind]
        return self.columns // kind.block * kind.size

    def parts(self) -> list[_Part]:
        if self.form is None:
            dtype = _PLAIN.get(self.kind, "F32")
            size = self.rows * self.columns * (4 if dtype == "F32" else 2)
            return [_Part(self.name, dtype, self.stored.shape, size)]
        width, groups = self.columns * self.form.bits // 32, self.columns // self.form.group
        module = self.name.removesuffix("weight")
        return [
            _Part(self.name, "U32", (self.rows, width), self.rows * width * 4),
            *(
                _Part(module + part, "F16", (self.rows, groups), self.rows * groups * 2)
                for part in ("scales", "biases")
            ),
        ]


def _plan(header: Header, bits: Bits | None) -> list[_Planned]:
    architecture(header)
    return [_planned(header, tensor, our_name(header.path, tensor.name), bits) for tensor in weights(header)]


def _planned(header: Header, tensor: StoredTensor, name: str, bits: Bits | None) -> _Planned:
    block_type(header, tensor)
    if len(tensor.shape) > 2:
        raise ModelError(f"{header.path}: {short(tensor.name)} has {len(tensor.shape)} dimensions; download it again")
    form = packing(tensor.kind, tensor.shape[1], bits) if len(tensor.shape) == 2 else None
    return _Planned(name, tensor, GGMLQuantizationType(tensor.kind), form)


def _rope_factors(header: Header) -> list[float] | None:
    """The tensor that stretches a context; None where the file has none."""
    tensor = next((tensor for tensor in header.tensors if tensor.name == ROPE_FACTORS), None)
    if tensor is None:
        return None
    planned = _planned(header, tensor, ROPE_FACTORS, None)
    if len(tensor.shape) > 1 or planned.columns > 1024:
        raise ModelError(f"{header.path}: {ROPE_FACTORS} has an impossible shape; download it again")
    with header.path.open("rb") as file:
        factors: list[float] = dequantised(planned.kind, _rows(file.fileno(), header, planned, range(1)))[0].tolist()
        return factors


def _report(plan: list[_Planned], errors: Mapping[str, float]) -> dict[str, Any]:
    by_type: dict[str, list[_Planned]] = {}
    for planned in plan:
        if planned.form:
            by_type.setdefault(planned.kind.name, []).append(planned)
    return {
        "types": {
            kind: {
                "tensors": len(members),
                "bits": max(planned.form.bits for planned in members if planned.form),
                "worst": max(errors[planned.name] for planned in members),
                "mean": sum(errors[planned.name] for planned in members) / len(members),
            }
            for kind, members in by_type.items()
        },
        "tensors": {
            planned.name: {
                "type": planned.kind.name,
                "bits": planned.form.bits,
                "group_size": planned.form.group,
                "error": errors[planned.name],
            }
            for planned in plan
            if planned.form
        },
    }


# --- weights --------------------------------------------------------------------------------------------------------


def _write_weights(
    file: Any, header: Header, plan: list[_Planned], config: Mapping[str, Any], progress: Progress
) -> dict[str, float]:
    """Writes the new file, a chunk at a time; the relative error of each tensor that was packed, by name."""
    parts = (part for planned in plan for part in planned.parts())
    beginning = safetensors_header((part.name, part.dtype, part.shape, part.size) for part in parts)
    file.write(beginning)
    file.flush()
    errors = {}
    source = os.open(header.path, os.O_RDONLY | os.O_CLOEXEC)
    pool = ThreadPoolExecutor(THREADS)
    try:
        start = len(beginning)
        for done, planned in enumerate(plan, 1):
            work = _Work(header, source, file.fileno(), planned, start, interleaved_heads(config, planned.name))
            results = list(pool.map(work.convert, work.chunks()))
            error, power = (sum(values) for values in zip(*results, strict=True))
            errors[planned.name] = math.sqrt(error / power) if power else 0.0
            start += sum(part.size for part in planned.parts())
            progress(done, len(plan))
    finally:
        pool.shutdown(cancel_futures=True)
        os.close(source)
    return errors


@dataclass(frozen=True)
class _Work:
    """One tensor on its way from file to file. Chunks are independent of each other and may run in any thread."""

    header: Header
    source: int
    target: int
    planned: _Planned
    start: int
    """Where the tensor begins in the target, in bytes."""
    heads: int
    """Among which llama.cpp has interleaved the rows; 0: it has not."""

    def chunks(self) -> Iterator[range]:
        """Rows to convert at once: whole heads, where rows have to be put in order within these."""
        unit = self.planned.rows // self.heads if self.heads else 1
        step = max(1, CHUNK // self.planned.columns // unit) * unit
        for first in range(0, self.planned.rows, step):
            yield range(first, min(first + step, self.planned.rows))

    def convert(self, chunk: range) -> tuple[float, float]:
        """Converts these rows; the sums of the squared differences and of the squared weights, as far as they count."""
        planned = self.planned
        rows = _rows(self.source, self.header, planned, chunk)
        if self.heads:
            rows = unpermuted(rows, len(chunk) * self.heads // planned.rows)
        error = power = 0.0
        if planned.form:
            try:
                packed = pack(planned.kind, rows, planned.form)
            except ArithmeticError as problem:
                raise ModelError(
                    f"{self.header.path}: {short(planned.stored.name)} has {problem}; download it again"
                ) from None
            arrays = [packed.weights, packed.scales, packed.biases]
            error, power = packed.error, packed.power
        else:
            arrays = [rows if planned.kind in _PLAIN else dequantised(planned.kind, rows)]
        at = self.start
        for part, array in zip(planned.parts(), arrays, strict=True):
            _write(self.target, array, at + part.size // planned.rows * chunk.start)
            at += part.size
        return error, power


def _rows(source: int, header: Header, planned: _Planned, chunk: range) -> Array:
    """Rows of a tensor as they are stored: uint8 (rows, bytes)."""
    at = header.start + planned.stored.offset + chunk.start * planned.row_bytes
    missing, pieces = len(chunk) * planned.row_bytes, []
    while missing:
        # Not by a mapping: reading past the end of one that became shorter kills the process.
        pieces.append(os.pread(source, missing, at))
        at, missing = at + len(pieces[-1]), missing - len(pieces[-1])
        if not pieces[-1]:
            raise ModelError(f"{header.path} changed while it was read; try again when it is complete")
    return np.frombuffer(b"".join(pieces), np.uint8).reshape(len(chunk), -1)


def _write(target: int, array: Array, at: int) -> None:
    rest = memoryview(np.ascontiguousarray(array).data).cast("B")
    while rest:
        written = os.pwrite(target, rest, at)
        rest, at = rest[written:], at + written


def unpermuted(rows: Array, heads: int) -> Array:
    """Rows of a q or k projection in transformers' order; llama.cpp interleaves the halves of each head.

    Works on whatever a row holds, (heads * head_dim, anything), so whole blocks move with their scales. Inverse of
    `LlamaModel.permute` in llama.cpp's convert_hf_to_gguf.py.
    """
    return rows.reshape(heads, -1, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
