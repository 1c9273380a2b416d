"""Stored tensors to the parameters of one of our networks: each has its place and shape before any is read.

What a device computes badly is changed on the way in. It knows no architecture by name.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from model.config import Config, LayerQuantization
from model.errors import ModelError
from model.weights.safetensors import TensorInfo

Files = Mapping[Path, Mapping[str, TensorInfo]]
"""For each file of a checkpoint what its header says it holds."""

_FLOATS = {"F32": mx.float32, "F16": mx.float16, "BF16": mx.bfloat16}
_STEP = 256 * 1024 * 1024
"""Bytes read between two reports of progress, and about the most that is held twice while types change."""


def on_gpu() -> bool:
    """Whether MLX computes on a GPU here, by Metal or CUDA."""
    return mx.default_device().type == mx.DeviceType.gpu


class Placement:
    """Where the tensors of a checkpoint go in a network. Construction checks names and shapes; `fill` reads."""

    def __init__(self, network: nn.Module, config: Config, files: Files, name: str, tied: bool) -> None:
        """`name` is what errors call the checkpoint; `tied` leaves a stored head aside. Raises ModelError."""
        self._network = network
        self._config = config
        self._files = files
        self._name = name
        self._stored = {tensor: info for file in files.values() for tensor, info in file.items()}
        parameters = dict(tree_flatten(network.parameters()))
        self._wanted = self._checked_names(parameters)
        self._refuse_strangers(tied)
        dense_bytes = sum(parameter.size * 4 for parameter in parameters.values())
        self._unpack = config.quantization is not None and _better_dense(dense_bytes)
        self._dtype = self._activation_type()

    def fill(self, progress: Callable[[int, int], None]) -> None:
        """Read all tensors into the network, evaluated. Progress in bytes."""
        if not self._unpack:
            nn.quantize(self._network, class_predicate=self._module_settings)
        total = sum(self._stored[tensor].nbytes for tensor in self._wanted)
        step = min(_STEP, total // 20 + 1)
        weights: list[tuple[str, mx.array]] = []
        evaluated = read = reported = 0
        for tensor, array, size in self._lazily():
            weights.append((tensor, array))
            read += size
            if read - reported >= step:
                mx.eval([array for _, array in weights[evaluated:]])
                evaluated, reported = len(weights), read
                progress(read, total)
        mx.eval([array for _, array in weights[evaluated:]])
        progress(total, total)
        self._network.load_weights(weights, strict=True)

    def _packing(self, module: str) -> LayerQuantization | None:
        """How this module's weight is stored, or None where it is stored plainly."""
        quantization = self._config.quantization
        return quantization.of(module) if quantization and f"{module}.scales" in self._stored else None

    def _checked_names(self, parameters: Mapping[str, mx.array]) -> set[str]:
        wanted: set[str] = set()
        for place, parameter in parameters.items():
            module, _, kind = place.rpartition(".")
            packing = self._packing(module)
            shapes = {place: tuple(parameter.shape)}
            if packing and kind == "weight":
                rows, columns = parameter.shape
                groups = (rows, columns // packing.group_size)
                shapes = {place: (rows, columns * packing.bits // 32), f"{module}.scales": groups}
                if packing.mode == "affine":
                    shapes[f"{module}.biases"] = groups
            for tensor, shape in shapes.items():
                self._check(tensor, shape)
            wanted |= shapes.keys()
        return wanted

    def _check(self, tensor: str, shape: tuple[int, ...]) -> None:
        if tensor not in self._stored:
            raise ModelError(f"{self._name}: the weights have no {tensor}; download the model again.")
        found = tuple(self._stored[tensor].shape)
        if found != shape:
            raise ModelError(
                f"{self._name}: {tensor} has the shape {list(found)} where config.json asks for {list(shape)}; "
                "the two files do not belong together, download the model again."
            )

    def _refuse_strangers(self, tied: bool) -> None:
        for tensor in sorted(self._stored.keys() - self._wanted):
            spare = tensor.endswith(".rotary_emb.inv_freq") or (tied and tensor.startswith("lm_head."))
            if not spare:
                raise ModelError(
                    f"{self._name}: the weights hold {tensor[:120]}, which a {self._config.model_type} model of this "
                    "config.json does not have; choose another model.",
                    "unsupported",
                )

    def _module_settings(self, path: str, module: nn.Module) -> dict[str, Any] | bool:
        packing = self._packing(path)
        if packing is None or not hasattr(module, "to_quantized"):
            return False
        return {"group_size": packing.group_size, "bits": packing.bits, "mode": packing.mode}

    def _activation_type(self) -> mx.Dtype:
        """The type to compute in: the checkpoint's, but for what is slow or wrong on this device."""
        if not on_gpu():
            return mx.float32  # on the CPU back end bfloat16 takes 8 times as long, float16 35 times
        floats = [info.dtype for tensor, info in self._stored.items() if tensor.endswith(".scales")]
        floats += [info.dtype for info in self._stored.values()]
        dtype = next((_FLOATS[stored] for stored in floats if stored in _FLOATS), mx.bfloat16)
        if dtype == mx.float16 and self._config.model_type == "qwen2":
            return mx.bfloat16  # queries times keys overflow float16 in its last layers (QwenLM/Qwen3#761, #826)
        return dtype

    def _lazily(self) -> Iterator[tuple[str, mx.array, int]]:
        """Each parameter in the type to compute in, not evaluated yet, with the bytes it takes on disk."""
        for path, tensors in self._files.items():
            lazy = _open(path, self._name)
            for tensor in tensors:
                module, _, kind = tensor.rpartition(".")
                packing = self._packing(module) if self._unpack else None
                if tensor not in self._wanted or (packing and kind in ("scales", "biases")):
                    continue
                size = self._stored[tensor].nbytes
                array = lazy[tensor]
                if packing and kind == "weight":
                    companions: dict[str, Any] = {
                        # float32 first: MLX unpacks with float16 scales three times slower
                        part: self._lookup(lazy, f"{module}.{part}").astype(self._dtype)
                        for part in ("scales", "biases")
                        if f"{module}.{part}" in self._wanted
                    }
                    array = mx.dequantize(
                        array,
                        **companions,
                        group_size=packing.group_size,
                        bits=packing.bits,
                        mode=packing.mode,
                        dtype=self._dtype,
                    )
                    size += sum(self._stored[f"{module}.{part}"].nbytes for part in companions)
                if mx.issubdtype(array.dtype, mx.floating):
                    array = array.astype(self._dtype)
                yield tensor, array, size

    def _lookup(self, lazy: Mapping[str, mx.array], tensor: str) -> mx.array:
        """A tensor that a shard may leave to another one."""
        if tensor in lazy:
            return lazy[tensor]
        path = next(path for path, tensors in self._files.items() if tensor in tensors)
        return _open(path, self._name)[tensor]


def _better_dense(dense_bytes: int) -> bool:
    """Whether packed weights are better unpacked into float32 here.

    MLX's CPU back end multiplies packed weights one by one, twenty times slower than a BLAS multiplies dense ones; so
    it is done where the memory allows.
    """
    if on_gpu():
        return False
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return dense_bytes <= min(memory // 4, 4 * 1024**3)


def _open(path: Path, name: str) -> dict[str, mx.array]:
    """The tensors of a checked file, unread. The format is named: a blob in a cache has no suffix to tell it by."""
    try:
        tensors = mx.load(str(path), format="safetensors")
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelError(f"{name}: {path.name} cannot be read ({error}); download the model again.") from error
    assert isinstance(tensors, dict)
    return tensors
