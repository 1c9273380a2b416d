"""Finding a conversation, or words in any of them: what is typed is looked for while it is typed.

It is dismissed with the place that was chosen, or with None. It is given a function that looks and calls it aside, one
call at a time; it knows neither the file nor what becomes of the place. What was found is data, shown as it is.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import msgspec
from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from app.assets import asset
from app.chat.text import one_line
from app.errors import QuietlyError
from app.tui.screens.guarded import GuardedModal
from app.tui.widgets.keys_line import in_line
from app.tui.widgets.line_input import LineInput
from app.tui.widgets.options import Options

if TYPE_CHECKING:
    from app.chat.search import Found, Hit
    from app.tui.widgets.sidebar import ConversationRow

DEBOUNCE = 0.15
"""Seconds without a key until what is typed is looked for."""
AGAIN = 0.05
"""Seconds until the next look, while messages wait to be taken in."""
_HINTS = ("“a phrase”", "-without", "model:qwen", "after:2026-01-31", "before:yesterday")
_TITLE_CELLS = 48
_THE_TITLE = "the title"
_SHORTEST = 12
"""Cells of a title, however few there are."""
_BESIDE = 4
"""Cells beside a title: the row's padding, and the gap behind the title."""
_RECENT = 200
"""Conversations listed while nothing is typed: thousands would hold up the next key."""


class Place(msgspec.Struct, frozen=True):
    """Where to go."""

    conversation: int
    message: int | None = None
    """None is the conversation as it was left."""
    words: str = ""
    """The first of what was found there, as it stands there; nothing where it is not part of the page."""


class Looked(msgspec.Struct, frozen=True):
    """What came of a look."""

    found: "Found"
    waiting: int
    """Messages that are not in the index yet; the next look takes some more in."""


class _Row(Option):
    """A row of the list."""

    def __init__(self, place: Place, shown: Content) -> None:
        super().__init__(shown)
        self.place = place


