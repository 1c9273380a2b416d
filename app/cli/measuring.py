"""What commands share that measure in rounds: how far it has come, and what is printed, also when it is given up."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from app.chat.text import visible
from app.cli.shared import print_json

if TYPE_CHECKING:
    from app.benching.rounds import Doing, Report
    from app.benching.runner import Runner
    from app.inspecting.told import Line

_WIDE = 100
"""Cells of a line that goes to no terminal."""


def measured(
    report: "Report",
    makers: "Sequence[Callable[[], Runner]]",
    drawn: "Callable[[Report, int], Sequence[Sequence[Line]]]",
    data: "Callable[[Report], object] | None" = None,
) -> None:
    """Measure all of the report's plan, and print `data` of it or, without that, what is `drawn` for so many cells.

    Ctrl+C prints what there is, and exits with 130; where someone dropped out, the exit status is 1.
    """
    whole = False
    with contextlib.suppress(KeyboardInterrupt):
        measure_all(report, makers)
        whole = True
    if data is not None:
        print_json(data(report))
    elif report.entries:  # Ctrl+C may come before anyone is there
        _show(lambda width: drawn(report, width))
    if not whole:
        raise typer.Exit(130)
    if not report.is_whole:
        raise typer.Exit(1)


def measure_all(report: "Report", makers: "Sequence[Callable[[], Runner]]") -> None:
    """Measure all of the report's plan."""
    from app.benching.rounds import measure

    async def work() -> None:
        with _bar() as doing:
            await measure(report, makers, doing)

    asyncio.run(work())


def _show(drawn: "Callable[[int], Sequence[Sequence[Line]]]") -> None:
    """Print what is drawn, an empty line behind each part; parts without lines are left out."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for lines in filter(None, drawn(console.width if console.is_terminal else _WIDE)):
        for line in lines:
            style = "" if line.tone == "plain" else line.tone
            console.print(Text(visible(line.text), style=style), soft_wrap=not console.is_terminal)
        console.print()


@contextlib.contextmanager
def _bar() -> "Iterator[Doing]":
    """How far it has come and what comes now, on a terminal's standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("")
        yield lambda done, total, doing: bar.update(task, completed=done, total=total, description=doing)
