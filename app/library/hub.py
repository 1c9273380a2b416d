"""The models that the Hub has and that can run here: searched, looked up, and whether the Hub answers at all.

The asking is done in a process of its own (`app.library.asking`), so that a network that hangs holds nothing up:
cancelling kills it. What the Hub says is others' word and is shown with care. Nothing is fetched here.
"""

import asyncio
import json
from functools import cached_property

import msgspec

from app.child import speaking
from app.errors import QuietlyError
from app.library.layout import REPO
from app.library.running import Runs
from model.config import Config, parse_config

WITHIN = 3.0
"""Seconds after which a Hub that nothing leads to counts as out of reach."""
PATIENCE = 20.0
"""Seconds that an answer may take once there is a way."""
MOST = 30
"""Models that a search brings, where nothing else is asked for."""


class Found(msgspec.Struct, frozen=True, dict=True):
    """A model on the Hub that can run here. Sizes in bytes, contexts in tokens; None: the Hub does not say."""

    repo: str
    """organisation/name."""
    name: str
    """Without the organisation."""
    runs: Runs
    """Whose implementation runs it."""
    architecture: str | None = None
    parameters: int | None = None
    bits: float | None = None
    """Bits a weight takes as stored, scales included."""
    stored: str = ""
    """How the weights are stored, in the field's words: "4 bit", "bf16"; empty where not known."""
    size: int | None = None
    """Of what would be fetched; an estimate from a search, exact from `look_up`."""
    weights: int | None = None
    """What of that the weights are."""
    licence: str | None = None
    downloads: int = 0
    """In the last thirty days."""
    gated: bool = False
    """Its conditions have to be accepted on its page before it can be fetched."""
    context: int | None = None
    """That it was trained for; only where it was looked up, as is the config."""
    shape: str = ""
    """Its config.json, where what that says is described here: it comes from another process, as text."""

    @cached_property
    def config(self) -> Config | None:
        """Its shape, where that is described here."""
        return parse_config(json.loads(self.shape), self.name) if self.shape else None


class Reached(msgspec.Struct, frozen=True, tag=True):
    """There is a way to the Hub, or to the proxy before it."""


class Answer(msgspec.Struct, frozen=True, tag=True):
    """What the Hub has."""

    found: tuple[Found, ...] = ()


async def search(words: str, most: int = MOST) -> tuple[Found, ...]:
    """Models whose names hold these words: at most `most`, those for MLX first, of either kind the most fetched first.

    Empty: the Hub has nothing by that name that runs here. QuietlyError where it cannot be asked; within `WITHIN`
    seconds where nothing leads to it.
    """
    return (await _ask("search", words, str(most), within=WITHIN)).found


async def look_up(repo: str) -> Found:
    """What the Hub knows of "organisation/name". QuietlyError where it cannot be asked, has none, or none that runs."""
    if not REPO.fullmatch(repo):
        raise QuietlyError(f"{repo[:80]!r} names no model on the Hub: write organisation/name.")
    return (await _ask("look up", repo, within=WITHIN)).found[0]


async def reachable(within: float = WITHIN) -> str:
    """Empty where the Hub answers; else one sentence that says why not, after `within` seconds at the latest."""
    try:
        await _ask("reach", within=within, patience=0)
    except QuietlyError as error:
        return str(error)
    return ""


async def _ask(*arguments: str, within: float, patience: float = PATIENCE) -> Answer:
    """The answer to one question. A way must be found `within` seconds; from then on there is `patience` more."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    try:
        async with (
            asyncio.timeout(within) as limit,
            speaking("app.library.asking", arguments, Reached, Answer, what="Asking the Hub", online=True) as said,
        ):
            async for message in said:
                if isinstance(message, Answer):
                    return message
                if patience:
                    limit.reschedule(loop.time() + patience)
    except TimeoutError:
        waited = f"{loop.time() - begun:.0f} s"
        raise QuietlyError(
            f"The Hub has not answered for {waited}: check the connection; what is on this machine works without it."
        ) from None
    raise QuietlyError("The Hub was asked, and nothing came back: try again.")
