"""A text as the tokens of a model: the bytes of each, its row of the embedding matrix, and the rows nearest to that.

It is given engines and a model, and asks a reader for tokens and the engine for rows; it computes nothing. Where the
model cannot be loaded, only what its tokenizer knows is shown. Tokens are hostile: each is spelled.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static

from app.assets import asset
from app.chat.text import one_line, visible
from app.errors import QuietlyError
from app.inspecting import rows
from app.inspecting.apart import Reader
from app.inspecting.told import Drawn, Source, Table, Words, laid
from app.inspecting.vocabulary import Piece, split_words
from app.tui.following import Following
from app.tui.screens.guarded import GuardedModal
from app.tui.widgets.keys_line import KeysLine
from app.tui.widgets.laid import Laid
from app.tui.widgets.line_input import LineInput
from app.tui.widgets.options import Options
from app.words import activity

if TYPE_CHECKING:
    from app.conducting.engines import LooksUp
    from app.engine.protocol import EmbeddingsFound, Progress

LONGEST = 2_000
"""Characters of a text; every token has a row of the list."""
MOST_WORDS = 8
WIDE = 104
"""Columns from which on the rows stand beside the tokens."""
_KEYS = ("↑↓ token", "Tab moves on", "Esc closes")


class Model(Protocol):
    """The model that is looked at."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> Path: ...


class _Typed(msgspec.Struct, frozen=True):
    text: str
    words: tuple[str, ...]


class _Asked(msgspec.Struct, frozen=True):
    """What is asked of the engine."""

    ids: tuple[int, ...] = ()
    words: tuple[tuple[int, ...], ...] = ()
    near: int | None = None


class _Tokens(Options):
    """The tokens, a row each under their headings."""

    can_focus = False

    def __init__(self) -> None:
        super().__init__("pieces")
        self._table = rows.pieces_table(())

    def show(self, table: Table) -> None:
        """Show these in place of the others, the cursor where it was."""
        here, self._table = self.highlighted or 0, table
        self._fill()
        self.highlighted = min(here, self.option_count - 1) if self.option_count else None

    def on_resize(self, event: events.Resize) -> None:
        here = self.highlighted
        self._fill()
        self.highlighted = here

    def _fill(self) -> None:
        lines = laid([self._table], self.scrollable_content_region.width)
        heading = next(lines).text
        self.screen.query_one("#heading", Static).update(Content(heading))
        self.set_options([Content(line.text) for line in lines])


