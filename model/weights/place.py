"""Stored tensors to the parameters of one of our networks: each has its place and shape before any is read.

A network may know tensors by other names than its own (`alias`), and keep some of its numbers in float32 whatever the
rest is computed in (`cast_predicate`, by mlx-lm's name for it). What a device computes badly is changed on the way in.
It knows no architecture by name.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from model.allocation import memory_here, unpacks
from model.config import Config, LayerQuantization
from model.errors import ModelError
from model.weights.precision import Arrivals, Device, NumberType, Progress, choose, runs_over, survives, this_device
from model.weights.safetensors import TensorInfo, short

Files = Mapping[Path, Mapping[str, TensorInfo]]
"""For each file of a checkpoint what its header says it holds."""

_FLOATS = {"F32": mx.float32, "F16": mx.float16, "BF16": mx.bfloat16}


class Alias(NamedTuple):
    """What a stored tensor is in one of our networks."""

    name: str
    transposed: bool = False
    """Whether it is stored with its two axes in the other order."""


def _itself(tensor: str) -> Alias | None:
    return Alias(tensor)


def _any(path: str) -> bool:
    return True


class Placement:
    """Where the tensors of a checkpoint go in a network. Construction checks names and shapes; `fill` reads."""

    def __init__(
        self,
        network: nn.Module,
        config: Config,
        files: Files,
        name: str,
        tied: bool,
        dtype: NumberType | None = None,
        device: Device | None = None,
    ) -> None:
        """`name` is what errors call the checkpoint; `tied` leaves a stored head aside. Raises ModelError.

        `dtype` is the type to compute in, by default what suits `device`, which is MLX's own if none is given.
        """
        self._network = network
        self._config = config
        self._files = files
        self._name = name
        self._alias: Callable[[str], Alias | None] = getattr(network, "alias", _itself)
        self._castable: Callable[[str], bool] = getattr(network, "cast_predicate", _any)
        self._stored = {
            alias.name: replace(info, shape=tuple(reversed(info.shape))) if alias.transposed else info
            for file in files.values()
            for tensor, info in file.items()
            if (alias := self._alias(tensor)) is not None
        }
        parameters: dict[str, mx.array] = dict(tree_flatten(network.parameters()))
        self._wanted = self._checked_names(parameters)
        self._refuse_strangers(tied)
        dense_bytes = sum(parameter.size * 4 for parameter in parameters.values())
        device = device or this_device()
        self._unpack = config.quantization is not None and not device.gpu and unpacks(dense_bytes, memory_here())
        self._choice = choose(self._stored_type(), config.model_type, device, dtype)

    def fill(self, progress: Progress) -> None:
        """Read all tensors into the network, evaluated and looked at. Progress in bytes. ModelError for a NaN.

        Where a faster type than the safe one is on offer, it is taken if the model says the same in it.
        """
        if not self._unpack:
            nn.quantize(self._network, class_predicate=self._module_settings)
        choice, network = self._choice, self._network
        self._read(choice.safe, progress)
        if choice.tried is None or survives(network, network, choice.tried, self._config.vocab_size):
            return
        if choice.asked:
            raise runs_over(self._name)
        self._read(choice.safe, lambda done, total: None)  # from disk: casting back would not bring back what was lost

    def place_unread(self) -> None:
        """Put all tensors into the network as they are stored, still on disk: for what reads them one by one."""
        for path in self._files:
            self._network.load_weights(list(self._opened(path).items()), strict=False)

    def _read(self, dtype: mx.Dtype, progress: Progress) -> None:
        arrivals = Arrivals(self._name, sum(self._stored[tensor].nbytes for tensor in self._wanted), progress)
        weights: list[tuple[str, mx.array]] = []
        for tensor, array, size in self._lazily(dtype, arrivals):
            weights.append((tensor, array))
            arrivals.add([array], size)
        arrivals.settle()
        self._network.load_weights(weights, strict=True)

    def _packing(self, module: str) -> LayerQuantization | None:
        """How this module's weight is stored, or None where it is stored plainly."""
        quantization = self._config.quantization
        return quantization.of(module) if quantization and f"{module}.scales" in self._stored else None

    def _checked_names(self, parameters: Mapping[str, mx.array]) -> dict[str, tuple[int, ...]]:
        """The tensors that are wanted, and their shapes."""
        wanted: dict[str, tuple[int, ...]] = {}
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
            if len(shapes) == 1 and (stored := self._stored[place].dtype) not in _FLOATS:
                raise ModelError(
                    f"{self._name}: {place} is stored as {stored}, and a weight that is not packed has to be "
                    f"{', '.join(_FLOATS)}; choose another model.",
                    "unsupported",
                )
            wanted |= shapes
        return wanted

    def _check(self, tensor: str, shape: tuple[int, ...]) -> None:
        if tensor not in self._stored:
            raise ModelError(f"{self._name}: the weights have no {tensor}; download the model again.")
        found = tuple(self._stored[tensor].shape)
        axes, wanted = ([length for length in lengths if length != 1] for lengths in (found, shape))
        if axes != wanted and [math.prod(axes)] != wanted:  # a vector may be stored in rows, as mlx-lm does a head's
            raise ModelError(
                f"{self._name}: {tensor} has the shape {list(found)} where config.json asks for {list(shape)}; "
                "the two files do not belong together, download the model again."
            )

    def _refuse_strangers(self, tied: bool) -> None:
        for tensor in sorted(self._stored.keys() - self._wanted.keys()):
            spare = tensor.endswith(".rotary_emb.inv_freq") or (tied and tensor.startswith(("lm_head.", "head.")))
            if not spare:
                raise ModelError(
                    f"{self._name}: the weights hold {short(tensor)}, which a {self._config.model_type} model of this "
                    "config.json does not have; choose another model.",
                    "unsupported",
                )

    def _module_settings(self, path: str, module: nn.Module) -> dict[str, Any] | bool:
        packing = self._packing(path)
        if packing is None or not hasattr(module, "to_quantized"):
            return False
        return {"group_size": packing.group_size, "bits": packing.bits, "mode": packing.mode}

    def _stored_type(self) -> mx.Dtype:
        """The type of what is not packed, scales first; bfloat16 where all is."""
        floats = [info.dtype for tensor, info in self._stored.items() if tensor.endswith(".scales")]
        floats += [info.dtype for info in self._stored.values()]
        return next((_FLOATS[stored] for stored in floats if stored in _FLOATS), mx.bfloat16)

    def _lazily(self, dtype: mx.Dtype, arrivals: Arrivals) -> Iterator[tuple[str, mx.array, int]]:
        """Each parameter in the type to compute in, not evaluated yet, with the bytes it takes on disk.

        The largest come first: what changing one takes beside it then stands beside an empty network, not a full one.
        """
        lazy = {tensor: array for path in self._files for tensor, array in self._opened(path).items()}
        for tensor in sorted(self._wanted, key=lambda tensor: (-self._stored[tensor].nbytes, tensor)):
            module, _, kind = tensor.rpartition(".")
            packing = self._packing(module) if self._unpack else None
            if packing and kind in ("scales", "biases"):
                continue
            size = self._stored[tensor].nbytes
            array = lazy.pop(tensor)  # nothing else may hold on to what was read, or it stays in memory twice
            arrivals.look_at(tensor, array, partial(self._again, tensor))
            if packing and kind == "weight":
                parts = [f"{module}.{part}" for part in ("scales", "biases")]
                companions = {part: lazy.pop(part) for part in parts if part in self._wanted}
                for part, companion in companions.items():
                    arrivals.look_at(part, companion, partial(self._again, part))
                    size += self._stored[part].nbytes
                array = unpacked(array, companions, packing, dtype)
            if mx.issubdtype(array.dtype, mx.floating):
                array = array.astype(dtype if self._castable(tensor) else mx.float32)
            yield tensor, array, size

    def _again(self, tensor: str) -> mx.array:
        """A tensor by itself, unread, from whichever file has it."""
        return next(tensors[tensor] for path in self._files if tensor in (tensors := self._opened(path)))

    def _opened(self, path: Path) -> dict[str, mx.array]:
        """The tensors of a file that have a place, by our names and in our shapes, unread."""
        found: dict[str, mx.array] = {}
        for tensor, array in _open(path, self._name).items():
            if (alias := self._alias(tensor)) is not None and alias.name in self._wanted:
                ordered = array.T if alias.transposed else array
                found[alias.name] = ordered.reshape(self._wanted[alias.name])
        return found


def unpacked(
    packed: mx.array, companions: Mapping[str, mx.array], packing: LayerQuantization, dtype: mx.Dtype
) -> mx.array:
    """What packed weights stand for, in `dtype`; `companions` are their scales and biases, by name."""
    # Scales in the target type first: MLX unpacks with float16 scales three times slower.
    parts: dict[str, Any] = {
        name.rpartition(".")[2]: array.astype(dtype) if packing.mode == "affine" else array
        for name, array in companions.items()
    }
    return mx.dequantize(
        packed,
        **parts,
        group_size=packing.group_size,
        bits=packing.bits,
        mode=packing.mode,
        dtype=dtype,
    )


def _open(path: Path, name: str) -> dict[str, mx.array]:
    """The tensors of a checked file, unread. The format is named: a blob in a cache has no suffix to tell it by."""
    try:
        tensors = mx.load(str(path), format="safetensors")
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelError(f"{name}: {path.name} cannot be read ({error}); download the model again.") from error
    assert isinstance(tensors, dict)
    return tensors
