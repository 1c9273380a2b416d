"""A local checkpoint in fewer bits: packed and measured by a process of its own, then put where the library finds it.

Nothing appears before it is whole, and of what was given up nothing stays. This side asks, waits, and knows neither MLX
nor the screen; `quantiser` is the other.
"""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from app.chat.text import one_line
from app.child import speaking
from app.errors import QuietlyError
from app.home import expanded
from app.settings import paths, private_folder, turn_in
from app.words import size
from model.weights.conversions import is_pth

if TYPE_CHECKING:
    from app.library.local import InstalledModel

Bits = Literal[4, 8]
GroupSize = Literal[32, 64, 128]
_WORKSHOP = ".quantising"
"""The end of the name of a folder that is being worked in."""
_PLAIN = 16
"""Bits from which on a weight is not quantised."""
_PRECISION = re.compile(r"[-_.](?:bf16|fp?16|fp?32|16bit|32bit)$", re.IGNORECASE)
"""What a name says of weights that are about to be packed."""


class Step(msgspec.Struct, frozen=True, tag=True):
    """How far it has come, in bytes: taken out of a .pth file, written of the new model, or read of both to compare
    them."""

    doing: Literal["convert", "pack", "compare"]
    done: int
    total: int


class Packed(msgspec.Struct, frozen=True, tag=True):
    """What packing made of the weights."""

    before: int
    """Bytes of the weight files."""
    after: int
    error: float
    """The root mean square of what the packed weights differ by, as a share of that of the weights."""
    worst: str
    """The module that differs most."""
    worst_error: float


class Compared(msgspec.Struct, frozen=True, tag=True):
    """How alike both models go on at each place of one short text."""

    places: int
    """Tokens that were to be foretold."""
    same: float
    """The share of them at which both hold the same token for the likeliest."""
    divergence: float
    """The mean Kullback-Leibler divergence of the new model's probabilities from the original's, in nats."""


class Uncompared(msgspec.Struct, frozen=True, tag=True):
    why: str
    """A sentence."""


Comparison = Compared | Uncompared


class Quantised(msgspec.Struct, frozen=True):
    """A model that is there now, and what it cost."""

    path: Path
    bits: Bits
    group_size: GroupSize
    packed: Packed
    comparison: Comparison


