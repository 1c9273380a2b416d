"""The library: the models of this machine, those on their way, those that could be had, and what is known of each.

It is told items of finished words and posts what is asked of one; it knows neither disk nor network. What is typed
narrows the list, and can be looked for on the Hub. Names are data, made safe where they are drawn.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from app.assets import asset
from app.chat.text import one_line, visible
from app.tui.actions import shown
from app.tui.screens.guarded import GuardedScreen
from app.tui.screens.menu import MenuRow
from app.tui.widgets.filter_line import FilterLine
from app.tui.widgets.model_rows import ModelRows
from app.tui.widgets.rows import Row, Rows
from app.tui.widgets.sidebar import folded

_KEYS = "Enter takes it · M everything with it · / finds · F adds a folder · Tab moves on · Esc leaves"
SEARCH = "search the Hub"
"""The key of the row that looks for what is typed on the Hub."""


class Item(msgspec.Struct, frozen=True):
    """A model, or something else to choose, as the library shows it."""

    key: str
    group: str
    """The heading it stands under."""
    name: str
    sign: tuple[str, str] = ("", "")
    """A sign before the name, and its style."""
    after: tuple[tuple[str, str], ...] = ()
    """What stands at the row's end, with styles."""
    marked: bool = False
    facts: tuple[tuple[str, str], ...] = ()
    """What is known of it: a name and a value each."""
    says: str = ""
    """A sentence about it: whether it fits, or why it cannot be used."""
    wrong: bool = False
    """Whether that is about something wrong."""
    acts: tuple[MenuRow, ...] = ()
    """What can be done, the first by Enter."""
    found: bool = False
    """Whether it is there because it was looked for."""


