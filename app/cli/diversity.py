"""`quietly inspect --diversity`: how much the hidden states of a text differ, layer by layer."""

import asyncio
from typing import TYPE_CHECKING

from app.chat.text import visible
from app.cli.shared import Progress, opened, print_json
from app.errors import QuietlyError
from app.home import expanded

if TYPE_CHECKING:
    from app.diversity import Measured
    from app.library.local import InstalledModel

_WIDE = 100
"""Cells of a line that goes to no terminal."""


def show_diversity(reference: str, file: str | None, text: str | None, as_json: bool) -> None:
    """Print what each layer of a model makes of a file, or of `text`, or else of a text of ours."""
    from app.diversity import our_text
    from app.diversity.telling import as_data, drawn

    read = text if text is not None else our_text() if file is None else _text(file)
    model = _fitting(reference)
    found = asyncio.run(_measured(model, read))
    if as_json:
        print_json(as_data(model.name, found))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for line in drawn(model.name, found, console.width if console.is_terminal else _WIDE):
        style = "" if line.tone == "plain" else line.tone
        console.print(Text(visible(line.text), style=style), soft_wrap=not console.is_terminal)


async def _measured(model: "InstalledModel", text: str) -> "Measured":
    from app.diversity import measure

    with Progress("Looking into the model") as progress:
        return await measure(model, text, lambda doing, done, total: progress(done, total))


def _fitting(reference: str) -> "InstalledModel":
    """The model that is meant. QuietlyError where it cannot be opened here."""
    from app.diversity import MOST_TOKENS
    from app.library.fit import fit_of
    from app.library.local import find
    from app.library.machine import this_machine
    from app.shelf import Shelf

    with opened() as store:
        found = find(reference, Shelf(store).folders)
    if found.problem:
        raise QuietlyError(found.problem)
    fit = fit_of(found, this_machine(), MOST_TOKENS)
    if fit.verdict == "too big":
        raise QuietlyError(fit.sentence)
    return found


def _text(file: str) -> str:
    """What a text file holds. QuietlyError where it is none."""
    from app.diversity import MOST_BYTES

    path = expanded(file)
    try:
        if not path.is_file():  # a pipe would be waited for
            raise QuietlyError(f"{visible(file)} is no file: name a text to be read.")
        with path.open("rb") as opened_file:
            return opened_file.read(MOST_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise QuietlyError(f"{visible(file)} cannot be read ({error.strerror}): check who may read it.") from None
