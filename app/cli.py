"""The commands of the shell: ask, export, models, doctor. Each prints what was asked for and nothing else."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import msgspec
import typer

from app import __version__
from app.chat.store import Conversation, Outcome, Store
from app.chat.text import visible
from app.errors import QuietlyError
from app.settings import paths

if TYPE_CHECKING:
    from app.engine.protocol import SamplingOptions
    from app.library.local import InstalledModel

app = typer.Typer(
    name="quietly",
    help="Private chat with language models that run on this machine. Without a command, the window opens.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="The models on this machine, and how to get more.", invoke_without_command=True)
app.add_typer(models_app, name="models")


def run() -> None:
    """Run the command of this process. Errors become one sentence on standard error and exit status 1."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except QuietlyError as error:
        _fail(visible(str(error)))
    except BrokenPipeError:
        _fail("")  # whoever read our output has gone
    except OSError as error:
        if error.filename is not None:
            raise
        _fail(f"Standard output cannot be written: {error.strerror}.")


def _fail(sentence: str) -> NoReturn:
    """Leave with status 1. What standard output could not take is given up, or Python would complain about it."""
    if sentence:
        print(sentence, file=sys.stderr)
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"quietly {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


# --- ask ------------------------------------------------------------------------------------------------------------


@app.command()
def ask(
    question: Annotated[list[str] | None, typer.Argument(help="What to ask. Standard input is added below it.")] = None,
    model: Annotated[str | None, typer.Option("-m", "--model", help="A model by name or folder.")] = None,
    system: Annotated[str, typer.Option("-s", "--system", help="How the model is to behave.")] = "",
    continued: Annotated[bool, typer.Option("-c", "--continue", help="Go on in the latest conversation.")] = False,
    max_tokens: Annotated[int | None, typer.Option(min=1, max=1 << 40, help="The longest answer, in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="0 is the most likely answer.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=(1 << 64) - 1, help="Makes a run repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print text, token counts and timings as JSON.")] = False,
) -> None:
    """Answer once. Standard output is only the answer; the conversation is kept."""
    from app.engine.protocol import SamplingOptions

    text = _question(question or [])
    with _store() as store:
        chosen = _model(store, model)
        conversation = _conversation(store, system, continued)
        sampling = SamplingOptions(temperature=temperature, seed=seed)
        answer = _Answer(store, conversation, chosen.path, chosen.name, sampling, max_tokens)
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(answer.write(text, (lambda piece: None) if as_json else _print_piece))
    if as_json and answer.written.finished:
        print(msgspec.json.encode(answer.facts()).decode())
    elif not as_json and not answer.written.answer.endswith("\n"):
        print()
    if answer.status != "complete":
        raise typer.Exit(130 if answer.status == "stopped" else 1)


def _store() -> Store:
    """The conversations; what was found wrong with their file is said."""
    store = Store.open(paths().database)
    if store.notice:
        print(visible(store.notice), file=sys.stderr)
    return store


def _question(words: Sequence[str]) -> str:
    """The words of the command line, with standard input below them where it is not a keyboard."""
    parts = [" ".join(words)]
    if not sys.stdin.isatty():
        piped = sys.stdin.buffer.read()
        if b"\0" in piped:
            raise QuietlyError("Standard input is no text: a model reads words, send it those.")
        parts.append(piped.decode(errors="replace"))
    text = "\n\n".join(part.strip() for part in parts if part.strip())
    if not text:
        raise QuietlyError('Nothing was asked: write `quietly ask "..."`, or send the question to its standard input.')
    return text


def _print_piece(text: str) -> None:
    """A terminal gets text made safe to show; a pipe or a file gets it as it is."""
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def _conversation(store: Store, system: str, continued: bool) -> Conversation:
    if continued:
        if latest := store.latest():
            return latest
        raise QuietlyError("There is no conversation to go on with yet: ask without -c first.")
    return store.create(system_prompt=system)


