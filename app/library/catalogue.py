"""The models Quietly offers to fetch: assets/catalogue.toml, typed and checked, and which suits a machine.

Sizes are computed from the shapes written there, so they are approximate: a repository may hold other files
too. It knows nothing of the network and of what is installed.
"""

import functools
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from app.assets import asset
from app.errors import QuietlyError
from app.library import fit, starter
from app.library.machine import Backend
from app.library.running import Runs, runner
from model.config import Config, parse_config
from model.errors import ModelError
from model.facts import FULL, parameters, stored_bytes

OVERHEAD = 12_000_000
"""Bytes of tokenizer and configuration files beside the weights, about."""
CPU_PARAMETERS = 1_000_000_000
"""What a CPU still answers with at reading speed."""


@dataclass(frozen=True)
class Offer:
    """A model that can be had. Sizes in bytes, contexts in tokens."""

    name: str
    repo: str
    """On the Hub; empty for the starter, which the package index brings."""
    licence: str
    note: str
    recommended: bool
    parameters: int
    bits: float
    """Bits a weight takes as stored, scales included."""
    stored: str
    """How the weights are stored, in the field's words."""
    size: int
    """Of the download, approximately."""
    weights: int
    context: int
    """That it was trained for."""
    config: Config
    """Its shape; of an architecture that is not ours, the parts that decide what memory it takes."""
    runs: Runs
    """Whose implementation runs it."""

    @property
    def reference(self) -> str:
        """What `quietly models get` takes."""
        return self.repo or starter.NAME


class Waiting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model that people may look for and that is not offered."""

    name: str
    repo: str
    licence: str
    why: str
    """What is missing, without a capital and a full stop."""


def catalogue(path: Path | None = None) -> tuple[Offer, ...]:
    """The starter, then what the catalogue has that runs here, by parameters. QuietlyError where an entry cannot be."""
    return _read(path or asset("catalogue.toml"))[0]


def waiting(path: Path | None = None) -> tuple[Waiting, ...]:
    """What the catalogue names with the reason why it is not offered."""
    return _read(path or asset("catalogue.toml"))[1]


def recommend(memory: int, backend: Backend = "Metal") -> Offer | None:
    """The largest recommended model that fits comfortably in `memory` bytes; None if only the starter does.

    `memory` is what a model may take (`Machine.budget`). A CPU is spared what takes minutes there.
    """
    comfortable = [
        offer
        for offer in catalogue()
        if offer.recommended
        and (backend != "CPU" or offer.parameters <= CPU_PARAMETERS)
        and fit.need(offer.weights, offer.config, fit.USUAL_CONTEXT, backend, memory).total <= fit.COMFORT * memory
    ]
    return max(comfortable, key=lambda offer: offer.parameters, default=None)


STARTER = Offer(
    name=starter.NAME,
    repo="",
    licence=starter.LICENCE,
    note=starter.SUMMARY,
    recommended=False,
    parameters=starter.PARAMETERS,
    bits=starter.SIZE * 8 / starter.PARAMETERS,
    stored="Q4_1",
    size=starter.DOWNLOAD,
    weights=starter.SIZE,
    context=starter.CONTEXT,
    config=parse_config(starter.SHAPE, starter.NAME),
    runs="quietly",
)


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    repo: str
    licence: str
    note: str
    shape: dict[str, object]
    quantization: dict[str, object] | None = None
    """None: in full precision."""
    recommended: bool = True


class _Catalogue(msgspec.Struct, forbid_unknown_fields=True):
    model: list[_Entry]
    waiting: list[Waiting] = []


@functools.cache
def _read(path: Path) -> tuple[tuple[Offer, ...], tuple[Waiting, ...]]:
    try:
        read = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _Catalogue)
        offers = [offer for entry in read.model if (offer := _offer(entry)) is not None]
    except (OSError, ValueError, msgspec.ValidationError, ModelError) as error:
        raise QuietlyError(f"{path.name} cannot be used ({error}); install Quietly again.") from None
    return (STARTER, *sorted(offers, key=lambda offer: offer.parameters)), tuple(read.waiting)


def _offer(entry: _Entry) -> Offer | None:
    """What an entry comes to; None where nothing here runs it."""
    config, beside = _described(entry)
    runs = runner(config.model_type)
    if runs is None:
        return None
    packing = config.quantization.default if config.quantization is not None else None
    taken = packing.bits_per_weight if packing is not None else 8 * FULL
    count = parameters(config).total + beside.matrices + beside.vectors
    weights = stored_bytes(config) + int(beside.matrices * taken / 8) + beside.vectors * FULL
    return Offer(
        name=entry.name,
        repo=entry.repo,
        licence=entry.licence,
        note=entry.note,
        recommended=entry.recommended,
        parameters=count,
        bits=weights * 8 / count,
        stored=f"{packing.bits} bit" if packing is not None else "bf16",
        size=weights + OVERHEAD,
        weights=weights,
        context=config.trained,
        config=config,
        runs=runs,
    )


# --- shapes that are mlx-lm's -----------------------------------------------------------------------------


class _Beside(NamedTuple):
    """Parameters that a described shape has no place for: of matrices, which are quantised, and of vectors."""

    matrices: int = 0
    vectors: int = 0


class _Extent(msgspec.Struct):
    """What the rules below read of a shape."""

    model_type: str
    num_hidden_layers: int = 0
    hidden_size: int = 0
    moe_intermediate_size: int = 0
    num_experts: int = 0
    num_experts_per_tok: int = 0
    sliding_window_pattern: int = 1


_LIKE = {
    "phi3": "llama",  # q, k and v are one matrix, gate and up another
    "smollm3": "llama",  # some layers know no positions
    "gemma2": "llama",
    "gemma3_text": "qwen3",
    "qwen3_moe": "qwen3",
}
"""The described architecture that has the same matrices as one of mlx-lm's, but for what `_described` adds."""


def _described(entry: _Entry) -> tuple[Config, _Beside]:
    """The shape of an entry, and what is beside it. ModelError where it cannot be true."""
    extent = msgspec.convert(entry.shape, _Extent)
    layers, hidden, kind = extent.num_hidden_layers, extent.hidden_size, extent.model_type
    # TOML has no null: a window that is not written there is none
    fields: dict[str, object] = {"sliding_window": None, **entry.shape, "quantization": entry.quantization}
    beside = _Beside()
    if kind == "qwen3_moe":
        # a token passes through some experts; all of them lie in memory, and so does what chooses (arXiv 2505.09388)
        inner, others = extent.moe_intermediate_size, extent.num_experts - extent.num_experts_per_tok
        fields["intermediate_size"] = inner * extent.num_experts_per_tok
        beside = _Beside(matrices=layers * hidden * (3 * inner * others + extent.num_experts))
    elif kind in ("gemma2", "gemma3_text"):  # a norm after attention and after feed-forward too (arXiv 2408.00118)
        beside = _Beside(vectors=2 * layers * hidden)
    if kind == "gemma3_text":  # some layers with a window, then one that sees everything (arXiv 2503.19786)
        every = extent.sliding_window_pattern
        slides = ["sliding_attention" if layer % every else "full_attention" for layer in range(1, layers + 1)]
        fields |= {"use_sliding_window": True, "layer_types": slides}
    described = parse_config({**fields, "model_type": _LIKE.get(kind, kind)}, entry.name)
    return replace(described, model_type=kind), beside
