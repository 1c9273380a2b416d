"""Choosing a file: a path to type into, and the folder it leads to.

It is dismissed with the file, or with None. It reads folders and never what is in files; what becomes of the file is
its caller's business.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from app.assets import asset
from app.chat.text import one_line, storable, visible
from app.errors import QuietlyError
from app.home import expanded
from app.tui.folders import Entry, entries, fitting
from app.tui.screens.guarded import GuardedModal
from app.tui.widgets.line_input import LineInput
from app.tui.widgets.options import Options

_MOST = 500
"""Rows shown at once; who looks for more types on."""
_UP = "../"


class PathLine(LineInput):
    """The path as it is typed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("backspace", "back", "Back", show=False, id="picking.back"),
    ]

    class LeftFolder(Message):
        """Backspace where no name is typed: the folder is to be left."""

    def action_back(self) -> None:
        if self.selection.is_empty and self.value.endswith("/") and self.cursor_position == len(self.value):
            self.post_message(self.LeftFolder())
        else:
            self.action_delete_left()


class PickFile(GuardedModal[Path | None]):
    """A file, typed or walked to."""

    CSS_PATH = asset("styles/picking.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", show=False, id="picking.leave"),
        Binding("enter", "take", "Open or take", show=False, priority=True, id="picking.take"),
        Binding("tab", "complete", "Complete", show=False, priority=True, id="picking.complete"),
        Binding("up", "list('cursor_up')", "Up", show=False, id="picking.up"),
        Binding("down", "list('cursor_down')", "Down", show=False, id="picking.down"),
        Binding("pageup", "list('page_up')", "Page up", show=False, id="picking.page_up"),
        Binding("pagedown", "list('page_down')", "Page down", show=False, id="picking.page_down"),
    ]

    def __init__(self, start: Path, question: str = "Attach a file") -> None:
        super().__init__()
        self._question = question
        self._folder = expanded(start).absolute()
        """The folder whose entries are shown, or being read."""
        self._prefix = _written(self._folder)
        """How the folder stands in the path line: other than its path where that cannot be shown as it is."""
        self._seen = self._prefix
        """The path line as it was last looked at."""
        self._found: list[Entry] | None = None
        """What is in it; None while it is being read."""
        self._shown: list[Entry | None] = []
        """What stands in the list; None is the way up."""
        self._reading: asyncio.Task[None] | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="picking"):
            yield Static(Content(self._question), id="text")
            yield PathLine(self._prefix, id="path", compact=True, select_on_focus=False)
            yield Options("entries")
            yield Static("", id="said", markup=False)
            yield Static(Content("Enter opens or takes, Tab completes, Backspace goes up, Esc leaves"), id="detail")

    def on_mount(self) -> None:
        self.query_one(Options).can_focus = False
        self.query_one(PathLine).focus()
        self._read()

    def on_unmount(self) -> None:
        if self._reading is not None:
            self._reading.cancel()

    # --- the folder ---

    @property
    def _typed_name(self) -> str:
        """What is typed behind the folder."""
        return self.query_one(PathLine).value.rpartition("/")[2]

    def on_input_changed(self) -> None:
        self._look()

    def _look(self) -> None:
        """Show where what is typed leads to."""
        typed = self.query_one(PathLine).value
        if typed == self._seen:
            return
        self._seen = typed
        line = typed.rpartition("/")
        before = line[0] + line[1]
        if before != self._prefix:
            self._prefix = before
            self._folder = expanded(before or "~")
            if not self._folder.is_absolute():
                self._folder = Path.home() / self._folder
            self._read()
        elif self._found is not None:
            self._show(self._found)

    def _read(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._found = None
        self._say("Reading…")
        self._reading = asyncio.create_task(self._read_aside(self._folder))

    async def _read_aside(self, folder: Path) -> None:
        try:
            found = await asyncio.to_thread(entries, folder)
        except QuietlyError as error:
            found, wrong = [], str(error)
        else:
            wrong = ""
        if folder != self._folder or not self.is_attached:
            return
        self._found = found
        self._show(found)
        if wrong:
            self._say(wrong)

    def _show(self, found: Sequence[Entry]) -> None:
        name = self._typed_name
        fits = fitting(found, name)
        up: list[Entry | None] = [None] if not name and self._folder.parent != self._folder else []
        self._shown = [*up, *fits[:_MOST]]
        options = self.query_one(Options)
        options.set_options([Option(_row(entry)) for entry in self._shown])
        options.highlighted = min(len(up), len(self._shown) - 1) if self._shown else None
        if len(fits) > _MOST:
            self._say(f"and {len(fits) - _MOST:,} more: type to find them")
        elif not fits:
            self._say("Nothing here has that name." if name else "There is nothing here.")
        else:
            self._say("")

    def _say(self, words: str) -> None:
        self.query_one("#said", Static).update(Content(words))

    def _enter(self, folder: Path, line: str) -> None:
        """Go to `folder`, which the path line names `line`."""
        self._folder, self._prefix, self._seen = folder, line, line
        path = self.query_one(PathLine)
        path.value = line
        path.cursor_position = len(line)
        self._read()

    # --- keys and mouse ---

    def action_list(self, move: str) -> None:
        getattr(self.query_one(Options), f"action_{move}")()

    async def action_take(self) -> None:
        """Open the folder, or take the file, that is typed in full or highlighted."""
        await self._settled()
        entry = self._typed_entry()
        if entry is not None:
            self._choose(entry)
        elif (place := self.query_one(Options).highlighted) is not None:
            self._choose(self._shown[place])

    async def action_complete(self) -> None:
        """Write the name of what is highlighted out."""
        await self._settled()
        place = self.query_one(Options).highlighted
        entry = self._shown[place] if place is not None else None
        if entry is None:
            return
        if entry.is_folder:
            self._choose(entry)
        elif _typeable(entry.name):
            path = self.query_one(PathLine)
            path.value = self._prefix + entry.name
            path.cursor_position = len(path.value)

    async def _settled(self) -> None:
        """Wait until what is typed so far has been looked for."""
        self._look()
        if self._reading is not None:
            await asyncio.wait([self._reading])

    def _typed_entry(self) -> Entry | None:
        name = self._typed_name
        return next((entry for entry in self._found or () if entry.name == name), None)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        if event.option in event.option_list.options:  # it may be another list by now
            self._choose(self._shown[event.option_index])

    def _choose(self, entry: Entry | None) -> None:
        if entry is None:
            self.on_path_line_left_folder()
        elif entry.is_folder:
            line = f"{self._prefix}{entry.name}/" if _typeable(entry.name) else f"{self._prefix}{_safe(entry.name)}/"
            self._enter(self._folder / entry.name, line)
        else:
            self.dismiss(self._folder / entry.name)

    def on_path_line_left_folder(self) -> None:
        parent = self._folder.parent
        self._enter(parent, _written(parent))

    def action_leave(self) -> None:
        self.dismiss(None)


def _row(entry: Entry | None) -> Content:
    if entry is None:
        return Content(_UP)
    return Content.styled(f"{_safe(entry.name)}/", "bold") if entry.is_folder else Content(_safe(entry.name))


def _safe(name: str) -> str:
    return one_line(storable(name), 200) or "�"


def _typeable(name: str) -> bool:
    """Whether a name is the same on the disk and on the screen."""
    return visible(storable(name)) == name and "\n" not in name


def _written(folder: Path) -> str:
    """`folder` as a person writes it, with a slash at its end."""
    home = Path.home()
    text = str(folder)
    if folder.is_relative_to(home):
        text = "~" if folder == home else f"~/{folder.relative_to(home)}"
    text = visible(storable(text)).replace("\n", " ")
    return text if text.endswith("/") else f"{text}/"
