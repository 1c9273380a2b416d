"""Which of the Hub's models run here, and what they take: from what the Hub says of each.

That is others' word, taken apart by types: a name may be anything until it is checked, a number only what it can be. It
asks nobody.
"""

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec

from app.library.catalogue import OVERHEAD
from app.library.hub import Found
from app.library.layout import REPO
from app.library.running import runner

TALKING = "text-generation"
"""What the Hub says that most chat models are for."""
_TALKING = (None, TALKING, "image-text-to-text", "any-to-any")
"""What it says of models that may be talked to."""

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 60)]


# --- what the Hub says ----------------------------------------------------------------------------


class Weights(msgspec.Struct):
    """What the Hub has read in the headers of safetensors files."""

    parameters: dict[str, Count] = {}
    """How many numbers there are, by type."""


class Packing(msgspec.Struct):
    """How weights are quantised; in MLX's way where no method is named."""

    bits: Annotated[int, msgspec.Meta(ge=1, le=16)] | None = None
    quant_method: str | None = None


class Described(msgspec.Struct):
    """What the Hub repeats of a config.json."""

    model_type: str | None = None
    quantization_config: Packing | None = None


class Card(msgspec.Struct):
    """What the Hub repeats of the head of a model card."""

    license: str | list[str] | None = None
    license_name: str | None = None


class Listed(msgspec.Struct):
    """One file of a repository."""

    rfilename: str
    size: Count | None = None


class Model(msgspec.Struct, rename="camel"):
    """One model, as the Hub's API lists it."""

    id: str
    sha: str = ""
    downloads: Count = 0
    gated: bool | str = False
    tags: list[str] = []
    pipeline_tag: str | None = msgspec.field(default=None, name="pipeline_tag")
    safetensors: Weights | None = None
    config: Described | None = None
    card_data: Card | None = None
    siblings: list[Listed] = []


# --- what that comes to ---------------------------------------------------------------------------


class Unfit(Exception):
    """Why a model cannot be had here: the rest of a sentence that begins with its name."""


def found(model: Model) -> Found:
    """What a model comes to for a person here; Unfit where it cannot run."""
    if not REPO.fullmatch(model.id):
        raise Unfit("has no name that a model can have")
    kind = model.config.model_type if model.config is not None else None
    if kind is None:
        raise Unfit("does not say what architecture it has: choose its MLX version")
    runs = runner(kind)
    if runs is None:
        raise Unfit(f"is a {kind[:40]} model, and nothing here runs those: choose a chat model")
    if model.pipeline_tag not in _TALKING or "sentence-transformers" in model.tags:
        raise Unfit("is not made to be talked to: choose a chat model")
    if any(tag.startswith("base_model:adapter:") for tag in model.tags):
        raise Unfit("only adapts another model: choose a whole one")
    packing = model.config.quantization_config if model.config is not None else None
    if packing is not None and packing.quant_method is not None:
        raise Unfit(f"is packed in a way that is not read here ({packing.quant_method[:40]}): choose its MLX version")
    if "safetensors" not in model.tags and model.safetensors is None:
        raise Unfit("has no safetensors weights: choose its MLX version")
    counts = model.safetensors.parameters if model.safetensors is not None else {}
    bits = packing.bits if packing is not None else _named_bits(model.id) if _PACKED in counts else None
    count, weights = weighed(counts, bits)
    return Found(
        repo=model.id,
        name=model.id.partition("/")[2],
        runs=runs,
        architecture=kind,
        parameters=count,
        bits=bits_of(weights, count),
        stored=f"{bits} bit" if bits else _usual(counts),
        size=weights + OVERHEAD if weights is not None else None,
        weights=weights,
        licence=_licence(model),
        downloads=model.downloads,
        gated=bool(model.gated),
    )


_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 1),
}
_PACKED = "U32"
"""The type of numbers into which MLX packs quantised weights."""
_GROUP = 64
"""Weights that share a scale and a bias where the Hub does not say; MLX's usual number."""
_SCALED = 16
"""Of so many packed numbers as they are stored, one at least comes with a scale or a bias of its own."""


def weighed(counts: Mapping[str, int], bits: int | None) -> tuple[int | None, int | None]:
    """Parameters, and bytes of the weights, from how many numbers of which type there are; None where not known.

    MLX packs quantised weights, eight into one number at 4 bits. The Hub has counted these numbers as they are stored,
    with the scales and biases beside them; since August 2026 it counts the weights that they stand for, without those.
    Which of both it is, their share tells.
    """
    if not all(kind in _BYTES for kind in counts) or not counts:
        return None, None
    packed = counts.get(_PACKED, 0)
    beside = {kind: count for kind, count in counts.items() if kind != _PACKED}
    others, taken = sum(beside.values()), sum(_BYTES[kind] * count for kind, count in beside.items())
    if not packed:
        return others, taken
    if not bits:
        return None, None
    if others * _SCALED < packed:
        return packed + others, packed * bits // 8 + packed // _GROUP * 4 + taken
    stood_for = packed * 32 // bits
    return stood_for + max(0, others - stood_for // _GROUP * 2), packed * _BYTES[_PACKED] + taken


def _usual(counts: Mapping[str, int]) -> str:
    """The type of most numbers; nothing where they stand for others."""
    kind = max(counts, key=lambda kind: counts[kind], default="")
    return kind.lower() if kind in _BYTES and kind != _PACKED else ""


def bits_of(weights: int | None, count: int | None) -> float | None:
    return weights * 8 / count if weights and count else None


def _named_bits(repo: str) -> int | None:
    """Older repositories say it in their name alone."""
    said = re.search(r"(?<![0-9.])([2-8])[-_]?bit", repo, re.IGNORECASE)
    return int(said[1]) if said else None


def _licence(model: Model) -> str | None:
    """By the name the card gives it, else by its tag; only what a licence's name can be."""
    card = model.card_data or Card()
    named = card.license if isinstance(card.license, str) else next(iter(card.license or ()), None)
    tagged = next((tag.removeprefix("license:") for tag in model.tags if tag.startswith("license:")), None)
    licence = (card.license_name if named in (None, "other") else None) or named or tagged
    return licence if licence and re.fullmatch(r"[\w.+-]{1,60}", licence, re.ASCII) else None
