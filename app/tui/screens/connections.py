"""Whom Quietly spoke to since the window opened: when, who, why, which process, how much; and whom it ever could.

It is given the ledger and a way to copy, and reads on while it is open. Hosts are named by others: they are cut to one
line and shown as they are. It knows no network.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from functools import partial
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Static

from app import spoken
from app.assets import asset
from app.chat.text import one_line
from app.connections import Connection, Ledger
from app.tui.screens.guarded import GuardedModal

WIDE = 104
"""Columns from which on each connection has one line; with fewer it has three."""
_TITLES = ("When", "Host", "Why", "By", "Sent", "Received")
_GAP = "  "
_BYTES, _BY = 9, 8


def listed(connections: Sequence[Connection], width: int, today: date) -> Content:
    """The connections in `width` cells, the oldest first, and what they come to."""
    if not connections:
        return Content.styled(spoken.NONE, "bold")
    rows = _in_lines(connections, width, today) if width >= WIDE else _in_blocks(connections, width, today)
    return Content("\n").join([*rows, Content(""), Content.styled(spoken.total(connections), "bold")])


def _in_lines(connections: Sequence[Connection], width: int, today: date) -> list[Content]:
    whens = [_when(one.at, today) for one in connections]
    when = max(map(len, whens))
    left = width - when - _BY - 2 * _BYTES - 5 * len(_GAP)
    host = min(left * 11 // 20, max(cell_len(spoken.host(one, left)) for one in connections))
    cells = (when, host, left - host, _BY)
    heading = [set_cell_size(title, size) for title, size in zip(_TITLES[:4], cells, strict=True)]
    heading += [title.rjust(_BYTES) for title in _TITLES[4:]]
    rows = [Content.styled(_GAP.join(heading), "bold $text-muted")]
    for moment, one in zip(whens, connections, strict=True):
        said = (moment, spoken.host(one, host), spoken.why(one, left - host), one_line(one.by, _BY))
        fields = [set_cell_size(text, size) for text, size in zip(said, cells, strict=True)]
        rows.append(
            Content(_GAP.join([*fields, spoken.size(one.sent).rjust(_BYTES), spoken.size(one.received).rjust(_BYTES)]))
        )
    return rows


def _in_blocks(connections: Sequence[Connection], width: int, today: date) -> list[Content]:
    rows = []
    for one in connections:
        when = f"{_when(one.at, today)}{_GAP}"
        amount = f"by {one_line(one.by, _BY)}, {spoken.size(one.sent)} sent, {spoken.size(one.received)} received"
        rows.append(Content.styled(f"{when}{spoken.host(one, width - len(when))}", "bold"))
        rows += [Content(f"{_GAP}{spoken.why(one, width - 2)}"), Content(f"{_GAP}{one_line(amount, width - 2)}")]
    return rows


def _when(at: float, today: date) -> str:
    then = datetime.fromtimestamp(at)
    return f"{then:%H:%M:%S}" if then.date() == today else f"{then:%Y-%m-%d %H:%M}"


class _Listed(Widget):
    """The list, laid out for whatever width there is."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(id="listed")
        self._ledger = ledger

    def on_mount(self) -> None:
        self._ledger.listen(self._noticed)

    def on_unmount(self) -> None:
        self._ledger.ignore(self._noticed)

    def _noticed(self) -> None:
        self.call_later(partial(self.refresh, layout=True))  # it may be any thread that connects

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines(width).plain.split("\n"))

    def render(self) -> Content:
        return self._lines(self.content_size.width)

    def _lines(self, width: int) -> Content:
        return listed(self._ledger.connections, width, date.today())


class ConnectionsScreen(GuardedModal[None]):
    """The list; Escape or the key that opened it closes it."""

    CSS_PATH = asset("styles/connections.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "leave", "Close", show=False, id="connections.close"),
        Binding("c", "copy", "Copy as text", show=False, id="connections.copy"),
    ]

    def __init__(self, ledger: Ledger, copy: Callable[[str, str], object]) -> None:
        """`copy` takes a text, and says that it has what the second words name."""
        super().__init__()
        self._ledger, self._copy = ledger, copy

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="connections") as page:
            page.border_title = "Connections"
            page.border_subtitle = "C copies the list, Esc closes"
            yield _Listed(self._ledger)
            yield Static(Content("\n".join(spoken.POSSIBLE)), id="possible")

    def on_mount(self) -> None:
        self.query_one("#connections").focus()

    def action_copy(self) -> None:
        self._copy(spoken.as_text(self._ledger.connections), "the list of connections")

    def action_leave(self) -> None:
        self.dismiss(None)
