"""`quietly models fit`: whether a model fits in this machine's memory, before it is fetched or loaded."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from app.chat.text import visible
from app.cli.shared import opened, print_json, settings_in_force, tell, tell_whom_it_spoke_to
from app.errors import QuietlyError
from app.home import expanded
from app.words import no_limit, size

if TYPE_CHECKING:
    from app.library.catalogue import Offer
    from app.library.fit import Fit
    from app.library.hub import Found
    from app.library.local import InstalledModel
    from app.library.machine import Machine
    from model.config import Config
    from model.memory import KvBits


def fit(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A model that is here, one of the catalogue, organisation/name, or a config.json."
        ),
    ],
    context: Annotated[
        int | None,
        typer.Option(min=1, max=1 << 30, metavar="TOKENS", help="How long a conversation; by default what most need."),
    ] = None,
    kv_bits: Annotated[
        int | None, typer.Option(metavar="BITS", help="Bits of quantised keys and values, 4 or 8.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Tell whether a model fits in this machine's memory. Its weights, its cache or state, and its workspace count."""
    from app.library.machine import this_machine

    if kv_bits not in (None, 4, 8):
        raise QuietlyError(f"Keys and values are kept in 4 or 8 bits, not {kv_bits}: choose one of these.")
    machine = this_machine()
    judged = _judged(model, machine, context or settings_in_force().generation.context, cast("KvBits | None", kv_bits))
    if context is not None and judged.context < context:
        tell(f"It holds {judged.context:,} tokens at most: these figures are for so many.")
    if as_json:
        print_json(_figures(judged, machine))
    else:
        print("\n".join(map(visible, _lines(judged, machine))))


def _judged(reference: str, machine: "Machine", context: int | None, kv: "KvBits | None") -> "Fit":
    from app.library.fit import fit as judge
    from app.library.fit import fit_of

    if reference.endswith(".json"):
        name, config = _configuration(expanded(reference))
        return judge(0, config, machine, context, name, kv=kv)
    return fit_of(_model(reference), machine, context, kv=kv)


def _configuration(path: Path) -> "tuple[str, Config]":
    from model.config import parse_config, read_object
    from model.errors import ModelError

    name = path.absolute().parent.name if path.name == "config.json" else path.stem
    try:
        return name, parse_config(read_object(path, name), name)
    except ModelError as error:
        raise QuietlyError(str(error)) from None


def _model(reference: str) -> "InstalledModel | Offer | Found":
    """The model that is meant: here, else in the catalogue, else on the Hub, which is asked."""
    from app.library.catalogue import catalogue
    from app.library.hub import look_up
    from app.library.layout import REPO
    from app.library.local import find
    from app.shelf import Shelf

    wanted = reference.strip()
    problem = ""
    try:
        with opened() as store:
            here = find(wanted, Shelf(store).folders)
        if here.problem is None:
            return here
        problem = here.problem
    except QuietlyError as error:
        problem = str(error)
    for offer in catalogue():
        if wanted.casefold() in (offer.name.casefold(), offer.reference.casefold()):
            return offer
    if not REPO.fullmatch(wanted) or Path(wanted).exists():
        raise QuietlyError(problem)
    try:
        return asyncio.run(look_up(wanted))
    finally:
        tell_whom_it_spoke_to()


def _lines(fit: "Fit", machine: "Machine") -> list[str]:
    """The verdict, what takes how much, and what there is."""
    if fit.need.state:
        held = ("state", f"{size(fit.need.state)} at any number of tokens, copies to return to included")
    else:
        held = ("KV cache", f"{size(fit.need.kv)} at {fit.context:,} tokens")
    rows = [
        ("weights", size(fit.need.weights)),
        held,
        ("workspace", size(fit.need.workspace)),
        ("the process", size(fit.need.reserve)),
        ("in all", size(fit.need.total)),
        ("may be used", f"{size(fit.budget)} by {machine.backend} on {machine.chip}; {size(fit.free)} are free now"),
        ("context", _reach(fit)),
    ]
    return [f"{fit.verdict}: {fit.sentence}", *(f"  {name:<12} {value}" for name, value in rows)]


def _reach(fit: "Fit") -> str:
    from model.config import UNBOUNDED

    if fit.longest >= UNBOUNDED:
        return f"{no_limit(fit.trained)} tokens"
    return f"up to {fit.longest:,} tokens" if fit.longest else "none, however short"


def _figures(fit: "Fit", machine: "Machine") -> dict[str, object]:
    """The same as JSON has it: sizes in bytes, contexts in tokens; null for one that has no limit."""
    from model.config import UNBOUNDED

    need = fit.need
    return {
        "verdict": fit.verdict,
        "sentence": fit.sentence,
        "weights": need.weights,
        "kv": need.kv,
        "state": need.state,
        "workspace": need.workspace,
        "process": need.reserve,
        "total": need.total,
        "budget": fit.budget,
        "free": fit.free,
        "backend": machine.backend,
        "context": fit.context,
        "longest": fit.longest if fit.longest < UNBOUNDED else None,
        "trained": fit.trained or None,
        "roomy": fit.roomy if fit.roomy < UNBOUNDED else None,
        "bits": fit.bits,
    }
