"""`quietly models quantise`: a model that is here in full precision, in fewer bits."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.chat.text import visible
from app.cli.shared import bar_of_bytes, opened, print_json
from app.quantising import Bits, GroupSize, Quantised, Step, as_data, figures

if TYPE_CHECKING:
    from app.library.local import InstalledModel

_DOING = {"convert": "Converting", "pack": "Quantising", "compare": "Comparing"}


def quantise(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model by name or folder, with safetensors in full precision.")
    ],
    bits: Annotated[Bits, typer.Option(help="Bits a weight.")] = 4,
    group_size: Annotated[GroupSize, typer.Option(help="Weights that share a scale and an offset.")] = 64,
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The folder to make; by default one of Quietly's own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came out as JSON.")] = False,
) -> None:
    """Write a model anew in 4 or 8 bits a weight. What that cost is measured. The original stays as it is."""
    from app.library.local import find
    from app.shelf import Shelf

    with opened() as store:
        found = find(model, Shelf(store).folders)
    made = asyncio.run(_shown(found, bits, group_size, to))
    if as_json:
        print_json(as_data(made))
        return
    print(visible(str(made.path)))
    for name, value in figures(made):
        print(f"{name:<12}{visible(value)}")


async def _shown(model: "InstalledModel", bits: Bits, group_size: GroupSize, to: Path | None) -> Quantised:
    """Quantise with a bar on standard error, where that is a terminal."""
    from app.quantising import quantise

    with bar_of_bytes(_DOING["pack"]) as show:

        def progress(step: Step) -> None:
            show(step.done, step.total, _DOING[step.doing])

        return await quantise(model, bits, group_size, to, progress)
