"""Which number type a model computes in on this device, and whether its weights are numbers at all.

Known of the devices: MLX's CPU back end is slow in anything but float32; Apple's M1 and M2 have no bfloat16 in hardware
and take a third longer in it than in float16; float16 ends at 65,504, which some models exceed on the inside although
their weights do not. So float16 is tried before it is trusted. It knows no architecture by name but those of which
float16 files were published that must not be run as stored.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map_with_path

from model.errors import ModelError
from model.network import Network

# On CUDA MLX multiplies float32 in TF32, of 10 bits, unless it is told otherwise before its first product: too few for
# what RWKV-7 inverts, and for a model that is to compute in float32.
os.environ.setdefault("MLX_ENABLE_TF32", "0")

NumberType = Literal["float32", "float16", "bfloat16"]
Progress = Callable[[int, int], None]
"""Called with bytes done and bytes to do."""
_TYPES: Mapping[str, mx.Dtype] = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}
_STEP = 256 * 1024 * 1024
"""Bytes read between two reports of progress, and about the most that is held twice while types change."""
_PROBE = 32
"""Tokens of the self-test."""
_TOLERATED = 0.1
"""How far below the reference's best logit the choice in float16 may lie, as a share of all logits' spread. The
reference, bfloat16, is itself up to 0.06 off float32 in random models; a model that runs over is far beyond."""


@dataclass(frozen=True)
class Device:
    """What computes here, as far as number types go. `architecture` is MLX's name for it, "applegpu_g14s" on an M2."""

    gpu: bool
    architecture: str

    @property
    def native_bfloat16(self) -> bool:
        """False on M1 (g13) and M2 (g14), whose GPUs do bfloat16 in software."""
        return not self.architecture.startswith(("applegpu_g13", "applegpu_g14"))


def this_device() -> Device:
    """The device that MLX computes on by default."""
    if mx.default_device().type != mx.DeviceType.gpu:
        return Device(gpu=False, architecture="")
    return Device(gpu=True, architecture=str(mx.device_info().get("architecture", "")))


@dataclass(frozen=True)
class Choice:
    """The type to compute in: `safe`, unless `tried` is there and passes the self-test."""

    safe: mx.Dtype
    tried: mx.Dtype | None = None
    asked: bool = False
    """Whether the caller asked for `tried`, so that nothing else will do."""


def choose(stored: mx.Dtype, model_type: str, device: Device, asked: NumberType | None = None) -> Choice:
    """The type for a model whose unquantised numbers are stored as `stored`.

    ModelError "request" where `asked` is no number type.
    """
    fragile = stored != mx.float16 or model_type in ("qwen2", "rwkv")
    # Qwen2: published as float16 too, though queries times keys overflow in its last layers (QwenLM/Qwen3#761, #826).
    # RWKV-4 likewise, though what passes from layer to layer overflows unless it is halved on the way: `rescale_every`,
    # which is not done here.
    if asked is not None:
        if asked not in get_args(NumberType):
            raise ModelError(f"{asked!r} is no number type; choose {', '.join(get_args(NumberType))}.", "request")
        if asked == "float16" and fragile:
            return Choice(mx.bfloat16, mx.float16, asked=True)
        return Choice(_TYPES[asked])
    if not device.gpu:
        return Choice(mx.float32)  # on the CPU back end bfloat16 takes 8 times as long, float16 35 times
    if stored == mx.float32 or (stored == mx.float16 and not fragile):
        return Choice(stored)
    return Choice(mx.bfloat16) if device.native_bfloat16 else Choice(mx.bfloat16, mx.float16)