class SearchScreen(GuardedModal[Place | None]):
    """A line to type into, and what was found below it."""

    CSS_PATH = asset("styles/searching.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", show=False, id="search.leave"),
        Binding("enter", "take", "Open", show=False, priority=True, id="search.open"),
        Binding("up", "list('cursor_up')", "Up", show=False, id="search.up"),
        Binding("down,tab", "list('cursor_down')", "Down", show=False, priority=True, id="search.down"),
        Binding("pageup", "list('page_up')", "Page up", show=False, id="search.page_up"),
        Binding("pagedown", "list('page_down')", "Page down", show=False, id="search.page_down"),
    ]

    def __init__(
        self,
        recent: "Sequence[ConversationRow]",
        look: Callable[[str], Looked],
        interrupt: Callable[[], None],
        day: Callable[[float], str],
        query: str = "",
    ) -> None:
        """The first of `recent` stand there while nothing is typed; `look` finds, on another thread, and ends when
        `interrupt` is called; `day` says when something was, in words."""
        super().__init__()
        self._recent, self._look, self._interrupt, self._day = recent[:_RECENT], look, interrupt, day
        self._first = query
        self._shown = ""
        """What was typed when that was found which stands in the list."""
        self._soon: Timer | None = None
        self._looking: asyncio.Task[None] | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="searching"):
            yield LineInput(
                self._first, placeholder="Search titles and messages", id="query", compact=True, max_length=500
            )
            yield Options("found")
            yield Static("", id="said", markup=False)

    def on_mount(self) -> None:
        self.query_one(Options).can_focus = False
        self.query_one(LineInput).focus()
        self._search()
        self.call_after_refresh(self._fit)

    def on_unmount(self) -> None:
        self._give_up()

    # --- looking ---

    @property
    def _typed(self) -> str:
        return self.query_one(LineInput).value.strip()

    def on_input_changed(self) -> None:
        if self._soon is not None:
            self._soon.stop()
        if not self._typed:
            self._search()
        else:
            self._soon = self.set_timer(DEBOUNCE, self._search)

    def _search(self) -> None:
        """Look for what is typed now; what was being looked for before is given up."""
        if self._soon is not None:
            self._soon.stop()
            self._soon = None
        self._give_up()
        if self._typed:
            self._looking = asyncio.create_task(self._search_aside(self._typed))
        else:
            self._show_recent()

    def _fit(self) -> None:
        """It is known how much room there is: let the titles have it."""
        if not self._typed:
            self._show_recent()

    def _give_up(self) -> None:
        if self._looking is not None and not self._looking.done():
            self._interrupt()
            self._looking.cancel()
        self._looking = None

    async def _search_aside(self, typed: str) -> None:
        try:
            looked = await asyncio.to_thread(self._look, typed)
        except QuietlyError as error:
            if self.is_attached:
                self._show([], str(error))
            return
        if self.is_attached and typed == self._typed:
            self._show_found(looked)
            if looked.waiting:
                self._soon = self.set_timer(AGAIN, self._search)

    # --- what is shown ---

    def _show_recent(self) -> None:
        self._show([_Row(Place(row.key), self._recent_row(row)) for row in self._recent], self._hint())

    def _show_found(self, looked: Looked) -> None:
        found, count = looked.found, len(looked.found.hits)
        places = self._hint("nothing found") if not count else "one place" if count == 1 else f"{count:,} places"
        said = f"the first {count:,} places; type more to narrow them down" if found.more else places
        self._show(
            [_Row(Place(hit.conversation, hit.message, _words(hit)), self._found_row(hit)) for hit in found.hits],
            f"{said} · {looked.waiting:,} messages still to look through" if looked.waiting else said,
        )

    def _hint(self, *said: str) -> str:
        """How what is looked for can be narrowed down, behind what is `said`."""
        return in_line([*said, *_HINTS], self.query_one("#said").content_size.width)

    def _show(self, rows: list[_Row], said: str) -> None:
        self.query_one("#said", Static).update(Content(said))
        options = self.query_one(Options)
        standing = [row for row in options.options if isinstance(row, _Row)]
        before, now = ([row.place for row in of] for of in (standing, rows))
        if now == before and all(
            str(one.prompt) == str(other.prompt) for one, other in zip(rows, standing, strict=True)
        ):
            return
        # Where more was found for the same words, the person may be on their way down the list.
        here = before[options.highlighted] if options.highlighted and self._shown == self._typed else None
        self._shown = self._typed
        options.set_options(rows)
        if here in now:
            options.highlighted = now.index(here)
        else:
            options.highlighted = 0 if rows else None
            options.scroll_home(animate=False)

    def _recent_row(self, row: "ConversationRow") -> Content:
        return self._titled(row.title, row.day)

    def _titled(self, title: str, about: str) -> Content:
        """A conversation, and behind it what there is to know, for which the title gives way."""
        cells = max(_SHORTEST, min(_TITLE_CELLS, self._room(about)))
        return Content.assemble(one_line(title, cells) or "Untitled", (f"  {about}", "dim"))

    def _room(self, about: str) -> int:
        """Cells left in a row beside `about`."""
        return self.query_one(Options).scrollable_content_region.width - _BESIDE - cell_len(about)

    def _found_row(self, hit: "Hit") -> Content:
        """Whose words they are and when, and below it the words with what was found in them."""
        snippet = Content(hit.snippet)
        for start, end in hit.marks:
            snippet = snippet.stylize("bold underline", start, end)
        if hit.message is None:
            whole = snippet.truncate(max(_SHORTEST, self._room(_THE_TITLE)), ellipsis=True)
            return Content.assemble(whole, (f"  {_THE_TITLE}", "dim"))
        speaker = "you" if hit.role == "user" else one_line(hit.model or "answer", 24)
        where = {"reasoning": " · reasoning", "attachments": " · attached"}.get(hit.where, "")
        return self._titled(hit.title, f"{speaker} · {self._day(hit.created)}{where}") + Content("\n  ") + snippet

    # --- keys and mouse ---

    def action_list(self, move: str) -> None:
        getattr(self.query_one(Options), f"action_{move}")()

    async def action_take(self) -> None:
        """Open what is highlighted, of what was found for all that is typed."""
        if self._soon is not None:
            self._search()
        if self._looking is not None:
            await asyncio.wait([self._looking])
        self._choose(self.query_one(Options).highlighted_option)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._choose(event.option)

    def _choose(self, row: Option | None) -> None:
        if isinstance(row, _Row):
            self.dismiss(row.place)

    def action_leave(self) -> None:
        self.dismiss(None)


def _words(hit: "Hit") -> str:
    """The first of what was found, where the page shows it."""
    if hit.message is None or hit.where == "attachments" or not hit.marks:
        return ""
    start, end = hit.marks[0]
    return hit.snippet[start:end]