class TokensScreen(GuardedModal[None]):
    """Lines to type a text and words into, the tokens, and what stands in the rows of the one under the cursor."""

    CSS_PATH = asset("styles/tokens.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close", show=False, id="tokens.close"),
        Binding("up", "list('cursor_up')", "Token before", show=False, id="tokens.up"),
        Binding("down", "list('cursor_down')", "Next token", show=False, id="tokens.down"),
        Binding("pageup", "list('page_up')", "Page up", show=False, id="tokens.page_up"),
        Binding("pagedown", "list('page_down')", "Page down", show=False, id="tokens.page_down"),
    ]

    def __init__(self, pool: "LooksUp", model: Model, folders: Iterable[Path] = (), text: str = "") -> None:
        """`folders`: those added by hand; `text`: what stands in the line."""
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]
        self._pool, self._model, self._first = pool, model, text
        self._reader = Reader(str(model.path), folders)
        self._spelling = Following(self, self._spell)
        self._looking = Following(self, self._look)
        self._pieces: tuple[Piece, ...] = ()
        self._words: tuple[str, ...] = ()
        self._asked = _Asked()
        self._answered: _Asked | None = None
        """What is on the page."""
        self._norms: dict[tuple[int, ...], tuple[float, ...]] = {}
        """Of the tokens that are shown."""

    def compose(self) -> ComposeResult:
        with Vertical(id="tokens") as box:
            box.border_title = f"Tokens of {one_line(self._model.name, 60)}"
            yield LineInput(
                self._first, placeholder="A text, to be made tokens of", id="text", compact=True, max_length=LONGEST
            )
            yield Static("", id="measured", markup=False)
            with Vertical(id="halves"):
                with Vertical(id="left"):
                    yield Static("", id="heading", markup=False)
                    yield _Tokens()
                with VerticalScroll(id="about"):
                    yield Laid(id="rows")
            yield LineInput(
                placeholder="Words to compare, with commas between them", id="words", compact=True, max_length=400
            )
            yield KeysLine(*_KEYS, id="keys")

    def on_mount(self) -> None:
        self.query_one("#text").focus()

    async def on_unmount(self) -> None:
        await self._reader.close()

    # --- tokens ---

    def on_input_changed(self) -> None:
        text, words = (self.query_one(id, LineInput).value for id in ("#text", "#words"))
        self._spelling.want(_Typed(text, split_words(words)[:MOST_WORDS]))

    async def _spell(self, typed: _Typed) -> None:
        try:
            spelled = await self._reader.spell(typed.text, typed.words)
        except QuietlyError as error:
            self._say(str(error))
            return
        self._pieces, self._words = spelled.pieces, typed.words
        ids = tuple(piece.id for piece in spelled.pieces)
        self._say(rows.measure(typed.text, len(ids)) if typed.text else "")
        self._asked = _Asked(ids, tuple(tuple(piece.id for piece in word) for word in spelled.words))
        self._show_pieces(self._norms.get(ids, ()))
        self._want_rows()

    def _show_pieces(self, norms: Sequence[float]) -> None:
        self.query_one(_Tokens).show(rows.pieces_table(self._pieces, norms))

    def _say(self, sentence: str) -> None:
        self.query_one("#measured", Static).update(Content(visible(sentence)))

    # --- rows ---

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        self._want_rows()

    def _want_rows(self) -> None:
        """Ask for the rows of what is shown, and for the neighbours of the token under the cursor."""
        at = self.query_one(_Tokens).highlighted
        near = self._pieces[at].id if at is not None and at < len(self._pieces) else None
        asked = msgspec.structs.replace(self._asked, near=near)
        if asked.ids or asked.words:
            self._looking.want(asked)
        else:
            self._answered = None
            self._tell([])

    async def _look(self, asked: _Asked) -> None:
        if asked == self._answered:
            return

        def loading(progress: "Progress") -> None:
            self._tell([Words(activity(progress.stage, progress.done, progress.total), "dim")])

        try:
            found = await self._pool.embeddings(
                self._model.path, asked.ids, words=asked.words, near=asked.near, progress=loading
            )
        except QuietlyError as error:
            self._answered = None
            self._tell([Words(visible(str(error)))])
            return
        if (asked.ids, asked.words) != (self._asked.ids, self._asked.words):
            return  # something else has been typed, and is asked for next
        if asked.ids not in self._norms:
            self._norms = {asked.ids: found.norms}
            self._show_pieces(found.norms)
        self._answered = asked
        self._tell(self._parts(asked, found))

    def _parts(self, asked: _Asked, found: "EmbeddingsFound") -> list[Words | Table | Drawn | Source]:
        parts: list[Words | Table | Drawn | Source] = []
        if pairs := rows.pairs(self._words, found.cosines):
            parts.append(rows.pairs_table(pairs))
        if asked.near is not None and found.one_hot is not None:
            piece = next(piece for piece in self._pieces if piece.id == asked.near)
            parts += [
                *([Words("")] if parts else []),
                Words(f"{rows.piece_name(piece.spelling)}, id {piece.id}", "bold"),
            ]
            parts += [rows.neighbours_table(found.near), Words(""), *rows.one_hot_words(found, found.one_hot)]
        return [*parts, *([Words("")] if parts else []), rows.matrix(found)]

    def _tell(self, parts: Sequence[Words | Table | Drawn | Source]) -> None:
        self.query_one(Laid).show(parts)

    # --- keys ---

    def action_list(self, move: str) -> None:
        getattr(self.query_one(_Tokens), f"action_{move}")()

    def action_leave(self) -> None:
        self.dismiss(None)
