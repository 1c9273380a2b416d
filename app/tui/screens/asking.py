"""Two small questions over the window: yes or no, and one line of text. They know nothing of what is asked
about."""

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, Static

from app.assets import asset
from app.chat.text import visible
from app.tui.screens.guarded import GuardedModal
from app.tui.widgets.line_input import LineInput

if TYPE_CHECKING:
    from app.library.licences import Terms


class Confirm(GuardedModal[bool]):
    """A question whose answer is yes or no; Escape is no."""

    CSS_PATH = asset("styles/asking.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "answer(False)", "No", show=False, id="confirm.no"),
        Binding("y", "answer(True)", "Yes", show=False, id="confirm.yes"),
        Binding("left,up", "app.focus_previous", "Before", show=False, id="confirm.previous"),
        Binding("right,down", "app.focus_next", "Next", show=False, id="confirm.next"),
    ]

    def __init__(self, question: str, yes: str, detail: str = "", *, harmless: bool = False) -> None:
        """`harmless` is what loses nothing."""
        super().__init__()
        self._question, self._yes, self._detail, self._harmless = question, yes, detail, harmless

    def compose(self) -> ComposeResult:
        with Vertical(id="question"):
            yield Static(Content(visible(self._question)), id="text")
            if self._detail:
                yield Static(Content(visible(self._detail)), id="detail")
            with Horizontal(id="answers"):
                yield Button("Cancel", id="no", compact=True)
                yield Button(self._yes, variant="primary" if self._harmless else "error", id="yes", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


def ask_to_agree(name: str, terms: "Terms") -> Confirm:
    """Whether the licence of a model is agreed to, before it is fetched."""
    detail = f"{terms.licence}. {terms.says}\nThe whole of it is on the model's page."
    return Confirm(f"Agree to the licence of {name}?", "I agree, download it", detail, harmless=True)


class AskLine(GuardedModal[str | None]):
    """One line of text; Enter takes it, Escape leaves everything as it was."""

    CSS_PATH = asset("styles/asking.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", show=False, id="line.leave"),
    ]

    def __init__(
        self,
        question: str,
        value: str,
        detail: str = "Enter keeps it, Esc leaves it as it was",
        *,
        longest: int = 200,
    ) -> None:
        """`longest`: characters that may be typed."""
        super().__init__()
        self._question, self._value, self._detail, self._longest = question, value, detail, longest

    def compose(self) -> ComposeResult:
        with Vertical(id="question"):
            yield Static(Content(self._question), id="text")
            yield LineInput(self._value, id="line", compact=True, max_length=self._longest)
            yield Static(Content(self._detail), id="detail")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)

    def action_leave(self) -> None:
        self.dismiss(None)
