"""What the window says about how things stand: rows, entries, the status line and the welcome, as finished words.

Pure functions over the store, the shelf and the conductor; they change nothing and know no screen.
"""

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING

from textual.content import Content

from app import words
from app.chat.store import Conversation, Message, Outcome
from app.chat.text import one_line
from app.tui.widgets.sidebar import ConversationRow, ModelRow, ModelState
from app.tui.widgets.status import Facts

if TYPE_CHECKING:
    from app.conducting.lives import Live
    from app.conducting.stores import Stores
    from app.conducting.turns import Conductor
    from app.engine.protocol import Loaded
    from app.library.downloads import Download
    from app.library.local import InstalledModel
    from app.shelf import Shelf
    from app.tui.widgets.message import Entry

UNTITLED = "Untitled"
READING_KEYS = "E edit · R again · C copy · Enter all · Ctrl+T write"
_ENDINGS = {"stopped": "stopped", "interrupted": "interrupted", "failed": "There is no answer."}


# --- the transcript ---------------------------------------------------------------------------------------


def entry_of(message: Message, siblings: Sequence[int] = ()) -> "Entry":
    """A stored message as the transcript shows it; `siblings` are the ids it may be switched among."""
    from app.tui.widgets.message import Entry

    which = place(message.id, siblings)
    if message.role == "user":
        attached = tuple(
            f"{one_line(one.name, 60)} · {words.size(len(one.text.encode()))}" for one in message.attachments
        )
        return Entry(message.id, "user", "You", message.content, place=which, attachments=attached)
    return Entry(
        message.id,
        "assistant",
        one_line(message.model or "Answer", 60),
        message.content,
        message.reasoning,
        note=message.note or _ENDINGS.get(message.status, ""),
        place=which,
        edited=message.edited,
        wrong=_wrong(message.status, message.note),
    )


def place(message: int, siblings: Sequence[int]) -> tuple[int, int]:
    """Which of how many `siblings` a message is, counted from 1."""
    return (siblings.index(message) + 1, len(siblings)) if message in siblings else (1, 1)


def ended_entry(live: "Live", status: Outcome, note: str, which: tuple[int, int]) -> "Entry":
    """An answer that has just ended, and could not be stored."""
    from app.tui.widgets.message import Entry

    return Entry(
        live.message,
        "assistant",
        one_line(live.model.name, 60),
        live.written.answer,
        live.written.reasoning,
        note=note or _ENDINGS.get(status, ""),
        place=which,
        wrong=_wrong(status, note),
    )


def _wrong(status: str, note: str) -> bool:
    """Whether an answer's end is a failure, rather than a person's wish or a limit."""
    return status == "failed" or (status == "interrupted" and bool(note))


def title(record: Conversation | None, temporary: bool, tuned: bool) -> Content:
    """The line above the conversation; `tuned` is one that is answered in a way of its own."""
    named = one_line(record.title, 200) if record is not None else ""
    named = named or ("New temporary chat" if temporary else "New conversation")
    pinned = "◆ " if record is not None and record.pinned else ""
    kept = Content.styled("  not stored", "$text-warning") if temporary else Content("")
    own = Content.styled("  tuned", "$foreground 60%") if tuned else Content("")
    return Content.assemble(pinned, named, kept, own)


# --- the sidebar ------------------------------------------------------------------------------------------


def conversation_rows(stores: "Stores", is_written: Callable[[int], bool], today: date) -> list[ConversationRow]:
    """The conversations, newest first."""
    return [
        ConversationRow(
            record.id,
            record.title or UNTITLED,
            words.day(record.updated, today),
            writing=is_written(record.id),
            pinned=record.pinned,
            temporary=stores.is_temporary(record.id),
        )
        for record in stores.conversations()
    ]


def model_rows(shelf: "Shelf", conductor: "Conductor", coming: "Sequence[Download]") -> list[ModelRow]:
    """The models that are on their way, and the installed ones."""
    fetched = {one.repo for one in coming}
    here = [model for model in shelf.models if model.unfinished is None or model.repo not in fetched]
    return [*map(_download_row, coming), *(_model_row(model, shelf, conductor) for model in here)]


def _download_row(download: "Download") -> ModelRow:
    from app.tui.stock import STATES, download_key, pace, progress

    state = STATES[download.state]
    return ModelRow(download_key(download), download.name, state, progress(download), False, pace(download))


def _model_row(model: "InstalledModel", shelf: "Shelf", conductor: "Conductor") -> ModelRow:
    loading = conductor.loading(model.path)
    detail = words.percent(loading.done, loading.total) if loading is not None else words.size(model.size)
    chosen = shelf.chosen is not None and model.path == shelf.chosen.path
    group = "Demonstration" if model.source == "demonstration" else ""
    return ModelRow(str(model.path), model.name, model_state(model, conductor), detail, chosen, group=group)


