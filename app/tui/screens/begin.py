"""The ways to begin: a recommended model, the starter, a folder on disk, or one of the demonstrations that are there
in any case, after a look at this machine.

It is the first thing a person without a model sees, and later the way to add one. It is dismissed with the
path of the model that is ready, or None. What there is to choose comes from the library; this screen knows no
network.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Input, ProgressBar, Static
from textual.worker import Worker

from app import words
from app.assets import asset
from app.chat.text import one_line, visible
from app.errors import QuietlyError
from app.tui.following import aside
from app.tui.screens.guarded import GuardedScreen
from app.tui.widgets.line_input import LineInput

if TYPE_CHECKING:
    from app.library.local import InstalledModel
    from app.shelf import Shelf
    from app.tui.library import Library, Offers, Recommended

Way = Callable[[], Coroutine[Any, Any, Path]]
"""One of the ways to a model; ends with its place."""


class BeginScreen(GuardedScreen[str | None]):
    """The ways to a first, or another, model."""

    CSS_PATH = asset("styles/begin.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", show=False, id="begin.leave"),
        # Before what scrolls, which would take them for itself where not everything is in sight.
        Binding("up", "app.focus_previous", "Up", show=False, priority=True, id="begin.up"),
        Binding("down", "app.focus_next", "Down", show=False, priority=True, id="begin.down"),
    ]

    def __init__(self, library: "Library", shelf: "Shelf", *, first: bool) -> None:
        super().__init__()
        self._library, self._shelf, self._first = library, shelf, first
        self._offers: Offers | None = None
        self._work: Worker[None] | None = None
        self._doing = ""

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="begin", can_focus=False):
            yield Static(Content("Welcome to Quietly" if self._first else "Add a model"), id="hello")
            yield Static(Content("Looking at this machine…"), id="machine")
            yield Static("", id="recommended", classes="way", markup=False)
            yield Button("Download", id="download", compact=True, variant="primary", disabled=True)
            yield Static("", id="starter", classes="way", markup=False)
            yield Button("Use the starter", id="bring", compact=True, disabled=True)
            yield Static(
                Content.assemble(
                    ("A model folder on this machine\n", "bold"),
                    ("It holds config.json and safetensors files, or is one GGUF file.", "$foreground 60%"),
                ),
                classes="way",
            )
            with Horizontal(id="folder-line"):
                yield LineInput(placeholder="~/models/…", id="folder", compact=True)
            yield Static("", id="demonstrations", classes="way", markup=False)
            yield Button("Try a demonstration", id="try", compact=True)
            yield Static("", id="wrong", markup=False)
            with Vertical(id="progress"):
                yield Static("", id="doing", markup=False)
                with Horizontal():
                    yield ProgressBar(id="bar", show_eta=False)
                    yield Button("Cancel", id="cancel", compact=True)
            yield Static(
                Content(
                    "Tab chooses, Enter does it, Esc goes back. What you say to a model never leaves this machine."
                ),
                id="keys",
            )

    def on_mount(self) -> None:
        for hidden in ("#wrong", "#progress", "#demonstrations", "#try"):
            self.query_one(hidden).display = False
        aside(self.app, self._look)

    async def _look(self) -> None:
        try:
            self._offers = offers = await asyncio.to_thread(self._library.offers)
        except QuietlyError as error:
            self._say_wrong(str(error))
            return
        if not self.is_attached:
            return  # the person has gone back meanwhile
        self.query_one("#machine", Static).update(Content(visible(offers.machine)))
        if offers.recommended is not None:
            model = offers.recommended
            self.query_one("#recommended", Static).update(
                Content.assemble(
                    (f"{model.name}, the best that fits here\n", "bold"),
                    (f"{words.size(model.size)} to download, licence {model.licence}", "$foreground 60%"),
                )
            )
        else:
            self.query_one("#recommended", Static).update(
                Content.styled("No recommended model fits into this machine's memory.", "$foreground 60%")
            )
        download = self.query_one("#download", Button)
        download.disabled = offers.recommended is None
        found = offers.starter is not None
        self.query_one("#starter", Static).update(
            Content.assemble(
                ("The starter\n", "bold"),
                ("Tiny, English, works offline. ", "$foreground 60%"),
                ("It is here already." if found else "93 MB to download.", "$foreground 60%"),
            )
        )
        self._tell_of(offers.demonstrations)
        bring = self.query_one("#bring", Button)
        bring.label = "Use the starter" if found else "Bring the starter"
        bring.disabled = False
        (bring if found or download.disabled else download).focus()

    def _tell_of(self, demonstrations: "Sequence[InstalledModel]") -> None:
        if not demonstrations:
            return
        said = self.query_one("#demonstrations", Static)
        names = ", ".join(one_line(model.name, 40) for model in demonstrations)
        said.update(
            Content.assemble(
                ("Demonstrations, here already\n", "bold"),
                f"{names}\n",
                ("Tiny: they show how models are built, not what models can do.", "$foreground 60%"),
            )
        )
        said.display = self.query_one("#try").display = True

    # --- the ways ---

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "cancel":
            self._cancel()
        elif self._work is not None:
            return
        elif event.button.id == "download":
            self._ask_to_download()
        elif event.button.id == "bring":
            self._start(self._bring)
        elif event.button.id == "try" and self._offers is not None:
            self.end(str(self._offers.demonstrations[0].path))

    def _ask_to_download(self) -> None:
        from app.tui.screens.asking import Confirm

        model = self._offers.recommended if self._offers is not None else None
        if model is None:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._start(partial(self._download, model))

        self.app.push_screen(
            Confirm(
                f"Download {model.name}?",
                "Download",
                f"{words.size(model.size)} from Hugging Face ({model.repo}).\n"
                "A download that is cut off goes on from there.",
                harmless=True,
            ),
            answered,
        )

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if self._work is None and event.value.strip():
            self._start(partial(self._add, event.value.strip()))

    def _start(self, way: Way) -> None:
        self.query_one("#wrong").display = False
        self._work = aside(self.app, partial(self._go, way))

    async def _go(self, way: Way) -> None:
        try:
            path = await way()
        except QuietlyError as error:
            self._say_wrong(str(error))
        else:
            self.end(str(path))
        finally:
            self._work = None
            self.query_one("#progress").display = False

    async def _download(self, model: "Recommended") -> Path:
        from app.library.licences import Unagreed
        from app.tui.screens.asking import ask_to_agree

        self._show_progress(f"Downloading {model.name}")
        try:
            return await self._library.download(model, self._progress)
        except Unagreed as unagreed:
            if not await self.app.push_screen_wait(ask_to_agree(model.name, unagreed.terms)):
                await self._library.downloads.cancel(model.repo)
                raise
        return await self._library.download(model, self._progress, agreed=True)

    async def _bring(self) -> Path:
        self._show_progress("Bringing the starter")
        return await self._library.bring_starter()

    async def _add(self, typed: str) -> Path:
        path = await asyncio.to_thread(self._library.folder, typed, self._shelf.folders)
        self._shelf.add_folder(path)
        return path

    # --- saying how it goes ---

    def _show_progress(self, doing: str) -> None:
        self._doing = doing
        self.query_one("#progress").display = True
        self.query_one("#bar", ProgressBar).update(total=None)
        self.query_one("#doing", Static).update(Content(doing))
        self.query_one("#cancel").focus()

    def _progress(self, done: int, total: int) -> None:
        self.query_one("#bar", ProgressBar).update(total=total or None, progress=done)
        self.query_one("#doing", Static).update(Content(f"{self._doing}, {words.size(done)} of {words.size(total)}"))

    def _say_wrong(self, sentence: str) -> None:
        wrong = self.query_one("#wrong", Static)
        wrong.update(Content(visible(sentence)))
        wrong.display = True
        wrong.scroll_visible()

    def _cancel(self) -> None:
        if self._work is not None:
            self._work.cancel()
            self._say_wrong("Cancelled. What came so far is kept, so that a next try goes on from there.")

    def action_leave(self) -> None:
        if self._work is not None:
            self._cancel()
        else:
            self.dismiss(None)