async def quantise(
    model: "InstalledModel",
    bits: Bits,
    group_size: GroupSize = 64,
    target: Path | None = None,
    progress: Callable[[Step], None] = lambda step: None,
) -> Quantised:
    """Write `model` in `bits` a weight to the new folder `target`, by default one of Quietly's own.

    Cancelling the task ends the work at once and leaves nothing of it. QuietlyError, in one sentence, where the model
    cannot be quantised or is quantised already, where the folder exists, and where disk or memory are too small.
    """
    if sentence := refusal(model):
        raise QuietlyError(sentence)
    target = place_for(model, bits, group_size) if target is None else expanded(target).absolute()
    if os.path.lexists(target):
        raise QuietlyError(f"{target} is there already: delete it first, or choose another folder.")
    try:
        if target.parent == paths().models:
            private_folder(target.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _workshop(target.parent) as workshop:
            whole = workshop / target.name
            packed, comparison = await _made(model, whole, bits, group_size, progress)
            whole.rename(target)
    except OSError as error:
        raise QuietlyError(f"{target} cannot be written ({error.strerror or error}): choose another folder.") from None
    return Quantised(target, bits, group_size, packed, comparison)


async def _made(
    model: "InstalledModel", whole: Path, bits: Bits, group_size: GroupSize, progress: Callable[[Step], None]
) -> tuple[Packed, Comparison]:
    packed: Packed | None = None
    comparison: Comparison = Uncompared("The two were not compared.")
    name = one_line(model.name)
    arguments = (str(model.path), str(whole), name, str(bits), str(group_size))
    kinds = (Step, Packed, Compared, Uncompared)
    offline = {"HF_HUB_OFFLINE": "1"}
    async with speaking(
        "app.quantising.quantiser", arguments, *kinds, what=f"Quantising {name}", environment=offline
    ) as said:
        try:
            async for message in said:
                match message:
                    case Step():
                        progress(message)
                    case Packed():
                        packed = message
                    case Compared() | Uncompared():
                        comparison = message
        except QuietlyError as error:
            if packed is None:
                raise
            comparison = Uncompared(str(error))  # the process died of holding a whole model, not of packing it
    if packed is None:
        raise QuietlyError(f"Quantising {name} ended early: try again.")
    return packed, comparison


def refusal(model: "InstalledModel") -> str:
    """Why `model` cannot be quantised, in a sentence; empty where nothing is known that is in the way."""
    if model.problem is not None:
        return model.problem
    name = one_line(model.name)
    if not model.path.is_dir() and not is_pth(model.path):
        stored = f" with weights in {model.stored}" if model.stored else ""
        return (
            f"{name} is a GGUF file{stored}, and only safetensors weights in full precision are quantised here: "
            "get the model that it was made from."
        )
    if model.bits is not None and model.bits < _PLAIN:
        stored = model.stored or f"{model.bits:.3g} bit"
        return f"{name} is stored in {stored} already: quantise the model that it was made from."
    return ""


def place_for(model: "InstalledModel", bits: Bits, group_size: GroupSize = 64) -> Path:
    """Where in Quietly's models folder `model` goes in `bits` a weight."""
    file = model.path.stem if is_pth(model.path) else model.path.name
    named = model.repo.rpartition("/")[2] if model.repo else file
    # Two hyphens would stand for the slash of a repository, and what begins with a dot is no model.
    plain = re.sub("-{2,}", "-", _PRECISION.sub("", named)).lstrip(".") or "model"
    groups = "" if group_size == 64 else f"-g{group_size}"
    return paths().models / f"{plain}-{bits}bit{groups}"


def size_about(model: "InstalledModel", bits: Bits, group_size: GroupSize = 64) -> int | None:
    """Bytes that its weights will take, nearly: a scale and an offset of 16 bits go with each group."""
    return None if model.parameters is None else round(model.parameters * (bits + 32 / group_size) / 8)


def figures(made: Quantised) -> tuple[tuple[str, str], ...]:
    """What it cost, as people read it: a name and a value each."""
    packed, comparison = made.packed, made.comparison
    told = (
        ("Weights", f"{size(packed.before)} before, {size(packed.after)} now ({packed.after / packed.before:.0%})"),
        ("Error", f"{_share(packed.error)} of the weights, root mean square"),
        ("At most", f"{_share(packed.worst_error)} in {one_line(packed.worst)}"),
    )
    if isinstance(comparison, Uncompared):
        return (*told, ("Answers", comparison.why))
    return (
        *told,
        ("Next token", f"the same at {comparison.same:.1%} of {comparison.places} places"),
        ("Divergence", f"{comparison.divergence:.3g} nats a token (KL)"),
    )


def as_data(made: Quantised) -> dict[str, object]:
    """The same for programs: bytes, shares from 0 to 1, nats."""
    packed, comparison = msgspec.structs.asdict(made.packed), msgspec.structs.asdict(made.comparison)
    compared = isinstance(made.comparison, Compared)
    return {
        "path": str(made.path),
        "bits": made.bits,
        "group_size": made.group_size,
        **packed,
        "compared": comparison if compared else None,
        "not_compared": None if compared else comparison["why"],
    }


def _share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.1 else f"{share:.2%}"


@contextlib.contextmanager
def _workshop(parent: Path) -> Iterator[Path]:
    """A new hidden folder in `parent`, gone at the end with all that is in it.

    It is locked while it is in use, so that one that was left behind by a power cut is known, and taken away.
    """
    with turn_in(parent):
        for left in parent.glob(f".*{_WORKSHOP}"):
            with contextlib.suppress(OSError), _locked(left):
                shutil.rmtree(left)
        workshop = Path(tempfile.mkdtemp(_WORKSHOP, ".", parent))
        lock = contextlib.ExitStack()
        lock.enter_context(_locked(workshop))
    with lock:
        try:
            yield workshop
        finally:
            shutil.rmtree(workshop, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder. OSError where another process does, or where it is none."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