class Arrivals:
    """Weights on their way into memory: evaluated a batch at a time, and each looked at for NaN and infinity.

    A sum is the cheapest look: it is finite if every number is, and next to never otherwise. Only where it is not, the
    tensor itself is asked.
    """

    def __init__(self, name: str, total: int, progress: Progress) -> None:
        """`name` is what errors call the checkpoint; `total` bytes are to come."""
        self._name = name
        self._total = total
        self._progress = progress
        self._step = min(_STEP, total // 20 + 1)
        self._waiting: list[mx.array] = []
        self._sums: list[tuple[str, mx.array, Callable[[], mx.array]]] = []
        self._read = self._reported = 0

    def look_at(self, tensor: str, array: mx.array, again: Callable[[], mx.array]) -> None:
        """Have a floating array looked at; `again` reads it once more, where it has to be asked itself."""
        if mx.issubdtype(array.dtype, mx.floating):
            self._sums.append((tensor, array.sum().astype(mx.float32), again))

    def add(self, arrays: Sequence[mx.array], size: int) -> None:
        """Arrays to be evaluated, which take `size` bytes on disk. ModelError where a batch is complete and unsound."""
        self._waiting += arrays
        self._read += size
        if self._read - self._reported >= self._step:
            self.settle()

    def settle(self) -> None:
        """Evaluate what waits. ModelError where one of them holds a NaN or an infinity."""
        mx.eval(self._waiting, [sum_ for _, sum_, _ in self._sums])
        self._waiting = []
        for tensor, sum_, again in self._sums:
            value = sum_.item()
            assert isinstance(value, float)
            if not math.isfinite(value) and not mx.isfinite(again()).all().item():
                raise ModelError(
                    f"{self._name}: {tensor[:120]} holds a NaN or an infinity, so its answers would be noise; "
                    "download the model again, or choose another version of it."
                )
        self._sums = []
        self._reported = self._read
        self._progress(self._read, self._total)


def settle(network: nn.Module, name: str, progress: Progress = lambda done, total: None) -> None:
    """Evaluate all parameters of a network and look at each. ModelError as in `Arrivals`."""
    parameters: dict[str, mx.array] = dict(tree_flatten(network.parameters()))
    arrivals = Arrivals(name, sum(array.nbytes for array in parameters.values()), progress)
    for path, array in parameters.items():
        arrivals.look_at(path, array, partial(_itself, array))
        arrivals.add([array], array.nbytes)
    arrivals.settle()


def recast(network: nn.Module, dtype: mx.Dtype) -> None:
    """Let the floating parameters of a network be of `dtype`, but for those that its `cast_predicate` (mlx-lm) keeps.

    Nothing is evaluated: `settle` does it, and never holds more than a batch of them twice.
    """
    castable: Callable[[str], bool] = getattr(network, "cast_predicate", lambda path: True)

    def cast(path: str, array: mx.array) -> mx.array:
        return array.astype(dtype) if mx.issubdtype(array.dtype, mx.floating) and castable(path) else array

    network.update(tree_map_with_path(cast, network.parameters()))


def survives(network: nn.Module, forward: Network, dtype: mx.Dtype, vocabulary: int) -> bool:
    """Whether `forward` says the same after the parameters of its `network` became `dtype`; they stay so in any case.

    It reads a few tokens from all over the vocabulary, control tokens at its end included, before and after: every
    logit must be finite, and each choice as good as before, within what bfloat16 itself is off.
    """
    tokens = mx.array([[index * (vocabulary - 1) // (_PROBE - 1) for index in range(_PROBE)]])
    try:
        before = forward(tokens).astype(mx.float32)
        mx.eval(before)
        recast(network, dtype)
        settle(network, "the model")
        return agree(before, forward(tokens).astype(mx.float32))
    except (
        ModelError,
        RuntimeError,
    ):  # a weight beyond the type's range; an operation that the device has not got in it
        return False


def agree(reference: mx.array, tried: mx.array) -> bool:
    """Whether `tried` logits (..., vocab) are finite and choose what `reference` chooses, or nearly likes as much."""
    if not mx.isfinite(reference).all().item() or not mx.isfinite(tried).all().item():
        return False
    best = reference.max(axis=-1)
    chosen = mx.take_along_axis(reference, mx.argmax(tried, axis=-1, keepdims=True), axis=-1)[..., 0]
    return bool((best - chosen <= _TOLERATED * (best - reference.min(axis=-1))).all().item())


def bring_in(
    module: nn.Module,
    forward: Network,
    name: str,
    model_type: str,
    vocabulary: int,
    asked: NumberType | None,
    progress: Progress,
) -> None:
    """Read a module of mlx-lm's into memory, in the types it has chosen, but on the CPU and where others are asked for.

    `forward` computes with it. ModelError for a NaN, and where it does not hold in the type that was asked for.
    """
    device = this_device()
    choice = None
    if asked is not None or not device.gpu:
        choice = choose(_first_type(module), model_type, device, asked)
        recast(module, choice.safe)
    settle(module, name, progress)
    if choice and choice.tried and not survives(module, forward, choice.tried, vocabulary):
        raise runs_over(name)


def runs_over(name: str) -> ModelError:
    """What a caller who asked for float16 is told where the model does not hold in it."""
    return ModelError(
        f"{name} cannot compute in float16: its numbers run over or its answers change; leave the type to Quietly, or "
        "choose bfloat16.",
        "request",
    )


def _first_type(network: nn.Module) -> mx.Dtype:
    """The type of a network's unquantised numbers, scales first."""
    parameters: dict[str, mx.array] = dict(tree_flatten(network.parameters()))
    floats = [array.dtype for path, array in parameters.items() if path.endswith(".scales")]
    floats += [array.dtype for array in parameters.values()]
    return next((dtype for dtype in floats if mx.issubdtype(dtype, mx.floating)), mx.bfloat16)


def _itself(array: mx.array) -> mx.array:
    return array
