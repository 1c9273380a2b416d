"""A form: fields by groups, one row each, made from their description.

It is dismissed with what was changed, by field, or with None where the person left it. It knows neither what the
fields are for nor where their values are kept: what holds where nothing is chosen, what fits, and what is settled
elsewhere is told to it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.dom import DOMNode
from textual.widget import Widget
from textual.widgets import Button, Static

from app.assets import asset
from app.chat.text import one_line
from app.fields import Field, expected, fits
from app.tui.screens.guarded import GuardedScreen
from app.tui.widgets.controls import Changed, Choice, Line, Settled, Text
from app.tui.widgets.keys_line import KeysLine

Changes = dict[str, object | None]
"""By field the value chosen now; None is a choice taken back."""
NARROW = 80
"""Columns below which the buttons stand closer."""
WIDE = 150
"""Columns from which on every row says what it does; in fewer only the foot does, of the row in use."""


def misfit(field: Field, value: object) -> str:
    """What is wrong with `value`, in one sentence; nothing where it fits."""
    if fits(field, value):
        return ""
    return f"{field.label} must be {expected(field)}, not {one_line(str(value), 30) or 'empty'}."


class _Row(Horizontal):
    """A field: its label, its control, what it does."""

    def __init__(self, field: Field, value: object | None, unset: str, locked: str) -> None:
        super().__init__(classes=f"row -{field.kind}")
        self.field, self.initial = field, value
        self.control = Settled(field, locked) if locked else _control(field)
        self.control.put(value, unset)
        self._label = Static("", classes="label", markup=False)
        self.tell("")

    def compose(self) -> ComposeResult:
        yield self._label
        yield self.control
        yield Static(Content(self.field.unit), classes="unit" if self.field.unit else "unit -none")
        yield Static(Content(self.field.says), classes="says")

    @property
    def is_changed(self) -> bool:
        return self.control.held != self.initial

    def tell(self, wrong: str) -> None:
        """Mark it as changed, or as wrong."""
        sign = " !" if wrong else " *" if self.is_changed else ""
        self._label.update(Content(f"{self.field.label}{sign}"))
        self.set_class(bool(wrong), "-wrong")


class Form(GuardedScreen[Changes | None]):
    """Fields to fill in."""

    CSS_PATH = asset("styles/form.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", show=False, id="form.leave"),
        Binding("ctrl+s", "save", "Save", show=False, id="form.save"),
        Binding("up,left", "app.focus_previous", "Row above", show=False, id="form.up"),
        Binding("down,right", "app.focus_next", "Row below", show=False, id="form.down"),
    ]

    def __init__(
        self,
        title: str,
        fields: Sequence[Field],
        values: Mapping[str, object | None],
        *,
        unset: Callable[[str], str] = lambda _: "",
        check: Callable[[Field, object], str] = misfit,
        locked: Mapping[str, str] | None = None,
        yes: str = "Save",
    ) -> None:
        """`values` by field, None or left out where nothing is chosen; `unset` says what holds there. `check` gives a
        sentence where a value does not fit; `locked` says why a field cannot be changed here; `yes` names the button
        that takes the form."""
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (NARROW, "-middle"), (WIDE, "-wide")]
        self._title, self._yes = title, yes
        self._unset, self._check = unset, check
        self._fields, self._values, self._locked = fields, values, locked or {}
        self._rows: dict[str, _Row] = {}
        """There once the form is on the screen."""

    def compose(self) -> ComposeResult:
        with Vertical(id="form"):
            yield Static(Content(one_line(self._title, 200)), id="title")
            with Vertical(id="rows"):  # no VerticalScroll, which would take the arrow keys for itself
                group = self._title
                for field in self._fields:
                    if field.group != group:
                        group = field.group
                        yield Static(Content(group), classes="group")
                    value, locked = self._values.get(field.id), self._locked.get(field.id, "")
                    self._rows[field.id] = row = _Row(field, value, self._unset(field.id), locked)
                    yield row
            yield Static("", id="about", markup=False)
            with Horizontal(id="buttons"):
                yield Button(self._yes, id="save", variant="primary", compact=True)
                yield from self.further()
                yield Button("Leave", id="leave", compact=True)
                yield KeysLine(f"Ctrl+S {self._yes.lower()}", "Esc leave", id="keys")

    def further(self) -> Iterable[Widget]:
        """What else stands at the foot."""
        return ()

    # --- the values ---

    def held(self) -> Changes | None:
        """Everything as it stands now; None where something of it does not fit, which is then said."""
        for row in self._rows.values():
            if self._wrong(row):
                row.control.focus()
                self._tell(row)
                return None
        return {id: row.control.held for id, row in self._rows.items()}

    def fill(self, values: Mapping[str, object | None]) -> None:
        """Put other values into the fields named, as if the person had."""
        for id, value in values.items():
            row = self._rows[id]
            row.control.put(value, self._unset(id))
            row.tell(self._wrong(row))

    def _wrong(self, row: _Row) -> str:
        held = row.control.held
        return "" if held is None or not row.is_changed else self._check(row.field, held)

    @property
    def would_lose(self) -> bool:
        return any(row.is_changed for row in self._rows.values())

    @property
    def _first(self) -> _Row | None:
        """The first that can be changed."""
        return next((row for row in self._rows.values() if row.control.can_focus), None)

    # --- saying how it stands ---

    def _row_of(self, widget: DOMNode | None) -> _Row | None:
        return next((row for row in self._rows.values() if row.control is widget), None)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if (row := self._row_of(event.widget)) is not None:
            self._tell(row)
            if row is self._first:
                self.query_one("#rows").scroll_home(animate=False)  # to the heading above it
        else:
            self._say("", "")

    def on_changed(self, event: Changed) -> None:
        if (row := self._row_of(event.control)) is not None:
            self._tell(row)

    def _tell(self, row: _Row) -> None:
        wrong = self._wrong(row)
        row.tell(wrong)
        self._say(row.field.says, wrong)

    def _say(self, words: str, wrong: str) -> None:
        about = self.query_one("#about", Static)
        about.set_class(bool(wrong), "-wrong")
        about.update(Content(f"! {wrong}" if wrong else words))

    # --- the end ---

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "save":
            self.action_save()
        elif event.button.id == "leave":
            self.action_leave()

    def action_save(self) -> None:
        # Behind the letters that are still on their way to where they were typed.
        (self.focused or self).call_later(self._save)

    def _save(self) -> None:
        if self.is_active and (held := self.held()) is not None:
            self.dismiss({id: value for id, value in held.items() if self._rows[id].is_changed})

    def action_leave(self) -> None:
        (self.focused or self).call_later(self._leave)

    def _leave(self) -> None:
        if not self.is_active:
            return
        if not self.would_lose:
            self.dismiss(None)
            return
        from app.tui.screens.asking import Confirm

        def answered(yes: bool | None) -> None:
            if yes:
                self.dismiss(None)

        question = Confirm("Leave without saving?", "Leave", "What you changed here is then as it was.")
        self.app.push_screen(question, answered)


def _control(field: Field) -> Choice | Line | Text:
    match field.kind:
        case "switch" | "choice":
            return Choice(field)
        case "text":
            return Text(field)
        case _:
            return Line(field)
