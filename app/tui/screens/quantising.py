"""A model in fewer bits: how many is chosen, then how far it has come, then what it cost.

It is dismissed with the new model's folder, or with None where there is none. It knows a model's description only;
how it is quantised is told to it.
"""

import asyncio
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, OptionList, ProgressBar, Static
from textual.widgets.option_list import Option

from app.assets import asset
from app.chat.text import one_line, visible
from app.errors import QuietlyError
from app.quantising import Bits, Quantised, Step, figures, quantise, size_about
from app.tui.following import aside
from app.tui.screens.guarded import GuardedModal
from app.tui.widgets.options import Options
from app.words import size

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.library.local import InstalledModel

_OFFERED: tuple[tuple[Bits, str], ...] = (
    (4, "answers change a little"),
    (8, "answers hardly change"),
)
_LEAVE = "Leave · Esc"
_DOING = {
    "convert": "Converting: {} of {} written",
    "pack": "Quantising: {} of {} written",
    "compare": "Comparing both: {} of {} read",
}


class Work(Protocol):
    """As `app.quantising.quantise`."""

    def __call__(
        self, model: "InstalledModel", bits: Bits, *, progress: "Callable[[Step], None]"
    ) -> Awaitable[Quantised]: ...


class QuantiseScreen(GuardedModal[Path | None]):
    """Quantises one model; Escape ends it at once."""

    CSS_PATH = asset("styles/quantising.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave, or end it", show=False, id="quantise.leave"),
    ]

    def __init__(self, model: "InstalledModel", quantise: Work = quantise) -> None:
        super().__init__()
        self._model, self._quantise = model, quantise
        self._begun = False
        self._work: asyncio.Task[None] | None = None
        """The task that works, from its first line to its last."""
        self._made: Path | None = None

    def compose(self) -> ComposeResult:
        model = self._model
        stored = f"{size(model.weights or model.size)}{f' in {one_line(model.stored)}' if model.stored else ''}"
        with VerticalScroll(id="quantise", can_focus=False):
            yield Static(Content(f"Quantise {one_line(model.name)}"), id="title")
            yield Static(
                Content(f"Its weights take {stored}. A smaller model is written beside it; the original stays."),
                id="about",
            )
            yield Options("bits")
            with Vertical(id="progress"):
                yield Static("", id="doing", markup=False)
                yield ProgressBar(id="bar", show_eta=False)
            yield Static("", id="figures", markup=False)
            yield Static("", id="wrong", markup=False)
            yield Button(_LEAVE, id="leave", compact=True)

    def on_mount(self) -> None:
        for part in ("#progress", "#figures", "#wrong"):
            self.query_one(part).display = False
        options = self.query_one("#bits", Options)
        options.add_options(Option(self._offer(bits, about)) for bits, about in _OFFERED)
        options.highlighted = 0
        options.focus()

    def _offer(self, bits: Bits, about: str) -> Content:
        expected = size_about(self._model, bits)
        told = "" if expected is None else f"about {size(expected)}, "
        return Content.assemble((f"{bits} bit", "bold"), f"  {told}{about}")

    # --- the work ---

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if not self._begun:
            self._begun = True
            bits, _ = _OFFERED[event.option_index]
            aside(self, partial(self._run, bits))

    async def _run(self, bits: Bits) -> None:
        self._work = asyncio.current_task()
        self._stand("progress", "Cancel · Esc")
        self.query_one("#doing", Static).update(Content("Starting…"))
        self.query_one("#bar", ProgressBar).update(total=None)
        try:
            made = await self._quantise(self._model, bits, progress=self._tell)
        except QuietlyError as error:
            self._stand("bits", _LEAVE)
            wrong = self.query_one("#wrong", Static)
            wrong.update(Content(visible(str(error))))
            wrong.display = True
        except asyncio.CancelledError:
            self.end(None)
            raise
        else:
            self._made = made.path
            self._stand("figures", "Close · Esc")
            self.query_one("#figures", Static).update(_told(made))
        finally:
            self._begun, self._work = False, None

    def _tell(self, step: Step) -> None:
        if self.is_attached:
            self.query_one("#bar", ProgressBar).update(total=step.total or None, progress=step.done)
            doing = _DOING[step.doing].format(size(step.done), size(step.total))
            self.query_one("#doing", Static).update(Content(doing))

    def _stand(self, part: str, leave: str) -> None:
        """Let this part be what is shown between what it is about and the button, which says `leave`."""
        for other in ("bits", "progress", "figures"):
            self.query_one(f"#{other}").display = other == part
        self.query_one("#wrong").display = False
        self.query_one("#about").display = part != "figures"
        button = self.query_one("#leave", Button)
        button.label = leave
        (self.query_one("#bits") if part == "bits" else button).focus()

    # --- the end ---

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.action_leave()

    def action_leave(self) -> None:
        if self._work is None:
            self.dismiss(self._made)
            return
        self.query_one("#doing", Static).update(Content("Ending; nothing of it stays…"))
        self._work.cancel()


def _told(made: Quantised) -> Content:
    rows = [Content.assemble((f"{name:<12}", "bold"), visible(value)) for name, value in figures(made)]
    return Content("\n").join([Content(f"{one_line(made.path.name)} is among your models now."), Content(""), *rows])
