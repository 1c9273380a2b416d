"""Two lists: the models of this machine and the conversations, newest first.

It is given rows of finished words and posts what was chosen; it knows no store and no engine. Names are data:
they are made safe here and never parsed as markup. Marks are signs, not colours alone.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import ClassVar, Literal

import msgspec
from rich.cells import cell_len, set_cell_size
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from app.chat.text import one_line

ModelState = Literal["idle", "loading", "loaded", "problem"]

_MARKS: dict[ModelState, tuple[str, str]] = {
    "idle": ("○", "$foreground 60%"),
    "loading": ("◌", "$text-accent"),
    "loaded": ("●", "$text-success"),
    "problem": ("!", "$text-error"),
}
_CHOSEN = "▸"
_WIDTH = 27
"""Cells of a row: the sidebar's width without its border, padding and scrollbar."""


class ModelRow(msgspec.Struct, frozen=True):
    """A model as the sidebar shows it; `key` comes back when it is chosen."""

    key: str
    name: str
    state: ModelState
    detail: str
    """Its size, or how far loading has come."""
    chosen: bool


class ConversationRow(msgspec.Struct, frozen=True):
    """A conversation as the sidebar shows it."""

    key: int
    title: str
    day: str
    writing: bool = False
    """An answer is being written in it."""


def _model_line(row: ModelRow) -> Content:
    sign, colour = _MARKS[row.state]
    detail = f" {row.detail}" if row.detail else ""
    room = _WIDTH - 4 - cell_len(detail)
    return Content.assemble(
        (_CHOSEN if row.chosen else " ", "$text-accent"),
        (sign, colour),
        " ",
        (set_cell_size(one_line(row.name, room), room), "bold" if row.chosen else ""),
        (detail, "$foreground 60%"),
    )


def _conversation_line(row: ConversationRow, current: bool) -> Content:
    room = _WIDTH - 2 - (2 if row.writing else 0)
    return Content.assemble(
        (_CHOSEN if current else " ", "$text-accent"),
        " ",
        (set_cell_size(one_line(row.title, room), room), "bold" if current else ""),
        (" …", "$text-accent") if row.writing else "",
    )


class _Rows(OptionList):
    """An option list whose cursor stays on its row when the rows are told anew."""

    marked: str | None = None
    """The option that the cursor stands on when the list is entered."""

    def on_focus(self) -> None:
        if self.highlighted is None:
            ids = [option.id for option in self.options]
            if self.marked in ids:
                self.highlighted = ids.index(self.marked)
            else:
                self.action_first()

    def tell(self, options: Iterable[Option], marked: str | None) -> None:
        told, self.marked = list(options), marked
        held = self.highlighted_option.id if self.highlighted_option is not None else None
        same = [option.id for option in told] == [option.id for option in self.options]
        if same:
            for index, option in enumerate(told):
                if option.prompt != self.options[index].prompt:
                    self.replace_option_prompt_at_index(index, option.prompt)
            return
        self.clear_options()
        self.add_options(told)
        ids = [option.id for option in told if not option.disabled]
        if held in ids and held is not None:
            self.highlighted = self.get_option_index(held)


class ModelList(_Rows):
    """The installed models; the last row adds another."""


class ConversationList(_Rows):
    """The conversations under the day they were last changed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("delete,backspace,d", "delete", "Delete", show=False, id="sidebar.delete"),
        Binding("r", "rename", "Rename", show=False, id="sidebar.rename"),
    ]

    def action_delete(self) -> None:
        if (key := self.under_cursor()) is not None:
            self.post_message(Sidebar.DeleteAsked(key))

    def action_rename(self) -> None:
        if (key := self.under_cursor()) is not None:
            self.post_message(Sidebar.RenameAsked(key))

    def under_cursor(self) -> int | None:
        option = self.highlighted_option
        return int(option.id) if option is not None and option.id is not None else None


class Sidebar(Vertical):
    """Models above, conversations below."""

    ADD = "add"

    class AddModel(Message):
        """The person wants another model."""

    class ModelChosen(Message):
        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    class _OnConversation(Message):
        def __init__(self, key: int) -> None:
            super().__init__()
            self.key = key

    class ConversationChosen(_OnConversation): ...

    class RenameAsked(_OnConversation): ...

    class DeleteAsked(_OnConversation): ...

    def __init__(
        self, conversations: Sequence[ConversationRow] = (), current: int | None = None, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._models = ModelList(id="models", compact=True, markup=False)
        self._conversations = ConversationList(id="conversations", compact=True, markup=False)
        self._nothing = Static("Nothing yet", id="no-conversations", markup=False)
        # The list is filled before the first frame, so that it is on it.
        self.show_conversations(conversations, current)

    def compose(self) -> ComposeResult:
        yield Static("Models", classes="heading", markup=False)
        yield self._models
        yield Static("Conversations", classes="heading", markup=False)
        yield self._nothing
        yield self._conversations

    def show_models(self, rows: Sequence[ModelRow]) -> None:
        """Replace the models."""
        options = [Option(_model_line(row), id=row.key) for row in rows]
        add = Option(Content.styled("  + add a model", "$foreground 60%"), id=self.ADD)
        self._models.tell([*options, add], next((row.key for row in rows if row.chosen), None))

    def show_conversations(self, rows: Sequence[ConversationRow], current: int | None) -> None:
        """Replace the conversations, given newest first; `current` is marked."""
        options: list[Option] = []
        for day, members in groupby(rows, key=lambda row: row.day):
            options.append(Option(Content.styled(day, "$foreground 60% italic"), disabled=True))
            options.extend(Option(_conversation_line(row, row.key == current), id=str(row.key)) for row in members)
        self._conversations.tell(options, None if current is None else str(current))
        self._conversations.display = bool(options)
        self._nothing.display = not options

    def focus_conversations(self) -> None:
        """Put the cursor into the conversations."""
        (self._conversations if self._conversations.display else self._models).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option_id is None:
            return
        if event.option_list is self._conversations:
            self.post_message(self.ConversationChosen(int(event.option_id)))
        elif event.option_id == self.ADD:
            self.post_message(self.AddModel())
        else:
            self.post_message(self.ModelChosen(event.option_id))
