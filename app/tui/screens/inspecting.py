"""What a model is made of and what it costs, and a line in which a text of one's own is counted in its tokens.

It asks a reader, which has a process of its own; it knows neither files nor models. What it is told is safe to show.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from app.assets import asset
from app.chat.text import visible
from app.errors import QuietlyError
from app.inspecting.apart import Reader
from app.inspecting.rows import measure
from app.tui.following import Following, aside
from app.tui.screens.guarded import GuardedModal
from app.tui.widgets.laid import Laid
from app.tui.widgets.line_input import LineInput

LONGEST = 20_000
"""Characters of a text that is typed or pasted."""
_KEYS = "↑↓ move · Tab to the line and back · Esc closes"
_FEWER_KEYS = "↑↓ move · Esc closes"


class InspectScreen(GuardedModal[None]):
    """The page and the line; Escape leaves."""

    CSS_PATH = asset("styles/inspecting.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close", show=False, id="inspect.close"),
        Binding("tab,shift+tab", "change", "Page or line", show=False, priority=True, id="inspect.change"),
    ]

    def __init__(self, reference: str | Path, folders: Iterable[Path] = ()) -> None:
        """`reference`: an installed model by its path or name, or a config.json; `folders`: those added by hand."""
        super().__init__()
        self._reader = Reader(str(reference), folders)
        self._counting = Following(self, self._count)

    def compose(self) -> ComposeResult:
        with Vertical(id="inspecting") as box:
            box.border_title = "What it is made of"
            with VerticalScroll(id="page"):
                yield Laid(id="told")
            yield LineInput(
                placeholder="A text of yours, to be counted in its tokens", id="text", compact=True, max_length=LONGEST
            )
            yield Static("", id="said", markup=False)

    async def on_mount(self) -> None:
        self.query_one(LineInput).display = False
        self.query_one("#page").focus()
        self._say("Reading the model…")
        aside(self, self._read)

    async def on_unmount(self) -> None:
        await self._reader.close()

    async def _read(self) -> None:
        try:
            told = await self._reader.inspect()
        except QuietlyError as error:
            self._say(str(error))
            return
        self.query_one(Laid).show_sections(told.sections)
        self.query_one(LineInput).display = told.has_tokenizer
        self._say(_KEYS if told.has_tokenizer else _FEWER_KEYS)

    # --- the line ---

    def on_input_changed(self, event: Input.Changed) -> None:
        self._counting.want(event.value)

    async def _count(self, text: str) -> None:
        if not text:
            self._say(_KEYS)
            return
        try:
            spelled = await self._reader.spell(text)
        except QuietlyError as error:
            self._say(str(error))
        else:
            self._say(measure(text, len(spelled.pieces)))

    def _say(self, sentence: str) -> None:
        self.query_one("#said", Static).update(Content(visible(sentence)))

    # --- keys ---

    def action_change(self) -> None:
        """Between the page and the line, where there is one."""
        line = self.query_one(LineInput)
        self.set_focus(line if line.display and not line.has_focus else self.query_one("#page"))

    def action_leave(self) -> None:
        self.dismiss(None)
