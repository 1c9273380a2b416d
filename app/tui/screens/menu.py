"""A small menu over the window: rows to take by arrow keys, by their own key, or by mouse.

It is dismissed with the id of the row that was taken, or None. It knows nothing of what its rows do.
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import msgspec
from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Offset, clamp
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from app.assets import asset
from app.chat.text import one_line
from app.tui.actions import shown
from app.tui.screens.guarded import GuardedModal
from app.tui.widgets.options import Options

_FRAME = 4
"""Cells of border and padding at both sides together."""
_BESIDE = 2
"""Cells that the border takes beside the title, besides those."""
_GAP = 3
_WIDEST = 72


class MenuRow(msgspec.Struct, frozen=True):
    """One thing to take. `keys` are its keys as bindings name them, "e" or "e,ctrl+e"; `why` says why it is off."""

    id: str
    label: str
    keys: str = ""
    enabled: bool = True
    why: str = ""


class Menu(GuardedModal[str | None]):
    """The menu, in the middle or near `at`, a place on the screen; always wholly in sight."""

    CSS_PATH = asset("styles/menu.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close", show=False, id="menu.close"),
    ]

    def __init__(self, title: str, rows: Sequence[MenuRow], at: Offset | None = None, first: int = 0) -> None:
        """`first` is the row to begin at, or before the one to begin at where it is off."""
        super().__init__()
        self._title, self._rows, self._at, self._begin = title, rows, at, first

    def compose(self) -> ComposeResult:
        with Vertical(id="menu"):
            yield Options("rows")
            yield Static("", id="why", markup=False)

    def on_mount(self) -> None:
        self.query_one("#why").display = False
        self.query_one("#rows").focus()

    def on_resize(self) -> None:
        # After the screen has its new size, which on_resize is called with and has not yet told its children.
        self.call_next(self._arrange)

    def _arrange(self) -> None:
        """Width, place and rows for the terminal as it is now."""
        menu, rows = self.query_one("#menu", Vertical), self.query_one("#rows", Options)
        labels = [one_line(row.label, _WIDEST) for row in self._rows]
        keys = max((cell_len(shown(row.keys)) for row in self._rows), default=0)
        widest = max(map(cell_len, labels), default=0)
        reasons = max((cell_len(row.why) + 2 for row in self._rows if not row.enabled and row.why), default=0)
        titled = cell_len(one_line(self._title, _WIDEST)) + _BESIDE
        room = min(max(widest + reasons + _GAP + keys, titled, 24), _WIDEST, self.app.size.width - _FRAME)
        menu.border_title = Content(one_line(self._title, room - _BESIDE))
        menu.styles.width = room + _FRAME
        kept = rows.highlighted
        rows.clear_options()
        rows.add_options(
            Option(self._row(row, room, keys), id=str(number), disabled=not row.enabled)
            for number, row in enumerate(self._rows)
        )
        rows.highlighted = kept if kept is not None else self._first()
        self.set_class(self._at is not None, "-near")
        if self._at is not None:
            height = len(self._rows) + 2
            menu.styles.offset = (
                clamp(self._at.x, 0, max(0, self.app.size.width - room - _FRAME)),
                clamp(self._at.y, 0, max(0, self.app.size.height - height)),
            )

    def _first(self) -> int | None:
        return next((number for number, row in enumerate(self._rows) if row.enabled and number >= self._begin), None)

    def _row(self, row: MenuRow, room: int, keys: int) -> Content:
        label = one_line(row.label, max(room - keys - _GAP, 8))
        left = room - cell_len(label) - keys - _GAP
        why = f"  {one_line(row.why, left - 2)}" if not row.enabled and row.why and left > 6 else ""
        gap = " " * max(room - cell_len(label) - cell_len(why) - keys, 1)
        content = Content.assemble(label, (why, "italic"), gap, shown(row.keys).rjust(keys))
        return content if row.enabled else content.stylize("dim")

    # --- what is taken ---

    def on_key(self, event: events.Key) -> None:
        """A row's own key takes it at once."""
        for row in self._rows:
            if event.key in row.keys.split(","):
                event.stop()
                event.prevent_default()
                # When what was pressed before has been acted on.
                self.call_next(partial(self._take, row))
                return

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._take(self._rows[event.option_index])

    def on_click(self, event: events.Click) -> None:
        """Beside the menu: closes it. On a row that is off: says why."""
        if not self.query_one("#menu").region.contains(event.screen_x, event.screen_y):
            self.dismiss(None)
            return
        over = event.style.meta.get("option")
        if isinstance(over, int) and not self._rows[over].enabled:
            self._take(self._rows[over])

    def _take(self, row: MenuRow) -> None:
        if row.enabled:
            self.dismiss(row.id)
            return
        why = self.query_one("#why", Static)
        why.update(Content(f"{one_line(row.label)}: {one_line(row.why, 200) or 'not now'}"))
        why.display = True

    def action_leave(self) -> None:
        self.dismiss(None)
