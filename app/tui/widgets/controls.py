"""The controls of a form: one to choose with, one for a line, one for long text.

Each has what it holds as `held`: the value of its field, None for nothing chosen, or text that is no such value. `put`
lets another value stand there; `unset` names what holds where nothing is chosen. They know neither the form nor what
their value is for. Values may be anybody's text: they are shown as text, never as markup.
"""

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static, TextArea

from app.chat.text import one_line, visible
from app.fields import Field, shown
from app.tui.widgets.line_input import LineInput

_LISTED = 3
"""Values from which on a menu lists them."""


class Changed(Message):
    """What stands in `control` is another value now."""

    def __init__(self, control: "Choice | Line | Text") -> None:
        super().__init__()
        self._control = control

    @property
    def control(self) -> "Choice | Line | Text":
        return self._control


class Settled(Static):
    """A value that cannot be changed here, and why."""

    def __init__(self, field: Field, why: str) -> None:
        super().__init__("", markup=False, classes="control")
        self._field, self._why = field, why
        self._value: object | None = None

    @property
    def held(self) -> object | None:
        return self._value

    def put(self, value: object | None, unset: str) -> None:
        self._value = value
        said = "" if value is None else one_line(shown(self._field, value))
        self.update(Content(" · ".join(part for part in (said, self._why) if part)))


class Choice(Static, can_focus=True):
    """One of a few values: stepped through by the arrows and the space bar, or taken from a menu."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "Value before", show=False, id="choice.previous"),
        Binding("right,space", "step(1)", "Next value", show=False, id="choice.next"),
        Binding("enter", "list", "List the values", show=False, id="choice.list"),
        Binding("delete,backspace", "unset", "Choose nothing", show=False, id="choice.unset"),
    ]

    def __init__(self, field: Field) -> None:
        super().__init__("", markup=False, classes="control")
        values: tuple[tuple[object, str], ...] = field.choices
        if field.kind == "switch":
            values = ((True, "on"), (False, "off"))
        self._label, self._optional = field.label, field.optional
        self._values: tuple[tuple[object | None, str], ...] = ((None, ""), *values) if field.optional else values
        self._at = 0
        self._unset = ""

    @property
    def held(self) -> object | None:
        return self._values[self._at][0]

    def put(self, value: object | None, unset: str) -> None:
        if all(value != known for known, _ in self._values) and value is not None:
            self._values += ((value, one_line(str(value))),)  # none of them, and yet what holds
        self._unset = one_line(unset, 100)
        self._at = next((at for at, (known, _) in enumerate(self._values) if known == value), 0)
        self._tell()

    def _tell(self) -> None:
        value, label = self._values[self._at]
        said = Content.styled(self._unset, "italic") if value is None else Content(label)
        self.update(Content.assemble("‹ ", said, " ›"))

    def _take(self, at: int) -> None:
        self._at = at
        self._tell()
        self.post_message(Changed(self))

    def action_step(self, step: int) -> None:
        self._take((self._at + step) % len(self._values))

    def action_unset(self) -> None:
        if self._optional:
            self._take(0)

    def action_list(self) -> None:
        """Let the person take one from a menu; of two it is the other."""
        if len(self._values) < _LISTED:
            self.action_step(1)
            return
        from app.tui.screens.menu import Menu, MenuRow

        rows = [MenuRow(str(at), label or f"Not chosen: {self._unset}") for at, (_, label) in enumerate(self._values)]

        def chosen(at: str | None) -> None:
            if at is not None:
                self._take(int(at))

        self.app.push_screen(Menu(self._label, rows, self.region.offset, self._at), chosen)

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.action_list()


class Line(LineInput):
    """A number, or a line of text. Empty it is nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "app.focus_next", "Next", show=False, id="line.next"),
    ]

    def __init__(self, field: Field) -> None:
        super().__init__(compact=True, select_on_focus=False, max_length=1000, classes="control")
        self._kind = field.kind
        self._put: tuple[object | None, str] = (None, "")
        """What was put here, and how it was shown: text that could not be shown as it is stays as it is."""

    @property
    def held(self) -> object | None:
        value, text = self._put
        if self.value == text:
            return value
        if not (typed := self.value.strip()):
            return None
        return _number(typed, self._kind) if self._kind in ("integer", "number") else typed

    def put(self, value: object | None, unset: str) -> None:
        text = "" if value is None else f"{value:.10g}" if isinstance(value, float) else one_line(str(value), 1000)
        self.placeholder = one_line(unset, 100)
        self.value = text
        self._put = (value, self.value)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(Changed(self))


class Text(TextArea):
    """Text of many lines, which grows with it up to what the style allows. Empty it is nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "cursor_up", "Up, or to what stands above", show=False, id="text.up"),
        Binding("down", "cursor_down", "Down, or to what stands below", show=False, id="text.down"),
    ]

    def __init__(self, field: Field) -> None:
        super().__init__(
            compact=True,
            soft_wrap=True,
            show_line_numbers=False,
            highlight_cursor_line=False,
            tab_behavior="focus",
            classes="control",
        )
        self._put: tuple[object | None, str] = (None, "")

    @property
    def held(self) -> object | None:
        value, text = self._put
        return value if self.text == text else self.text or None

    def put(self, value: object | None, unset: str) -> None:
        text = "" if value is None else visible(str(value))
        self._put = (value, text)
        self.placeholder = one_line(unset, 100)
        self.load_text(text)

    async def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        event.stop()
        text = visible(event.text.replace("\r\n", "\n").replace("\r", "\n"))
        if result := self._replace_via_keyboard(text, *self.selection):
            self.move_cursor(result.end_location)

    def action_cursor_up(self, select: bool = False) -> None:
        if not select and self.navigator.is_first_wrapped_line(self.cursor_location):
            self.screen.focus_previous()
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        if not select and self.navigator.is_last_wrapped_line(self.cursor_location):
            self.screen.focus_next()
        else:
            super().action_cursor_down(select)

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self.post_message(Changed(self))


def _number(typed: str, kind: str) -> int | float | str:
    """What was typed as a number, as people write them; the text where it is none."""
    try:
        if kind == "integer":
            return int(typed.replace(",", "").replace(" ", ""))
        return float(typed if "." in typed else typed.replace(",", "."))
    except ValueError:
        return typed
