"""`quietly models` and `doctor`: what is on this machine, how to get more and be rid of it, and how it runs here."""

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app import words
from app.chat.text import one_line, visible
from app.cli.shared import bar_of_bytes, opened, print_json, settings_in_force, tell, tell_whom_it_spoke_to
from app.errors import QuietlyError
from app.settings import paths

if TYPE_CHECKING:
    from app.library.local import InstalledModel

models_app = typer.Typer(help="The models on this machine, and how to get more.", invoke_without_command=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print what came of it as JSON.")]


@models_app.callback()
def models(context: typer.Context) -> None:
    """List the models on this machine."""
    if not context.invoked_subcommand:
        list_models(False)


@models_app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the models on this machine, with what is known of each."""
    from app.library.local import installed
    from app.shelf import Shelf

    with opened() as store:
        found, used = installed(Shelf(store).folders), store.models_used()
    if as_json:
        print_json([_fields(model, used.get(model.name)) for model in found])
        return
    if not found:
        print("No model yet: `quietly models get starter` brings a tiny one.")
        return
    for model in found:
        about = model.problem or "  ".join(
            (
                f"{words.size(model.size):>9}",
                f"{model.stored:<8}",
                f"{model.architecture or '':<8}",
                model.licence or "",
                "demonstration" if model.source == "demonstration" else "",
            )
        )
        print(f"{one_line(model.name, 40):<40} {visible(about)}".rstrip())


def _fields(model: "InstalledModel", used: float | None) -> dict[str, object]:
    """A model as JSON has it: sizes in bytes, contexts in tokens, null without a limit, times in seconds since the
    epoch."""
    from model.config import UNBOUNDED

    return {
        "name": model.name,
        "path": str(model.path),
        "source": model.source,
        "repo": model.repo,
        "revision": model.revision,
        "architecture": model.architecture,
        "runs": model.runs,
        "parameters": model.parameters,
        "stored": model.stored,
        "bits": model.bits,
        "size": model.size,
        "context": model.holds if (model.holds or 0) < UNBOUNDED else None,
        "trained": model.context,
        "licence": model.licence,
        "used": used,
        "unfinished": None
        if model.unfinished is None
        else dict(zip(("here", "in_all"), model.unfinished, strict=True)),
        "problem": model.problem,
    }


@models_app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help='"starter", or organisation/name on the Hub.')],
    revision: Annotated[str, typer.Option(metavar="NAME", help="A branch, tag or commit of the repository.")] = "main",
    agree: Annotated[
        bool, typer.Option("--agree", help="Agree to the licence, where it restricts what the model may be used for.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a model to this machine. What a cut-off download has brought is kept, and a next one goes on there.

    A licence that restricts what the model may be used for is told and asked about first. Whom it spoke to is said at
    the end, on standard error.
    """
    from app.library.places.demonstration import demonstrations
    from app.library.starter import NAME

    here = next((model.path for model in demonstrations() if model.name == name), None)
    try:
        path = _bring_starter() if name == NAME else here or _agreed_download(name, revision, agree)
    finally:
        tell_whom_it_spoke_to()
    if as_json:
        print_json({"name": name, "path": str(path)})
    else:
        print(visible(str(path)))


def _bring_starter() -> Path:
    from app.library.starter import install_starter, starter_file

    return starter_file() or asyncio.run(install_starter(lambda line: print(visible(line), file=sys.stderr)))


def _agreed_download(repo: str, revision: str, agreed: bool) -> Path:
    """Fetch a model; its licence is asked about where that is needed and was not said already."""
    from app.library.licences import Unagreed

    try:
        return _download(repo, revision, agreed)
    except Unagreed as unagreed:
        terms = unagreed.terms
    told = f"{one_line(terms.licence, 80)}. {terms.says} The whole of it is on the page of {repo}."
    if not sys.stdin.isatty():
        raise QuietlyError(
            f"The licence has to be agreed to: {told} Nobody can be asked here; say so with --agree if you do."
        )
    tell(f"The licence of {repo}: {told}")
    if not typer.confirm("Do you agree to it?", err=True):
        raise QuietlyError("Nothing was fetched.")
    return _download(repo, revision, agreed=True)


def _download(repo: str, revision: str, agreed: bool) -> Path:
    from app.library.download import fetch

    name = one_line(repo, 40)
    with bar_of_bytes(name) as show:
        return asyncio.run(
            fetch(
                repo,
                paths().models,
                progress=lambda done, total: show(done, total, name),
                revision=revision,
                doing=lambda sentence: show(None, None, one_line(sentence) or name),
                agreed=agreed,
            )
        )


@models_app.command()
def remove(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A model as `quietly models` lists it, or organisation/name.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a model from this machine. That is asked about first, with what becomes free; half fetched ones go too.

    A folder that was added by hand and is no longer there is forgotten.
    """
    from app.library import disk
    from app.library.local import find
    from app.shelf import Shelf

    with opened() as store:
        shelf = Shelf(store)
        model = find(name, shelf.folders)
        is_forgotten = model.path in shelf.folders and not disk.exists(model.path)
        freed = 0 if is_forgotten else _delete(model, yes)
        if not disk.exists(model.path):
            shelf.drop_folder(model.path)
    if as_json:
        print_json({"name": model.name, "freed": freed})
    else:
        came = "forgotten" if is_forgotten else f"deleted; {words.size(freed)} are free again"
        print(f"{one_line(model.name, 60)} is {came}.")


def _delete(model: "InstalledModel", yes: bool) -> int:
    """Delete a model once that was agreed to; bytes freed."""
    from app.library.removing import removal, remove

    would = removal(model)
    if would.refusal:
        raise QuietlyError(would.refusal)
    if not yes:
        if not sys.stdin.isatty():
            raise QuietlyError("Nobody can be asked here whether to delete it; say so with --yes.")
        places = "".join(f"  {visible(str(path))}\n" for path in would.paths)
        question = f"{places}{would.sentence} Delete {one_line(model.name, 60)}? {words.size(would.frees)} become free"
        if not typer.confirm(question, err=True):
            raise QuietlyError("Nothing was deleted.")
    return remove(model)


def doctor(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="With --report: where it goes; by default into this folder.")
    ] = None,
    as_report: Annotated[bool, typer.Option("--report", help="Write a file that helps others to help you.")] = False,
    bench: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="With --report: measure this model for it, shortly. May be repeated."),
    ] = None,
) -> None:
    """Show versions, back end, memory, limits and folders. It is what one would want to know before asking for help.

    With --report that goes, with more figures and without names, paths and words of yours, into one file to be sent. It
    is sent by nobody but you.
    """
    if as_report:
        return _report(file, bench or [])
    if file or bench:
        raise QuietlyError("A file, or a model to measure, is for a report: say --report too.")
    from app.doctor import report

    for line in asyncio.run(report(paths())):
        print(visible(line))
    return None


def _report(file: Path | None, bench: list[str]) -> None:
    from app.cli.bench import measured_shortly
    from app.reporting import HOLDS, HOLDS_NOT, check, collect, write

    file = file or Path(time.strftime("quietly-report-%Y%m%d-%H%M%S.json"))
    check(file)
    tell(f"The report will hold {HOLDS}{'; and how fast the named models are' if bench else ''}.")
    tell(f"It will not hold {HOLDS_NOT}. Nobody gets it unless you send it.")
    measured = [measured_shortly(model) for model in bench]
    write(file, asyncio.run(collect(paths(), settings_in_force(), measured)))
    print(visible(str(file.absolute())))
