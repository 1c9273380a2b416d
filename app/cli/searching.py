"""`quietly models search`: what can be had, of the Hub or, without words, of the catalogue that came with Quietly."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from app import words as in_words
from app.chat.text import one_line
from app.cli.shared import print_json, tell, tell_whom_it_spoke_to

if TYPE_CHECKING:
    from app.library.hub import Found


def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORDS", help="Words of the model's name; without any, the catalogue is listed."),
    ] = None,
    most: Annotated[int, typer.Option(min=1, max=100, metavar="NUMBER", help="How many models at most.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print what there is as a JSON array.")] = False,
) -> None:
    """Search the Hub for models that run here. Without words nobody is asked: the catalogue is listed."""
    from app.library.hub import search as search_hub

    wanted = " ".join(words or []).strip()
    try:
        found = asyncio.run(search_hub(wanted, most)) if wanted else _catalogue()
    finally:
        if wanted:
            tell_whom_it_spoke_to()
    if as_json:
        print_json([_fields(one) for one in found])
        return
    for one in found:
        print(_line(one))
    if wanted and not found:
        tell("The Hub has nothing by these words that runs here: try fewer of them.")
    if not wanted:
        _tell_what_waits()


def _catalogue() -> "tuple[Found, ...]":
    """What the catalogue offers, as if it had been found."""
    from app.library.catalogue import catalogue
    from app.library.hub import Found

    return tuple(
        Found(
            repo=offer.reference,
            name=offer.name,
            runs=offer.runs,
            architecture=offer.config.model_type,
            parameters=offer.parameters,
            bits=offer.bits,
            stored=offer.stored,
            size=offer.size,
            licence=offer.licence,
            context=offer.context,
        )
        for offer in catalogue()
    )


def _tell_what_waits() -> None:
    from app.library.catalogue import waiting

    for model in waiting():
        tell(f"{model.name} ({model.repo}) is not offered: {model.why}.")


def _fields(one: "Found") -> dict[str, object]:
    """A model as JSON has it: the size of the download in bytes, null where nobody knows."""
    return {
        "repo": one.repo,
        "name": one.name,
        "architecture": one.architecture,
        "runs": one.runs,
        "parameters": one.parameters,
        "stored": one.stored,
        "bits": one.bits,
        "size": one.size,
        "licence": one.licence,
        "gated": one.gated,
        "downloads": one.downloads,
    }


def _line(one: "Found") -> str:
    """A model in one line, what `quietly models get` takes first."""
    cells = (
        f"{in_words.parameters(one.parameters) if one.parameters else '':>7}",
        f"{one.stored:<8}",
        f"{in_words.size(one.size) if one.size else '':>8}",
        one.licence or "",
        "gated" if one.gated else "",
    )
    return f"{one_line(one.repo, 60):<52} {'  '.join(cells)}".rstrip()
