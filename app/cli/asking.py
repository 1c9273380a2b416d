"""`quietly ask`: one question, one answer, kept as in the window."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import replace

from app.chat.store import Conversation, Outcome, Preset, Store
from app.chat.text import one_line, visible
from app.cli.shared import as_given, opened, print_json, settings_in_force, tell
from app.errors import QuietlyError
from app.generation import GENERATION_FIELDS, GenerationSettings, Overflow
from app.settings import Settings, paths

if TYPE_CHECKING:
    from app.engine.pool import Pool
    from app.engine.protocol import Loaded
    from app.library.local import InstalledModel


def _setting(id: str) -> Any:
    """The option for a setting, with the bounds and the words that it has in the window."""
    field = next(field for field in GENERATION_FIELDS if field.id == id)
    metavar = "NUMBER" if field.kind in ("integer", "number") else None
    return typer.Option(min=field.low, max=field.high, help=f"{field.says}.", metavar=metavar)


def ask(
    question: Annotated[
        list[str] | None, typer.Argument(metavar="QUESTION", help="What to ask. Standard input is added below it.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("-m", "--model", metavar="MODEL", help="A model by name or folder.")
    ] = None,
    system: Annotated[
        str | None, typer.Option("-s", "--system", metavar="TEXT", help="How the model is to behave.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Begin, or go on, with a preset by its name.")
    ] = None,
    continued: Annotated[bool, typer.Option("-c", "--continue", help="Go on in the latest conversation.")] = False,
    insist: Annotated[bool, typer.Option("--insist", help="Load a model also where it is judged too big.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print text, token counts and timings as JSON.")] = False,
    temperature: Annotated[float | None, _setting("temperature")] = None,
    top_p: Annotated[float | None, _setting("top_p")] = None,
    top_k: Annotated[int | None, _setting("top_k")] = None,
    min_p: Annotated[float | None, _setting("min_p")] = None,
    repetition_penalty: Annotated[float | None, _setting("repetition_penalty")] = None,
    presence_penalty: Annotated[float | None, _setting("presence_penalty")] = None,
    frequency_penalty: Annotated[float | None, _setting("frequency_penalty")] = None,
    penalty_decay: Annotated[float | None, _setting("penalty_decay")] = None,
    seed: Annotated[int | None, _setting("seed")] = None,
    max_tokens: Annotated[int | None, _setting("max_tokens")] = None,
    thinking: Annotated[bool | None, _setting("thinking")] = None,
    context: Annotated[int | None, _setting("context")] = None,
    overflow: Annotated[Overflow | None, _setting("overflow")] = None,
) -> None:
    """Ask a question, and print the answer. Standard output is nothing else; the conversation is kept.

    The options from --temperature on say how it is answered, this once. For the rest the conversation decides, then
    what is set for its model, then for all models, then the model itself.
    """
    from app.answering import effective
    from app.engines import engines

    said = GenerationSettings(
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        penalty_decay=penalty_decay,
        seed=seed,
        max_tokens=max_tokens,
        context=context,
        overflow=overflow,
        thinking=thinking,
    )
    text, settings = _question(question or []), settings_in_force()
    with opened() as store:
        begun = _preset(store, preset)
        chosen = _model(store, begun.model if model is None and begun else model)
        conversation = _conversation(store, continued, system, begun, settings)
        own = effective(conversation.settings, store.model_settings(chosen.name), settings.generation)
        in_force = replace(settings, generation=said.over(own))
        pool = engines(paths(), lambda: in_force)
        if insist:
            pool.insist(chosen.path)
        answer = _Answer(store, conversation, chosen.path, chosen.name, in_force.generation, pool)
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(answer.write(text, (lambda piece: None) if as_json else _print_piece))
    if as_json and answer.written.finished:
        print_json(answer.facts())
    elif not as_json and not answer.written.answer.endswith("\n"):
        print()
    if answer.status != "complete":
        raise typer.Exit(130 if answer.status == "stopped" else 1)


def _preset(store: Store, name: str | None) -> Preset | None:
    """The preset of this name; None where none was named."""
    known = store.presets()
    found = next((preset for preset in known if preset.name == name), None)
    if name is not None and found is None:
        named = ", ".join(one_line(preset.name, 40) for preset in known)
        others = f"there are {named}" if named else "none has been kept yet"
        raise QuietlyError(f"There is no preset called {as_given(name)}: {others}.")
    return found


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


def _conversation(
    store: Store, continued: bool, system: str | None, preset: Preset | None, settings: Settings
) -> Conversation:
    """The conversation that is asked in: a new one, or the latest; what it is told and its preset are its own now."""
    told = preset.system_prompt if system is None and preset else system
    if not continued:
        return store.create(
            system_prompt=settings.system_prompt if told is None else told,
            settings=preset.settings if preset else None,
        )
    latest = store.latest()
    if latest is None:
        raise QuietlyError("There is no conversation to go on with yet: ask without -c first.")
    if told is not None:
        store.instruct(latest.id, told)
    if preset:
        store.tune(latest.id, preset.settings)
    return store.conversation(latest.id)


class _Answer:
    """One answer on the command line: asked, printed as it comes, and kept."""

    def __init__(
        self,
        store: Store,
        conversation: Conversation,
        checkpoint: Path,
        name: str,
        settings: GenerationSettings,
        pool: "Pool",
    ) -> None:
        from app.answering import Written

        self.written = Written()
        self.status: Outcome = "failed"
        self._loaded: Loaded | None = None
        self._store = store
        self._conversation = conversation
        self._checkpoint = checkpoint
        self._name = name
        self._settings = settings
        self._pool = pool

    async def write(self, question: str, show: Callable[[str], None]) -> None:
        """Ask and keep the answer as it comes. Ctrl+C stops it and keeps what there is; QuietlyError where there is
        none."""
        from app.answering import STORE_EVERY, note_of, prompt_of, reading_of, record, sampling_of, session_of, to_store
        from app.engine.protocol import Delta

        store, conversation, settings = self._store, self._conversation, self._settings
        asked = store.ask(conversation.id, conversation.head, question)
        messages = prompt_of(conversation.system_prompt, store.branch(conversation.id))
        answer = store.begin_answer(conversation.id, asked.id, self._name, to_store(settings))
        note, written = "", self.written
        stored = time.monotonic()
        turn = self._pool.ask(
            self._checkpoint,
            messages,
            session=session_of(conversation.id),
            sampling=sampling_of(settings),
            reading=reading_of(settings),
            max_tokens=settings.max_tokens,
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
            if getattr(error, "kind", "") == "too big":
                raise QuietlyError(f"{note} Or load it all the same with --insist.") from None
            raise
        except (OSError, asyncio.CancelledError):
            self.status = "stopped"  # by a reader who has gone, or a second Ctrl+C
            raise
        finally:
            self._loaded = turn.facts
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
            await self._pool.close()

    def facts(self) -> dict[str, Any]:
        """What `--json` prints; a context is null where nothing limits it."""
        from app.answering import context_of
        from model.config import UNBOUNDED

        finished, loaded = self.written.finished, self._loaded
        assert finished and loaded  # an answer that has ended was written by a model
        context = context_of(self._settings, loaded.context)
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
            "drafted_tokens": finished.drafted_tokens,
            "kept_tokens": finished.kept_tokens,
            "memory_bytes": finished.memory,
            "context": context if context < UNBOUNDED else None,
            "trained": loaded.trained,
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
        if chosen is not None and shelf.only_demonstrated:
            tell(f"{chosen.name}, a demonstration, answers: `quietly models get starter` brings one that knows more.")
    if chosen is None:
        raise QuietlyError(
            "No model is installed yet: `quietly models get starter` brings a tiny one, and `quietly` shows others."
        )
    if chosen.problem:
        raise QuietlyError(chosen.problem)
    return chosen