class ModelsScreen(GuardedScreen[None]):
    """A line to type into, the list below it, and beside that all about the one under the cursor."""

    CSS_PATH = asset("styles/models.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        # Acted on before the next key is looked at: what is typed right behind it belongs to the line.
        Binding("slash", "type", "Find or search", show=False, priority=True, id="library.find"),
        Binding("f", "folder", "Add a folder", show=False, id="library.folder"),
        Binding("tab", "app.focus_next", "Line, list, facts", show=False, priority=True, id="library.change"),
        Binding("shift+tab", "app.focus_previous", "Back", show=False, priority=True, id="library.change_back"),
        Binding("escape", "leave", "Leave", show=False, id="library.leave"),
    ]

    def __init__(
        self,
        items: Callable[[], Sequence[Item]],
        act: Callable[[str, str], object],
        search: Callable[[str], object],
        folder: Callable[[], object],
        around: Callable[[], tuple[str, str]],
        at: str = "",
        typed: str = "",
    ) -> None:
        """`items` says what there is, each time it is asked; `act` is called with the key of an item and the id of what
        to do with it, `search` with words to look for on the Hub, `folder` where one is to be named; `around` says what
        stands above the list, about this machine, and below it, about what is going on. `at` is the key of the item to
        begin at, `typed` what stands in the line."""
        super().__init__()
        self._items, self._act, self._search, self._folder, self._around = items, act, search, folder, around
        self._at, self._first = at, typed
        self._stands = False
        """Whether all of it is there, to be told."""
        self._shown: dict[str, Item] = {}
        self._read = ""
        """The key of the item that stands beside the list."""

    def compose(self) -> ComposeResult:
        with Vertical(id="library"):
            yield Static("Models", id="name")
            yield Static("", id="machine", markup=False)
            line = FilterLine(
                self._first,
                placeholder="/ to find a model here or on the Hub",
                id="line",
                compact=True,
                max_length=200,
            )
            yield line
            with Horizontal(id="both"):
                yield ModelRows(id="stock")
                with VerticalScroll(id="about"):
                    yield Static("", id="facts", markup=False)
            yield Static("", id="said", markup=False)

    def on_mount(self) -> None:
        self._stands = True
        self.tell()
        rows = self.query_one(ModelRows)
        rows.led = True  # what stands beside it is about the one under its cursor, wherever the focus is
        (self.query_one(FilterLine) if self._first else rows).focus()
        self.watch(rows, "cursor", self._show_facts)
        # Once the list has its size: it would scroll to a row that is in sight.
        self.call_after_refresh(rows.point, self._at)

    # --- what is on it ---

    def tell(self) -> None:
        """Look again at what there is."""
        if not self._stands:
            return
        above, below = self._around()
        self.query_one("#machine", Static).update(Content(visible(above)))
        self.query_one("#said", Static).update(Content(visible(below or _KEYS)))
        typed = folded(self.query_one(FilterLine).value.strip())
        items = [item for item in self._items() if _matches(item, typed)]
        if typed:
            words = one_line(self.query_one(FilterLine).value, 40)
            items.append(Item(SEARCH, "Elsewhere", f"Search the Hub for “{words}”", ("⌕", "$text-accent")))
        found_none = [*self._shown] == [SEARCH] and len(items) > 1
        self._shown = {item.key: item for item in items}
        rows: list[Row] = []
        for group, members in groupby(items, key=lambda item: item.group):
            rows.append(Row(None, group))
            rows.extend(Row(item.key, item.name, item.sign, item.after, item.marked) for item in members)
        stock = self.query_one(ModelRows)
        stock.tell(rows)
        if found_none:
            stock.reset()  # what is typed fits something now that was not known before
        elif stock.under_cursor() is None:
            stock.point(self._at)
        self._show_facts()

    def point(self, key: str) -> None:
        """Put the cursor on the item with this key."""
        if self._stands:
            self.query_one(ModelRows).point(key)

    def type(self, typed: str) -> None:
        """Put `typed` into the line, as if it had been typed."""
        if self._stands:
            self.query_one(FilterLine).value = typed

    def _show_facts(self) -> None:
        key = self.query_one(ModelRows).under_cursor() or ""
        item = self._shown.get(key)
        self.query_one("#facts", Static).update(_about(item) if item is not None else Content(""))
        if key != self._read:
            self._read = key
            self.query_one("#about", VerticalScroll).scroll_home(animate=False)

    # --- the line ---

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("type", "folder"):
            return self._stands and not self.query_one(FilterLine).has_focus  # where these are letters
        return True

    def action_type(self) -> None:
        self.set_focus(self.query_one(FilterLine))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.tell()
        self.query_one(ModelRows).reset()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.query_one(ModelRows).action_choose()

    def on_filter_line_moved(self, event: FilterLine.Moved) -> None:
        event.stop()
        self.query_one(ModelRows).action_move(event.step)

    # --- what is asked ---

    def on_rows_chosen(self, event: Rows.Chosen) -> None:
        event.stop()
        if event.key == SEARCH:
            self._search(self.query_one(FilterLine).value.strip())
            return
        item = self._shown.get(event.key)
        if item is not None and item.acts:
            self._act(item.key, item.acts[0].id)

    def on_model_rows_asked(self, event: ModelRows.Asked) -> None:
        event.stop()
        if event.key != SEARCH:
            self._act(event.key, event.act)

    def action_folder(self) -> None:
        self._folder()

    def action_leave(self) -> None:
        line = self.query_one(FilterLine)
        if line.value:
            line.value = ""
            self.set_focus(self.query_one(ModelRows))
        elif line.has_focus:
            self.set_focus(self.query_one(ModelRows))
        else:
            self.dismiss()


def _matches(item: Item, typed: str) -> bool:
    """Whether an item stays while something is typed; what was found by it does, whatever it is called."""
    return (
        item.found
        or typed in folded(item.name)
        or any(typed in folded(value) for name, value in item.facts if name == "From")
    )


def _about(item: Item) -> Content:
    """Everything about one item."""
    parts = [Content.styled(one_line(item.name, 120), "bold")]
    if item.says:
        parts += [Content(""), Content.styled(visible(item.says), "$text-error" if item.wrong else "")]
    if item.facts:
        width = max(len(name) for name, _ in item.facts) + 2
        parts.append(Content(""))
        parts += [
            Content.assemble((name.ljust(width), "$foreground 60%"), one_line(value, 400))
            for name, value in item.facts
            if value
        ]
    acts = [row for row in item.acts if row.enabled]
    if acts:
        parts.append(Content(""))
        parts += [
            Content.assemble(
                (("Enter" if row is item.acts[0] else shown(row.keys)).ljust(7), "$text-accent"), row.label
            )
            for row in acts
        ]
    return Content("\n").join(parts)
