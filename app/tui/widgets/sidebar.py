"""Two lists: the models of this machine and the conversations, pinned ones first, then newest first.

It is given rows of finished words and posts what was chosen; it knows no store and no engine. Names are data:
they are made safe where they are drawn and never parsed as markup. Marks are signs, not colours alone.
"""

import unicodedata
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from app.chat.text import visible
from app.tui.widgets.model_rows import ModelRows
from app.tui.widgets.rows import Row, Rows

if TYPE_CHECKING:
    from textual.widgets import Input

    from app.tui.widgets.filter_line import FilterLine

ModelState = Literal["idle", "loading", "loaded", "problem", "waiting", "coming", "paused"]

SIGNS: dict[ModelState, tuple[str, str]] = {
    "idle": ("○", "$foreground 60%"),
    "loading": ("◌", "$text-accent"),
    "loaded": ("●", "$text-success"),
    "problem": ("!", "$text-error"),
    "waiting": ("…", "$foreground 60%"),
    "coming": ("↓", "$text-accent"),
    "paused": ("‖", "$foreground 60%"),
}
_PINNED = (" ◆", "$text-accent")
_WRITING = (" ✎", "$text-accent")
_TEMPORARY = (" not stored", "")
PINNED = "Pinned"


class ModelRow(msgspec.Struct, frozen=True):
    """A model as the sidebar shows it; `key` comes back when it is chosen."""

    key: str
    name: str
    state: ModelState
    detail: str
    """Its size, or how far loading has come."""
    chosen: bool
    below: str = ""
    """What stands in a line of its own below it."""
    group: str = ""
    """The heading it stands under, with those beside it that have the same; empty for none."""


class ConversationRow(msgspec.Struct, frozen=True):
    """A conversation as the sidebar shows it."""

    key: int
    title: str
    day: str
    writing: bool = False
    """An answer is being written in it."""
    pinned: bool = False
    temporary: bool = False
    """It lives in memory alone."""


def folded(title: str) -> str:
    """`title` as it is compared: safe, without regard to case, to width or to how accents are composed."""
    # Folding case can take a text out of its normal form.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible(title)).casefold())


def matching(rows: Sequence[ConversationRow], query: str) -> list[ConversationRow]:
    """Those of `rows`, in their order, whose title contains `query`."""
    sought = folded(query.strip())
    return [row for row in rows if sought in folded(row.title)]


def _model_row(row: ModelRow) -> Row:
    detail = ((f" {row.detail}", ""),) if row.detail else ()
    return Row(row.key, row.name, SIGNS[row.state], detail, row.chosen)


def _conversation_row(row: ConversationRow, current: int | None) -> Row:
    after = (_TEMPORARY,) if row.temporary else ()
    if row.pinned:
        after = (*after, _PINNED)
    if row.writing:
        after = (*after, _WRITING)
    return Row(str(row.key), row.title, after=after, marked=row.key == current)


class ConversationList(Rows):
    """The conversations under the day they were last changed; pinned ones on top."""

    TAIL = "⋯"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("delete,backspace,d", "ask('delete')", "Delete", show=False, id="sidebar.delete"),
        Binding("r", "ask('rename')", "Rename", show=False, id="sidebar.rename"),
        Binding("p", "ask('pin')", "Pin", show=False, id="sidebar.pin"),
        Binding("m", "ask('menu')", "Everything else", show=False, id="sidebar.menu"),
    ]

    def action_ask(self, what: str) -> None:
        """Post what is asked of the conversation under the cursor."""
        key = self.under_cursor()
        if key is not None:
            kinds: dict[str, type[Sidebar._OnConversation]] = {
                "delete": Sidebar.DeleteAsked,
                "rename": Sidebar.RenameAsked,
                "pin": Sidebar.PinAsked,
                "menu": Sidebar.MenuAsked,
            }
            self.post_message(kinds[what](int(key)))

    def clicked_aside(self) -> None:
        self.action_ask("menu")


