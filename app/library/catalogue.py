"""The models Quietly offers to fetch: assets/catalogue.toml, typed and checked, and which suits a machine.

Sizes are computed from the shapes written there, so they are approximate: a repository may hold other files
too. It knows nothing of the network and of what is installed.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

from app.assets import asset
from app.errors import QuietlyError
from app.library import fit, starter
from app.library.machine import Backend
from model.config import Config, parse_config
from model.errors import ModelError
from model.facts import parameters, stored_bytes

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
    size: int
    """Of the download, approximately."""
    weights: int
    context: int
    config: Config

    @property
    def reference(self) -> str:
        """What `quietly models get` takes."""
        return self.repo or starter.NAME


def catalogue(path: Path | None = None) -> tuple[Offer, ...]:
    """The starter, then what the catalogue has, by parameters. QuietlyError where an entry cannot be."""
    return _read(path or asset("catalogue.toml"))


def recommend(memory: int, backend: Backend = "Metal") -> Offer | None:
    """The largest recommended model that fits comfortably in `memory` bytes; None if only the starter does.

    `memory` is what a model may take (`Machine.budget`). A CPU is spared what takes minutes there.
    """
    comfortable = [
        offer
        for offer in catalogue()
        if offer.recommended
        and (backend != "CPU" or offer.parameters <= CPU_PARAMETERS)
        and fit.need(offer.weights, offer.config, fit.USUAL_CONTEXT).total <= fit.COMFORT * memory
    ]
    return max(comfortable, key=lambda offer: offer.parameters, default=None)


STARTER = Offer(
    name=starter.NAME,
    repo="",
    licence=starter.LICENCE,
    note=starter.SUMMARY,
    recommended=False,
    parameters=starter.PARAMETERS,
    bits=starter.BITS,
    size=starter.DOWNLOAD,
    weights=starter.SIZE,
    context=starter.CONTEXT,
    config=parse_config(starter.SHAPE, starter.NAME),
)


@functools.cache
def _read(path: Path) -> tuple[Offer, ...]:
    import tomllib  # only where the catalogue is looked at

    import msgspec

    class Entry(msgspec.Struct, forbid_unknown_fields=True):
        name: str
        repo: str
        licence: str
        note: str
        shape: dict[str, object]
        quantization: dict[str, object]
        recommended: bool = True

    class Catalogue(msgspec.Struct, forbid_unknown_fields=True):
        model: list[Entry]

    try:
        entries = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Catalogue).model
        offers = []
        for entry in entries:
            config = parse_config({**entry.shape, "quantization": entry.quantization}, entry.name)
            assert config.quantization is not None
            weights = stored_bytes(config)
            offers.append(
                Offer(
                    name=entry.name,
                    repo=entry.repo,
                    licence=entry.licence,
                    note=entry.note,
                    recommended=entry.recommended,
                    parameters=parameters(config).total,
                    bits=config.quantization.default.bits,
                    size=weights + OVERHEAD,
                    weights=weights,
                    context=config.context,
                    config=config,
                )
            )
    except (OSError, ValueError, msgspec.ValidationError, ModelError) as error:
        raise QuietlyError(f"{path.name} cannot be used ({error}); install Quietly again.") from None
    return (STARTER, *sorted(offers, key=lambda offer: offer.parameters))
