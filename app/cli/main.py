"""All commands under their names, and how the process ends when one cannot do what it was asked."""

import contextlib
import io
import os
import sys
from typing import Annotated, NoReturn

import typer

from app import __version__
from app.chat.text import unbroken
from app.cli import asking, bench, conversations, fitting, inspecting, models, quantising, searching, settings
from app.cli.misuse import Misuse, sentence
from app.errors import QuietlyError

app = typer.Typer(
    name="quietly",
    help="Private chat with language models that run on this machine. Without a command, the window opens.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut the names of options where a terminal is narrow
)
app.command()(asking.ask)
app.command()(conversations.search)
app.command()(conversations.export)
app.command("import")(conversations.bring_in)
app.command()(conversations.delete)
app.add_typer(settings.settings_app, name="settings")
app.add_typer(models.models_app, name="models")
models.models_app.command()(fitting.fit)
models.models_app.command()(inspecting.inspect)
models.models_app.command()(quantising.quantise)
models.models_app.command()(searching.search)
app.command()(inspecting.inspect)
app.command()(inspecting.tokens)
app.command()(bench.bench)
app.command()(models.doctor)


def run() -> None:
    """Run the command of this process. Errors become one sentence on standard error and exit status 1, or 2 where the
    line itself cannot be understood."""
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal that knows few letters is no reason to fall silent
        try:
            status = app(prog_name="quietly", standalone_mode=False)
        finally:
            sys.stdout.flush()
    except QuietlyError as error:
        _fail(unbroken(str(error)))
    except Misuse as error:
        _fail(sentence(error), 2)
    except typer.Abort:
        _fail("Given up.")  # at a question
    except BrokenPipeError:
        _fail("")  # whoever read our output has gone
    except OSError as error:
        if error.filename is not None:
            raise
        _fail(f"Standard output cannot be written: {error.strerror}.")
    sys.exit(status)


def _fail(said: str, status: int = 1) -> NoReturn:
    """Leave with `status`. What standard output could not take is given up, or Python would complain about it."""
    if said:
        print(said, file=sys.stderr)
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"quietly {__version__}")
        raise typer.Exit


def _open_plain(wanted: bool) -> None:
    if wanted:
        from app.plain.program import run_plain

        raise typer.Exit(run_plain())


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain",
            callback=_open_plain,
            is_eager=True,
            help="Talk line by line instead of in the window: for screen readers and simple terminals.",
        ),
    ] = False,
) -> None:
    pass