def model_state(model: "InstalledModel", conductor: "Conductor") -> ModelState:
    """How an installed model stands."""
    if model.problem is not None:
        return "problem"
    if conductor.loading(model.path) is not None:
        return "loading"
    return "loaded" if conductor.loaded(model.path) is not None else "idle"


# --- the status line --------------------------------------------------------------------------------------


def measured(branch: Sequence[Message]) -> Message | None:
    """The last answer of `branch` that the engine counted."""
    return next((message for message in reversed(branch) if message.prompt_tokens), None)


def status(
    model: "InstalledModel | None",
    conductor: "Conductor",
    conversation: int | None,
    last: Message | None,
    looked: bool,
    reading: bool = False,
) -> Facts:
    """How things stand: `model` answers next, `last` is what was measured last, `looked` for models already; while
    `reading`, the keys that act on messages stand in the place of what can wait."""
    live = conductor.live(conversation)
    facts = conductor.loaded(model.path) if model is not None else None
    activity = ""
    if live is not None:
        stopping = live.stopping and not live.over
        done, total = live.written.done, live.written.total
        activity = "stopping" if stopping else words.activity(live.stage, done, total)
    elif model is not None and (loading := conductor.loading(model.path)) is not None:
        activity = words.activity(loading.stage, loading.done, loading.total)
    used = live.written.prompt_tokens if live is not None else _used(last)
    available, trained = _available(facts, model, live.begun if live is not None else last)
    name = one_line(model.name, 32) if model is not None else "no model" if looked else "…"
    return Facts(
        model=f"{'●' if facts is not None else '○'} {name}",
        device=facts.device if facts is not None and not reading else "",
        context=words.context(used, available, trained),
        context_short="" if trained is None else words.context(used, None, 0),
        activity=activity,
        speed=words.speed(last.completion_tokens, last.decode_seconds, last.first_token_seconds)
        if last is not None and live is None and not reading
        else "",
        memory=words.memory(facts.memory) if facts is not None and not reading else "",
        hint=READING_KEYS if reading else "F1 help",
    )


def _available(
    facts: "Loaded | None", model: "InstalledModel | None", answer: Message | None
) -> tuple[int | None, int | None]:
    """Tokens of context that there are for `answer` and, until something else is chosen, for the next one; where
    nothing limits them, those that the model was trained on instead."""
    if model is None:
        return None, None
    holds, trained = (facts.context, facts.trained) if facts is not None else (model.holds, model.context)
    if holds is None:
        return None, None
    from app.answering import context_of, settings_of
    from model.config import UNBOUNDED

    available = context_of(settings_of(answer), holds) if answer is not None else holds
    return (available, None) if available < UNBOUNDED else (None, trained or 0)


def _used(answer: Message | None) -> int | None:
    """Tokens of context in use after `answer`."""
    if answer is None or answer.prompt_tokens is None:
        return None
    return answer.prompt_tokens + (answer.completion_tokens or 0)


# --- the empty page ---------------------------------------------------------------------------------------


def welcome(shelf: "Shelf", looked: bool, temporary: bool = False) -> Content:
    """What stands where nothing has been said yet."""
    model = shelf.chosen
    if model is not None and model.source == "demonstration":
        alone = all(other.source == "demonstration" for other in shelf.models)
        more = "/add brings the starter, which knows more." if alone else "Those that are no demonstrations know more."
        answering = Content.assemble(
            (one_line(model.name, 40), "bold"),
            ", a demonstration, answers here:\ntiny, and at home in a kitchen garden alone.\n"
            f"Ctrl+O leads to others, built otherwise.\n{more}",
        )
    elif model is not None:
        answering = Content.assemble((one_line(model.name, 40), "bold"), " answers here, on this machine.")
    elif looked:
        answering = Content("There is no model yet. Type /add to bring one.")
    else:
        answering = Content(" ")
    if temporary:
        kept = "This chat lives in memory alone: nothing of it is written to disk, and quitting ends it."
        answering = Content.assemble(answering, "\n\n", (kept, "$text-warning"))
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


# --- what is wrong with the settings ----------------------------------------------------------------------


def mistakes(sentences: Sequence[str], width: int, rows: int) -> str:
    """As many of the `sentences` as fit into `rows` rows of `width` cells, each whole and the first one always; where
    they are not all of them, with the way to the rest."""
    for count in range(len(sentences), 0, -1):
        more = len(sentences) - count
        rest = [f"And {more:,} more: /settings has them under Mistakes…"] if more else []
        said = "\n\n".join([*sentences[:count], *rest])
        if len(Content(said).wrap(width)) <= rows:
            break
    return said
