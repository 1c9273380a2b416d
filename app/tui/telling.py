"""What the window says about how things stand: rows, entries, the status line and the welcome, as finished words.

Pure functions over the store, the shelf and the conductor; they change nothing and know no screen.
"""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from textual.content import Content

from app.chat.store import Message, Outcome, Store
from app.chat.text import one_line
from app.shelf import Shelf
from app.tui import words
from app.tui.turns import Conductor, Live
from app.tui.widgets.sidebar import ConversationRow, ModelRow, ModelState
from app.tui.widgets.status import Facts

if TYPE_CHECKING:
    from app.library.local import InstalledModel
    from app.tui.widgets.message import Entry

UNTITLED = "Untitled"
_ENDINGS = {"stopped": "stopped", "interrupted": "interrupted", "failed": "There is no answer."}


# --- the transcript ---------------------------------------------------------------------------------------


def entry_of(message: Message) -> "Entry":
    """A stored message as the transcript shows it."""
    from app.tui.widgets.message import Entry

    if message.role == "user":
        return Entry(message.id, "user", "You", message.content)
    heading = one_line(message.model or "Answer", 60)
    note = message.note or _ENDINGS.get(message.status, "")
    return Entry(message.id, "assistant", heading, message.content, message.reasoning, note)


def ended_entry(live: Live, status: Outcome, note: str) -> "Entry":
    """An answer that has just ended, whether or not it could be stored."""
    from app.tui.widgets.message import Entry

    heading = one_line(live.model.name, 60)
    return Entry(live.message, "assistant", heading, live.answer, live.reasoning, note or _ENDINGS.get(status, ""))


# --- the sidebar ------------------------------------------------------------------------------------------


def conversation_rows(store: Store, conductor: Conductor, today: date) -> list[ConversationRow]:
    """The conversations, newest first."""
    return [
        ConversationRow(
            record.id,
            record.title or UNTITLED,
            words.day(record.updated, today),
            conductor.live(record.id) is not None,
        )
        for record in store.conversations()
    ]


def model_rows(shelf: Shelf, conductor: Conductor) -> list[ModelRow]:
    """The installed models."""
    return [_model_row(model, shelf, conductor) for model in shelf.models]


def _model_row(model: "InstalledModel", shelf: Shelf, conductor: Conductor) -> ModelRow:
    state: ModelState = "idle"
    detail = words.size(model.size)
    if model.problem is not None:
        state = "problem"
    elif (loading := conductor.loading(model.path)) is not None:
        state, detail = "loading", words.percent(loading.done, loading.total)
    elif conductor.loaded(model.path) is not None:
        state = "loaded"
    chosen = shelf.chosen is not None and model.path == shelf.chosen.path
    return ModelRow(str(model.path), model.name, state, detail, chosen)


# --- the status line --------------------------------------------------------------------------------------


def measured(branch: Sequence[Message]) -> Message | None:
    """The last answer of `branch` that the engine counted."""
    return next((message for message in reversed(branch) if message.prompt_tokens), None)


def status(
    model: "InstalledModel | None", conductor: Conductor, conversation: int | None, last: Message | None, looked: bool
) -> Facts:
    """How things stand: `model` answers next, `last` is what was measured last, `looked` for models already."""
    live = conductor.live(conversation)
    facts = conductor.loaded(model.path) if model is not None else None
    activity = ""
    if live is not None:
        stopping = live.stopping and not live.over
        activity = "stopping" if stopping else words.activity(live.stage, live.done, live.total)
    elif model is not None and (loading := conductor.loading(model.path)) is not None:
        activity = words.activity(loading.stage, loading.done, loading.total)
    used = live.prompt_tokens if live is not None else _used(last)
    available = facts.context if facts is not None else model.context if model is not None else None
    name = one_line(model.name, 32) if model is not None else "no model" if looked else "…"
    return Facts(
        model=f"{'●' if facts is not None else '○'} {name}",
        device=facts.device if facts is not None else "",
        context=words.context(used, available),
        activity=activity,
        speed=words.speed(last.completion_tokens, last.decode_seconds, last.first_token_seconds)
        if last is not None and live is None
        else "",
        hint="F1 help",
    )


def _used(answer: Message | None) -> int | None:
    """Tokens of context in use after `answer`."""
    if answer is None or answer.prompt_tokens is None:
        return None
    return answer.prompt_tokens + (answer.completion_tokens or 0)


# --- the empty page ---------------------------------------------------------------------------------------


def welcome(model: "InstalledModel | None", looked: bool) -> Content:
    """What stands where nothing has been said yet."""
    if model is not None:
        answering = Content.assemble((one_line(model.name, 40), "bold"), " answers here, on this machine.")
    elif looked:
        answering = Content("There is no model yet. Type /add to bring one.")
    else:
        answering = Content(" ")
    keys = Content.assemble(
        ("Ctrl+P", "$text-accent"),
        " commands   ",
        ("Ctrl+O", "$text-accent"),
        " models   ",
        ("F1", "$text-accent"),
        " help",
    )
    return Content("\n\n").join(
        [Content.styled("Quietly", "bold $text-primary"), answering, keys.stylize_before("$foreground 60%")]
    )
