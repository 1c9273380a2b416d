"""`quietly models`, `inspect` and `doctor`: what is on this machine, what it is made of, and how it runs here."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from app.chat.text import visible
from app.cli.shared import opened
from app.settings import paths

models_app = typer.Typer(help="The models on this machine, and how to get more.", invoke_without_command=True)


@models_app.callback()
def models(context: typer.Context) -> None:
    """List the models on this machine."""
    if context.invoked_subcommand:
        return
    from app.library.local import installed
    from app.shelf import Shelf
    from app.words import size

    with opened() as store:
        found = installed(Shelf(store).folders)
    for model in found:
        about = model.problem or f"{size(model.size):>10}  {model.architecture or ''}"
        print(f"{visible(model.name):<40} {visible(about)}")
    if not found:
        print("No model yet: `quietly models get starter` brings a tiny one.")


@models_app.command()
def get(name: Annotated[str, typer.Argument(help='"starter", or organisation/name on the Hub.')]) -> None:
    """Bring a model to this machine. Whom that spoke to is said at the end, on standard error."""
    from app.library.starter import NAME

    try:
        path = _bring_starter() if name == NAME else _download(name)
    finally:
        print(visible(_spoken_to()), file=sys.stderr)
    print(visible(str(path)))


def _bring_starter() -> Path:
    from app.library.starter import install_starter, starter_file

    return starter_file() or asyncio.run(install_starter(lambda line: print(visible(line), file=sys.stderr)))


def _download(name: str) -> Path:
    from app.library.download import fetch

    begun = False

    def show(done: int, total: int) -> None:
        nonlocal begun
        begun = True
        print(f"\r{done / 1e6:,.0f} of {total / 1e6:,.0f} MB", end="", file=sys.stderr)

    try:
        return asyncio.run(fetch(name, paths().models, show))
    finally:
        if begun:
            print(file=sys.stderr)


def _spoken_to() -> str:
    """One line: the hosts of the ledger, and how much was sent to and received from each."""
    from app import connections
    from app.words import size

    def amount(count: int | None, done: str) -> str:
        return f"{size(count)} {done}" if count is not None else f"nobody counted what was {done}"

    said = [
        f"{one.host[:200]} ({amount(one.sent, 'sent')}, {amount(one.received, 'received')})"
        for one in connections.ledger.connections
    ]
    return f"Spoken to: {'; '.join(said)}." if said else "Spoken to nobody."


def inspect(
    model: Annotated[str, typer.Argument(help="A model by name or folder, or a config.json.")],
    context: Annotated[
        int | None, typer.Option(min=1, max=1 << 40, help="Tokens of conversation; by default all it can take.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Show what a model is made of and what it costs, from its configuration alone."""
    from app import inspecting
    from app.shelf import Shelf

    with opened() as store:
        told = inspecting.inspect(model, context, Shelf(store).folders)
    if as_json:
        print(msgspec.json.encode(inspecting.as_json(told)).decode())
    else:
        inspecting.show(told)


def doctor() -> None:
    """Show versions, back end, memory, limits and folders: what one would want to know before asking for help."""
    from app.doctor import report

    for line in asyncio.run(report(paths())):
        print(visible(line))
