"""What else a model could have said: an answer token by token, and the candidates at the place under the cursor.

It gets the answer's pieces and a function that finds the candidates of a place; it is dismissed with the one
that a person wants to continue from, or None. It knows no engine, no store and no tokenizer. Tokens are hostile:
each is spelled so that everything in it is seen.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

import msgspec
from rich.segment import Segment
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.timer import Timer
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from app.assets import asset
from app.chat.text import one_line, visible
from app.errors import QuietlyError
from app.spelling import spelled
from app.tui.following import aside
from app.tui.markdown.rows import cells, chop
from app.tui.screens.guarded import GuardedModal
from app.tui.widgets.options import Options

if TYPE_CHECKING:
    from app.engine.protocol import SamplingOptions

PAUSE = 0.12
"""Seconds that the cursor rests on a token before its candidates are asked for."""
READING_WIDTH = 100
"""Cells of text in a row at most."""
WIDE, TALL = 112, 24
"""Columns from which on the candidates stand beside the answer, and rows from which on there is room around."""
_BLOCKS = " ▏▎▍▌▋▊▉"
_LINES = re.compile("[^\n]*\n|[^\n]+")
_LONGEST_BAR = 24


class Candidate(Protocol):
    """A token that could have stood there."""

    @property
    def token(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def probability(self) -> float:
        """Before the filters, 0 to 1."""

    @property
    def share(self) -> float:
        """Of what the filters kept, 0 to 1; 0 where they cut it."""


class Panel(msgspec.Struct, frozen=True):
    """What could have stood at one place, the most likely first."""

    chosen: int
    """The token that stands there."""
    candidates: Sequence[Candidate]
    kept: int
    """How many tokens the filters kept in all."""
    kept_mass: float
    """Their probability before the cut, 0 to 1."""
    filters: str = ""
    """The filters in words, as `filters` says them."""
    vocabulary: int = 0
    """How many tokens there are; 0 where it is not known."""


class Choice(msgspec.Struct, frozen=True):
    """Continue from `token` in place of the one at `position` (from 0) of the answer."""

    position: int
    token: int
    text: str


Ask = Callable[[int, Callable[[int, int], None]], Awaitable[Panel]]
"""Finds the candidates at a position, telling its second argument how far it has read: done of total tokens. It is
cancelled when the person has moved on; QuietlyError where it cannot be done."""


def filters(sampling: "SamplingOptions") -> str:
    """What `sampling` does to the candidates, in words: temperature 0.8 · top-k 40."""
    said = [] if sampling.temperature is None else [f"temperature {sampling.temperature:g}"]
    if sampling.top_k:
        said.append(f"top-k {sampling.top_k}")
    if sampling.top_p is not None and sampling.top_p < 1:
        said.append(f"top-p {sampling.top_p:g}")
    if sampling.min_p:
        said.append(f"min-p {sampling.min_p:g}")
    if sampling.repetition_penalty not in (None, 1):
        said.append(f"repetition penalty {sampling.repetition_penalty:g}")
    if sampling.presence_penalty:
        said.append(f"presence penalty {sampling.presence_penalty:g}")
    if sampling.frequency_penalty:
        said.append(f"frequency penalty {sampling.frequency_penalty:g}")
    if (sampling.presence_penalty or sampling.frequency_penalty) and sampling.penalty_decay not in (None, 1):
        said.append(f"penalty decay {sampling.penalty_decay:g}")
    return " · ".join(said)


def percent(part: float) -> str:
    """`part` of 1 as per cent: 61.2 %, 0.031 %; never 0 for what can happen."""
    if part >= 0.9995:
        return "100 %"
    if part >= 0.001:
        return f"{part * 100:.1f} %"
    return f"{part * 100:.3f} %" if part >= 0.00001 else "<0.001 %" if part > 0 else "0 %"


def bar(part: float, width: int) -> str:
    """`part` of 1 as a bar of blocks in `width` cells."""
    eighths = min(max(round(part * width * 8), part > 0), width * 8)
    full, rest = divmod(eighths, 8)
    return f"{'█' * full}{_BLOCKS[rest] if rest else ''}".ljust(width)


# --- the answer, token by token -------------------------------------------------------------------------------------


class Run(NamedTuple):
    """A stretch of one row that belongs to one piece."""

    start: int
    """Cells left of it."""
    text: str
    piece: int


def lay(pieces: Sequence[str], width: int) -> list[list[Run]]:
    """The rows of `pieces` in `width` cells: every piece has at least one cell, and words stay whole where they
    fit."""
    rows: list[list[Run]] = [[]]
    used = 0
    word: list[tuple[int, str]] = []

    def put(piece: int, text: str, size: int) -> None:
        nonlocal used
        if used + size > width and used:
            rows.append([])
            used = 0
        rows[-1].append(Run(used, text, piece))
        used += size

    def end() -> None:
        nonlocal used
        size = sum([cells(text) for _, text in word])
        if used and used + size > width:
            rows.append([])
            used = 0
        for piece, text in word:
            if size <= width:
                put(piece, text, cells(text))
            else:
                for first, last in chop(text, width):
                    put(piece, text[first:last], cells(text[first:last]))
        word.clear()

    for piece, raw in enumerate(pieces):
        for line in _LINES.findall(raw) or ("",):
            text = spelled(line, " ")
            # A word begins at a space, and anywhere in scripts that have none.
            if line[:1].isspace() or (not line.isascii() and cells(text) > len(text)):
                end()
            word.append((piece, text))
            if line.endswith("\n"):
                end()
                rows.append([])
                used = 0
    end()
    return rows if rows[-1] or len(rows) == 1 else rows[:-1]


class Pieces(ScrollView, can_focus=True, inherit_bindings=False):
    """The answer's tokens, and a cursor that stands on one of them."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"pieces--odd", "pieces--even", "pieces--sign", "pieces--cursor"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "step(-1)", "Token before", show=False, id="pieces.left"),
        Binding("right,l", "step(1)", "Next token", show=False, id="pieces.right"),
        Binding("up,k", "row(-1)", "Row above", show=False, id="pieces.up"),
        Binding("down,j", "row(1)", "Row below", show=False, id="pieces.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="pieces.page-up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="pieces.page-down"),
        Binding("home", "move(0)", "First token", show=False, id="pieces.home"),
        Binding("end", "move(-1)", "Last token", show=False, id="pieces.end"),
        Binding("enter", "enter", "To the candidates", show=False, id="pieces.enter"),
    ]

    class Moved(Message):
        """The cursor stands on another token."""

    class Entered(Message):
        """The person wants to choose among the candidates."""

    def __init__(self, pieces: Sequence[str], at: int, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._pieces = pieces
        self._rows: list[list[Run]] = []
        self._begins: list[tuple[int, int]] = []
        """Where each piece begins: row and cell."""
        self._ends: list[int] = []
        self._width = 0
        self._row, self._goal = 0, 0
        """The row that the cursor stands in, of those its token takes, and the cell it keeps to going up and down."""
        self.position = min(max(at, 0), max(len(pieces) - 1, 0))

    def on_resize(self) -> None:
        if not self.size.width:
            return
        if self.size.width != self._width:
            self._width = self.size.width
            self._rows = lay(self._pieces, max(min(self._width - 1, READING_WIDTH), 8))
            self._begins = [(0, 0)] * len(self._pieces)
            self._ends = [0] * len(self._pieces)
            for number, row in reversed(list(enumerate(self._rows))):
                for run in reversed(row):
                    self._ends[run.piece] = max(self._ends[run.piece], number)
                    self._begins[run.piece] = number, run.start
            self.virtual_size = Size(self._width, len(self._rows))
            if self._begins:
                self._row, self._goal = self._begins[self.position]
        self._into_sight()

    def _into_sight(self) -> None:
        if self._begins:
            row = self._begins[self.position][0]
            height = self._ends[self.position] - row + 1
            self.scroll_to_region(Region(0, row, 1, min(height, self.size.height)), animate=False)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        row = round(self.scroll_y) + y
        width = self.size.width
        if row >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        odd, even, sign, cursor = (
            self.get_component_rich_style(f"pieces--{part}") for part in ("odd", "even", "sign", "cursor")
        )
        segments: list[Segment] = []
        for run in self._rows[row]:
            style = odd if run.piece % 2 else even
            if run.piece == self.position:
                segments.append(Segment(run.text, style + cursor))
                continue
            body = run.text.rstrip("↵⇥∅")
            segments += [Segment(body, style), Segment(run.text[len(body) :], style + sign)]
        return Strip(segments).extend_cell_length(width, self.rich_style)

    def move(self, position: int) -> None:
        """Put the cursor on a token; beyond an end is at that end."""
        if self._begins:
            position = min(max(position, 0), len(self._pieces) - 1)
            self._row, self._goal = self._begins[position]
            self._stand(position)

    def _stand(self, position: int) -> None:
        if position != self.position:
            self.position = position
            self._into_sight()
            self.post_message(self.Moved())

    def _piece_at(self, row: int, x: int) -> int | None:
        """The piece at or left of cell `x` of a row."""
        if not 0 <= row < len(self._rows) or not self._rows[row]:
            return None
        runs = self._rows[row]
        return next((run.piece for run in reversed(runs) if run.start <= x), runs[0].piece)

    def action_step(self, step: int) -> None:
        self.move(self.position + step)

    def action_row(self, step: int) -> None:
        # A token may take several rows: on until another one is reached.
        row = self._row
        while 0 <= (row := row + step) < len(self._rows):
            piece = self._piece_at(row, self._goal)
            if piece is not None and piece != self.position:
                self._row = row
                self._stand(piece)
                return

    def action_page(self, step: int) -> None:
        row = min(max(self._row + step * max(self.size.height - 1, 1), 0), len(self._rows) - 1)
        piece = self._piece_at(row, self._goal)
        if piece is not None:
            self._row = row
            self._stand(piece)

    def action_move(self, position: int) -> None:
        self.move(position if position >= 0 else len(self._pieces) - 1)

    def action_enter(self) -> None:
        self.post_message(self.Entered())

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        if at is not None:
            row = round(self.scroll_y) + at.y
            piece = self._piece_at(row, at.x)
            if piece is not None:
                self._row, self._goal = row, at.x
                self._stand(piece)


# --- the candidates -------------------------------------------------------------------------------------------------


class Candidates(Options):
    """The candidates of one place, a row each; left and right still walk the answer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "screen.step(-1)", "Token before", show=False, id="candidates.left"),
        Binding("right,l", "screen.step(1)", "Next token", show=False, id="candidates.right"),
        Binding("j", "cursor_down", "Down", show=False, id="candidates.down"),
        Binding("k", "cursor_up", "Up", show=False, id="candidates.up"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id)
        self._panel: Panel | None = None
        self._width = 0

    def show(self, panel: Panel | None) -> None:
        """The rows of `panel`, the cursor on the token that stands there."""
        self._panel = panel
        self.highlighted = None
        self._fill()

    def _standing(self, panel: Panel) -> int:
        tokens = [candidate.token for candidate in panel.candidates]
        return tokens.index(panel.chosen) if panel.chosen in tokens else 0

    def on_resize(self) -> None:
        width = self.scrollable_content_region.width
        if width != self._width:
            self._width = width
            self._fill()

    def _fill(self) -> None:
        kept = self.highlighted
        self.clear_options()
        if self._panel is not None and self._width:
            wide = self._columns(self._panel)
            self.add_options(
                [
                    Option(_row(rank, candidate, candidate.token == self._panel.chosen, *wide))
                    for rank, candidate in enumerate(self._panel.candidates, start=1)
                ]
            )
            self.highlighted = self._standing(self._panel) if kept is None else kept

    def _columns(self, panel: Panel) -> tuple[int, int]:
        """Cells of the token's text and of the bar: the bar gives way first."""
        room = self._width - len("  1 ● ") - len(" <0.001 %") - len("  kept <0.001 %")
        longest = max([cells(spelled(candidate.text)) for candidate in panel.candidates], default=0)
        token = max(min(max(longest, 8), 28, room), 1)
        length = min(room - token - 2, _LONGEST_BAR)
        if length < 4 and token > 14:
            token, length = 14, min(room - 16, _LONGEST_BAR)
        return token, length if length >= 4 else 0


def _row(rank: int, candidate: Candidate, chosen: bool, token: int, length: int) -> Content:
    text = one_line(spelled(candidate.text), token)
    after = f"kept {percent(candidate.share)}" if candidate.share > 0 else "cut"
    row = "".join(
        (
            f"{rank:>3} {'●' if chosen else ' '} ",
            text + " " * max(token - cells(text), 0),
            f" {percent(candidate.probability):>8}",
            f"  {bar(candidate.probability, length)}" if length else "",
            f"  {after}",
        )
    )
    style = "bold" if chosen else "" if candidate.share > 0 else "dim"
    return Content.styled(row, style) if style else Content(row)


class Probabilities(GuardedModal[Choice | None]):
    """The panel. `at` is the token that the cursor begins on."""

    CSS_PATH = asset("styles/probabilities.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Close", show=False, id="probabilities.close"),
    ]

    def __init__(self, pieces: Sequence[str], ask: Ask, *, at: int = 0) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]
        self.VERTICAL_BREAKPOINTS = [(0, "-short"), (TALL, "-tall")]
        self._texts, self._ask = pieces, ask
        self._pieces = Pieces(pieces, at, id="pieces")
        self._candidates = Candidates(id="candidates")
        self._known: dict[int, Panel] = {}
        self._shown: tuple[int, Panel] | None = None
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="panel") as panel:
            panel.border_title = "What else it could have said"
            with Vertical(id="halves"):
                yield self._pieces
                with Vertical(id="places"):
                    yield Static("", id="where", markup=False)
                    yield Static("", id="said", markup=False)
                    yield self._candidates
            yield Static(
                Content("←→↑↓ token  Tab candidates  Enter takes one  Esc leaves  ● what stands there"),
                id="keys",
            )

    def on_mount(self) -> None:
        self._pieces.focus()
        if self._texts:
            self._look(pause=0)
        else:
            self._say("The tokens of this answer are not known, so there is nothing to look at.")

    # --- the place under the cursor ---

    def on_pieces_moved(self) -> None:
        self._look(pause=PAUSE)

    def on_pieces_entered(self) -> None:
        if self._shown is not None:
            self._candidates.focus()
        elif self._texts:
            self._look(pause=0)

    def _look(self, pause: float) -> None:
        """Show the candidates at the cursor, or ask for them when it has rested a while."""
        position = self._pieces.position
        if self._timer is not None:
            self._timer.stop()
        self.workers.cancel_group(self, "candidates")
        text = spelled(self._texts[position])
        self.query_one("#where", Static).update(
            Content.assemble(f"token {position + 1:,} of {len(self._texts):,}  ", (one_line(text, 40), "bold"))
        )
        if position in self._known:
            self._show(position, self._known[position])
            return
        self._shown = None
        self._candidates.show(None)
        self._say("…")
        if pause:
            self._timer = self.set_timer(pause, partial(self._begin, position))
        else:
            self._begin(position)

    def _begin(self, position: int) -> None:
        aside(self, partial(self._find, position), "candidates")

    async def _find(self, position: int) -> None:
        try:
            panel = await self._ask(position, partial(self._read, position))
        except QuietlyError as error:
            self._say_at(position, visible(str(error)))
        except Exception:
            self._say_at(position, "That did not work; move to another token, or try again with Enter.")
            raise  # the app writes the report
        else:
            self._known[position] = panel
            if position == self._pieces.position and self.is_attached:
                self._show(position, panel)

    def _read(self, position: int, done: int, total: int) -> None:
        if position not in self._known:
            self._say_at(position, f"reading {done:,} of {total:,}")

    def _say_at(self, position: int, sentence: str) -> None:
        if position == self._pieces.position and self.is_attached:
            self._say(sentence)

    def _say(self, sentence: str) -> None:
        self.query_one("#said", Static).update(Content(sentence))

    def _show(self, position: int, panel: Panel) -> None:
        self._shown = position, panel
        self._candidates.show(panel)
        of = f"{panel.kept:,} of {panel.vocabulary:,}" if panel.vocabulary else f"{panel.kept:,}"
        begin = f"{panel.filters} kept" if panel.filters else "Kept"
        self._say(visible(f"{begin} {of}, {percent(panel.kept_mass)} of the mass"))

    # --- what is chosen ---

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if self._shown is None:
            return
        position, panel = self._shown
        if event.option_index < len(panel.candidates):
            candidate = panel.candidates[event.option_index]
            self.dismiss(Choice(position, candidate.token, candidate.text))

    def action_step(self, step: int) -> None:
        self._pieces.action_step(step)

    def action_leave(self) -> None:
        self.dismiss(None)