class Sidebar(Vertical):
    """Models above, conversations below."""

    ADD = "add"
    BINDINGS: ClassVar[list[BindingType]] = [
        # Acted on before the next key is looked at: what is typed right behind it belongs to the filter.
        Binding("slash", "filter", "Find by title", show=False, priority=True, id="sidebar.filter"),
        Binding("escape", "leave_filter", "Show all", show=False, id="sidebar.leave_filter"),
    ]

    class AddModel(Message):
        """The person wants another model."""

    class ModelChosen(Message):
        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    class ModelAsked(ModelChosen):
        """Something else than using it: `act` is the end of a binding's id."""

        def __init__(self, act: str, key: str) -> None:
            super().__init__(key)
            self.act = act

    class _OnConversation(Message):
        def __init__(self, key: int) -> None:
            super().__init__()
            self.key = key

    class ConversationChosen(_OnConversation): ...

    class RenameAsked(_OnConversation): ...

    class DeleteAsked(_OnConversation): ...

    class PinAsked(_OnConversation):
        """Pin it, or no longer."""

    class MenuAsked(_OnConversation):
        """Everything that can be done with it."""

    def __init__(
        self, conversations: Sequence[ConversationRow] = (), current: int | None = None, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._all: Sequence[ConversationRow] = ()
        self._current: int | None = None
        self._models = ModelRows(id="models")
        self._conversations = ConversationList(id="conversations")
        self._nothing = Static("", id="no-conversations", markup=False)
        self._sought = ""
        # The list is filled before the first frame, so that it is on it.
        self.show_conversations(conversations, current)

    @cached_property
    def _filter(self) -> "FilterLine":
        """Hidden until it is wanted; made when it is first asked for."""
        from app.tui.widgets.filter_line import FilterLine

        line = FilterLine(placeholder="Find by title", id="filter", compact=True, max_length=200)
        line.display = False
        return line

    def compose(self) -> ComposeResult:
        yield Static("Models", classes="heading", markup=False)
        yield self._models
        yield Static("Conversations", classes="heading", markup=False)
        yield self._nothing
        yield self._conversations

    def on_mount(self) -> None:
        # A line that nobody has asked for must not keep the first frame waiting.
        self.call_after_refresh(self._fill)

    async def _fill(self) -> None:
        if not self._filter.is_attached:
            await self.mount(self._filter, before=self._nothing)

    def show_models(self, rows: Sequence[ModelRow], said: str = "") -> None:
        """Replace the models; `said` is a few words about those that are elsewhere."""
        below = [Row(None, said)] if said else []
        told: list[Row] = []
        for group, members in groupby(rows, key=lambda row: row.group):
            if group:
                told.append(Row(None, group))
            for row in members:
                told.append(_model_row(row))
                if row.below:
                    told.append(Row(None, f"   {row.below}"))
        self._models.tell([*told, Row(self.ADD, "add a model", ("+", "$foreground 60%")), *below])

    def show_conversations(self, rows: Sequence[ConversationRow], current: int | None) -> None:
        """Replace the conversations, given newest first; `current` is marked."""
        self._all, self._current = rows, current
        self._narrow()

    def _narrow(self) -> None:
        """Show those conversations that the filter lets through."""
        shown = matching(self._all, self._sought) if self._sought else self._all
        told: list[Row] = []
        if pinned := [_conversation_row(row, self._current) for row in shown if row.pinned]:
            told = [Row(None, PINNED), *pinned]
        for day, members in groupby((row for row in shown if not row.pinned), key=lambda row: row.day):
            told.append(Row(None, day))
            told.extend(_conversation_row(row, self._current) for row in members)
        self._conversations.tell(told)
        self._conversations.display = bool(told)
        self._nothing.display = not told
        if not told:
            self._nothing.update(Content("No title matches" if self._sought else "Nothing yet"))

    # --- where the cursor is ---

    def focus_conversations(self) -> None:
        """Put the cursor into the conversations."""
        (self._conversations if self._conversations.display else self._models).focus()

    def focus_models(self) -> None:
        """Put the cursor into the models."""
        self._models.focus()

    # --- the filter ---

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "filter":
            return not self._filter.has_focus  # where a slash is a letter
        return action != "leave_filter" or self._filter.display

    async def action_filter(self) -> None:
        if self._all:
            await self._fill()
            self._filter.display = True
            self.screen.set_focus(self._filter)

    def action_leave_filter(self) -> None:
        self._end_filter()
        self.focus_conversations()

    def _end_filter(self) -> None:
        self._filter.value = self._sought = ""
        self._filter.display = False
        self._narrow()

    def on_input_changed(self, event: "Input.Changed") -> None:
        event.stop()
        self._sought = self._filter.value.strip()
        self._narrow()
        if self._sought:
            self._conversations.reset()

    def on_input_submitted(self, event: "Input.Submitted") -> None:
        event.stop()
        self._conversations.action_choose()

    def on_filter_line_moved(self, event: "FilterLine.Moved") -> None:
        event.stop()
        self._conversations.action_move(event.step)

    def on_descendant_focus(self) -> None:
        self._conversations.led = self._filter.has_focus

    def on_descendant_blur(self) -> None:
        # Told late: by now the filter may be what has the focus.
        self._conversations.led = self._filter.has_focus
        if not self._filter.has_focus and not self._filter.value.strip():
            self._filter.display = False

    def on_model_rows_asked(self, event: ModelRows.Asked) -> None:
        event.stop()
        if event.key != self.ADD:
            self.post_message(self.ModelAsked(event.act, event.key))

    def on_rows_chosen(self, event: Rows.Chosen) -> None:
        event.stop()
        if event.rows is self._conversations:
            self.post_message(self.ConversationChosen(int(event.key)))
            if self._filter.display:
                self._end_filter()
        elif event.key == self.ADD:
            self.post_message(self.AddModel())
        else:
            self.post_message(self.ModelChosen(event.key))