class _Answer:
    """One answer on the command line: asked, printed as it comes, and kept."""

    def __init__(
        self,
        store: Store,
        conversation: Conversation,
        checkpoint: Path,
        name: str,
        sampling: "SamplingOptions",
        max_tokens: int | None,
    ) -> None:
        from app.answering import Written

        self.written = Written()
        self.status: Outcome = "failed"
        self._store = store
        self._conversation = conversation
        self._checkpoint = checkpoint
        self._name = name
        self._sampling = sampling
        self._max_tokens = max_tokens

    async def write(self, question: str, show: Callable[[str], None]) -> None:
        """Ask and keep the answer as it comes. Ctrl+C stops it and keeps what there is; QuietlyError where there is
        none."""
        from app.answering import STORE_EVERY, note_of, prompt_of, record, session_of
        from app.engine.pool import Pool
        from app.engine.protocol import Delta

        store, conversation = self._store, self._conversation
        asked = store.ask(conversation.id, conversation.head, question)
        messages = prompt_of(conversation.system_prompt, store.branch(conversation.id))
        chosen = {key: value for key, value in msgspec.structs.asdict(self._sampling).items() if value is not None}
        answer = store.begin_answer(conversation.id, asked.id, self._name, chosen)
        note, written = "", self.written
        stored = time.monotonic()
        pool = Pool()
        turn = pool.ask(
            self._checkpoint,
            messages,
            session=session_of(conversation.id),
            sampling=self._sampling,
            max_tokens=self._max_tokens,
        )
        _on_signals(turn.stop)
        try:
            async for event in turn:
                written.take(event)
                if isinstance(event, Delta) and event.part == "answer":
                    show(event.text)
                if time.monotonic() - stored > STORE_EVERY:
                    store.write(answer.id, written.answer, written.reasoning)
                    stored = time.monotonic()
            assert written.finished  # a turn that ends without it has raised
            self.status = "stopped" if written.finished.reason == "cancelled" else "complete"
            note = note_of(written.finished)
        except QuietlyError as error:
            self.status = "interrupted" if written.answer else "failed"
            note = str(error)
            raise
        except (OSError, asyncio.CancelledError):
            self.status = "stopped"  # by a reader who has gone, or a second Ctrl+C
            raise
        finally:
            record(
                store,
                answer.id,
                self.status,
                answer=written.answer,
                reasoning=written.reasoning,
                note=note,
                facts=turn.facts,
                finished=written.finished if self.status in ("complete", "stopped") else None,
            )
            await pool.close()

    def facts(self) -> dict[str, Any]:
        """What `--json` prints."""
        finished = self.written.finished
        assert finished
        return {
            "text": self.written.answer,
            "reasoning": self.written.reasoning,
            "model": self._name,
            "conversation": self._conversation.id,
            "reason": finished.reason,
            "prompt_tokens": finished.prompt_tokens,
            "reused_tokens": finished.reused_tokens,
            "completion_tokens": finished.completion_tokens,
            "prefill_seconds": round(finished.prefill_seconds, 4),
            "first_token_seconds": round(finished.first_token_seconds, 4),
            "decode_seconds": round(finished.decode_seconds, 4),
            "tokens_per_second": round(finished.tokens_per_second, 2),
            "memory_bytes": finished.memory,
        }


def _on_signals(stop: Callable[[], None]) -> None:
    """Let the first signal that asks this process to end `stop` the answer, and the second end everything."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task

    def first() -> None:
        for each in signals:
            loop.add_signal_handler(each, task.cancel)
        stop()

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for each in signals:
        loop.add_signal_handler(each, first)


def _model(store: Store, reference: str | None) -> "InstalledModel":
    """The model that was named, else the one chosen last, the starter, or the only one there is."""
    from app.library.local import find, installed
    from app.shelf import Shelf

    shelf = Shelf(store)
    if reference is not None:
        chosen: InstalledModel | None = find(reference, shelf.folders)
    else:
        shelf.fill(installed(shelf.folders))
        chosen = shelf.chosen
    if chosen is None:
        raise QuietlyError(
            "No model is installed yet: `quietly models get starter` brings a tiny one, and `quietly` shows others."
        )
    if chosen.problem:
        raise QuietlyError(chosen.problem)
    return chosen


# --- export ---------------------------------------------------------------------------------------------------------


@app.command()
def export(
    conversation: Annotated[
        int | None, typer.Argument(help="Its number; without one, the latest. `--list` shows them.")
    ] = None,
    folder: Annotated[Path, typer.Option("-o", "--output", help="The folder to write into.")] = Path(),
    listing: Annotated[bool, typer.Option("--list", help="List the conversations and their numbers.")] = False,
) -> None:
    """Write a conversation as a Markdown file. Existing files are never overwritten."""
    from app.chat.export import write_export

    with _store() as store:
        if listing:
            for each in store.conversations():
                print(f"{each.id:>6}  {visible(each.title)}")
            return
        chosen = store.latest() if conversation is None else store.conversation(conversation)
        if chosen is None:
            raise QuietlyError("There is no conversation to export yet.")
        written = write_export(chosen, store.branch(chosen.id), folder)
        print(visible(str(written)))


# --- models ---------------------------------------------------------------------------------------------------------


@models_app.callback()
def models(context: typer.Context) -> None:
    """List the models on this machine."""
    if context.invoked_subcommand:
        return
    from app.library.local import installed
    from app.shelf import Shelf
    from app.tui.words import size

    with _store() as store:
        found = installed(Shelf(store).folders)
    for model in found:
        about = model.problem or f"{size(model.size):>10}  {model.architecture or ''}"
        print(f"{visible(model.name):<40} {visible(about)}")
    if not found:
        print("No model yet: `quietly models get starter` brings a tiny one.")


@models_app.command()
def get(name: Annotated[str, typer.Argument(help='"starter", or organisation/name on the Hub.')]) -> None:
    """Bring a model to this machine."""
    from app.library.starter import NAME, install_starter, starter_file

    if name == NAME:
        path = starter_file() or asyncio.run(install_starter(lambda line: print(visible(line), file=sys.stderr)))
        print(visible(str(path)))
        return
    from app.library.download import fetch

    def show(done: int, total: int) -> None:
        print(f"\r{done / 1e6:,.0f} of {total / 1e6:,.0f} MB", end="", file=sys.stderr)

    path = asyncio.run(fetch(name, paths().models, show))
    print(file=sys.stderr)
    print(visible(str(path)))


# --- inspect --------------------------------------------------------------------------------------------------------


@app.command()
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

    with _store() as store:
        told = inspecting.inspect(model, context, Shelf(store).folders)
    if as_json:
        print(msgspec.json.encode(inspecting.as_json(told)).decode())
    else:
        inspecting.show(told)


# --- doctor ---------------------------------------------------------------------------------------------------------


@app.command()
def doctor() -> None:
    """Show versions, back end, memory, limits and folders: what one would want to know before asking for help."""
    from app.doctor import report

    for line in asyncio.run(report(paths())):
        print(visible(line))
