"""Markdown text to rows: a walk over markdown-it's tokens.

What is rendered is a model's or a person's text made safe before; nothing in it is ever taken as Rich or
Textual markup. Text that nests deeper than the parser goes, or is longer than `LIMIT`, is shown as it was
written.
"""

import re
from functools import cache
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style

from app.tui.markdown.highlight import code_lines
from app.tui.markdown.inline import inline_runs, plain_runs
from app.tui.markdown.rows import Palette, Row, Run, cells, chop, cut, fill, flow
from app.tui.markdown.spots import hot
from app.tui.markdown.tables import Align, Table, table_rows

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

LIMIT = 200_000
"""Characters; longer than answers are, and parsing takes a second there."""
LONGEST_LINE = 20_000
"""Characters; the parser's time grows with the square of a line's in places, and nobody writes such a line."""
DEEPEST = 40
"""Levels of nesting the parser follows."""
ROOM = 12
"""Cells that a nested block keeps: deeper indentation is no longer shown."""

COPY = "copy"
BULLETS = "•◦▪"
_TASK = re.compile(r"\[([ xX])\] ")


class Prefix:
    """What stands left of a block: a quote's bar on every row, or a list's marker and spaces below it."""

    def __init__(self, rest: str, style: Style, first: str | None = None, decoration: bool = False) -> None:
        self.rest = Segment(rest, style)
        self.first = None if first is None else Segment(first, style)
        self.cells = cells(rest)
        self.decoration = decoration


@cache
def parser() -> "MarkdownIt":
    """CommonMark with tables and strikethrough; HTML blocks are not HTML here but text."""
    from markdown_it import MarkdownIt

    options = {"maxNesting": DEEPEST}
    return MarkdownIt("commonmark", options).enable(["table", "strikethrough"]).disable("html_block")


def parsed(text: str) -> "list[Token] | None":
    """The tokens of `text`; None where it is better shown as it was written."""
    if len(text) > LIMIT or (len(text) > LONGEST_LINE and max(map(len, text.split("\n"))) > LONGEST_LINE):
        return None
    tokens = parser().parse(text)
    return None if any(token.level >= DEEPEST - 1 for token in tokens) else tokens


class Renderer:
    """Renders Markdown into `rows`, `width` cells wide, with `margin` at the left of every row."""

    def __init__(self, width: int, palette: Palette, margin: Prefix | None = None, colours: bool = True) -> None:
        self.rows: list[Row] = []
        self.codes: list[str] = []
        """The text of each code block; the label above it names it by its place in here."""
        self._palette = palette
        self._colours = colours
        self._prefixes: list[Prefix] = [margin] if margin else []
        self._inner = width - (margin.cells if margin else 0)
        self._gap = False

    def markdown(self, text: str) -> None:
        """Render `text`, all of it, after what is there."""
        tokens = parsed(text)
        if tokens is None:
            self.plain(text, self._palette["text"])
        else:
            self.tokens(tokens)

    def tokens(self, tokens: "list[Token]") -> None:
        """Render parsed top-level blocks."""
        position = 0
        while position < len(tokens):
            position = self._block(tokens, position, tight=False)

    def plain(self, text: str, style: Style) -> None:
        """Render text as typed: wrapped, its white space and line breaks kept."""
        self._space()
        self._flow(plain_runs(text, style, self._palette))

    def gap(self) -> None:
        """Ask for a blank row before whatever comes next."""
        self._gap = True

    # For text that grows: what is rendered after a mark can be taken back.

    def mark(self) -> tuple[int, int, bool]:
        return len(self.rows), len(self.codes), self._gap

    def rollback(self, mark: tuple[int, int, bool]) -> None:
        rows, codes, self._gap = mark
        del self.rows[rows:]
        del self.codes[codes:]

    def open_block(self) -> None:
        """Leave the blank row that is due before a block."""
        self._space()

    def close_code(self, code: str) -> None:
        """Note the text of the code block whose label was the last."""
        self.codes.append(code)
        self._gap = True

    # One block each; all return the position after it.

    def _block(self, tokens: "list[Token]", at: int, tight: bool) -> int:
        token = tokens[at]
        kind = token.type
        if kind in ("paragraph_open", "heading_open"):
            style = self._palette["text"]
            if kind == "heading_open":
                style = self._palette[f"h{min(int(token.tag[1]), 4)}"]
            self._space()
            self._flow(inline_runs(tokens[at + 1].children or [], style, self._palette))
            self._gap = not tight
            return at + 3
        if kind in ("fence", "code_block"):
            self._space()
            language = token.info.split()[0] if token.info.split() else ""
            self._code(token.content.removesuffix("\n"), language)
            return at + 1
        if kind == "blockquote_open":
            self._space()
            return self._inside(tokens, at, Prefix("▌ ", self._palette["quote-bar"], decoration=True))
        if kind in ("bullet_list_open", "ordered_list_open"):
            return self._list(tokens, at, tight)
        if kind == "table_open":
            return self._table(tokens, at)
        if kind == "hr":
            self._space()
            self._row([Segment("─" * self._inner, self._palette["rule"])], "\n")
            self._gap = True
        elif token.content:
            self.plain(token.content.rstrip("\n"), self._palette["text"])
            self._gap = True
        return at + 1

    def _inside(self, tokens: "list[Token]", at: int, prefix: Prefix, tight: bool = False) -> int:
        """Render a container's blocks behind `prefix`."""
        closing = tokens[at].type.replace("_open", "_close")
        level = tokens[at].level
        deep = self._inner - prefix.cells < ROOM
        if not deep:
            self._prefixes.append(prefix)
            self._inner -= prefix.cells
        before = len(self.rows)
        at += 1
        while not (tokens[at].type == closing and tokens[at].level == level):
            at = self._block(tokens, at, tight)
        if len(self.rows) == before:
            self._row([], "\n")  # an empty item still shows its marker
        if not deep:
            self._prefixes.pop()
            self._inner += prefix.cells
        self._gap = not tight
        return at + 1

    def _list(self, tokens: "list[Token]", at: int, within_tight: bool) -> int:
        opening = tokens[at]
        closing = opening.type.replace("_open", "_close")
        end = at + 1
        loose = False
        items = 0
        while not (tokens[end].type == closing and tokens[end].level == opening.level):
            token = tokens[end]
            loose |= token.level == opening.level + 2 and token.type == "paragraph_open" and not token.hidden
            items += token.level == opening.level + 1 and token.type == "list_item_open"
            end += 1
        self._space()
        number = int(opening.attrGet("start") or 1) if opening.type == "ordered_list_open" else None
        size = len(str(number + items - 1)) + 2 if number is not None else 2
        depth = sum(not prefix.decoration for prefix in self._prefixes)
        at += 1
        while at < end:
            if number is None:
                marker = BULLETS[min(depth, 2)] + " "
                if task := self._task(tokens, at):
                    marker = "☑ " if task in "xX" else "☐ "
            else:
                marker = f"{number}{opening.markup} ".rjust(size)
                number += 1
            prefix = Prefix(" " * size, self._palette["marker"], first=marker)
            at = self._inside(tokens, at, prefix, tight=not loose)
        self._gap = not within_tight
        return end + 1

    def _task(self, tokens: "list[Token]", at: int) -> str | None:
        """The state of a task item, whose "[x] " is taken off its text."""
        if tokens[at + 1].type != "paragraph_open":
            return None
        children = tokens[at + 2].children
        if not children or children[0].type != "text" or not (match := _TASK.match(children[0].content)):
            return None
        children[0].content = children[0].content[match.end() :]
        return match.group(1)

    def _table(self, tokens: "list[Token]", at: int) -> int:
        rows: list[list[list[Run]]] = []
        aligns: list[Align] = []
        while tokens[at].type != "table_close":
            token = tokens[at]
            if token.type == "tr_open":
                rows.append([])
            elif token.type in ("th_open", "td_open"):
                style = self._palette["text"]
                if token.type == "th_open":
                    style += Style(bold=True)
                    name = str(token.attrGet("style") or "")
                    aligns.append("right" if "right" in name else "center" if "center" in name else "left")
                rows[-1].append(inline_runs(tokens[at + 1].children or [], style, self._palette))
            at += 1
        self._space()
        for segments, join in table_rows(Table(rows, aligns), self._inner, self._palette):
            self._row(segments, join)
        self._gap = True
        return at + 1

    def _code(self, code: str, language: str) -> None:
        self.code_label(language)
        self.code_rows(code_lines(code, language, self._palette, self._colours))
        self.close_code(code)

    def code_label(self, language: str) -> None:
        """The row above a code block: its language, and "copy" to click on."""
        number = len(self.codes)
        style = hot(self._palette["code-label"], "copy", number)
        copy = hot(self._palette["code-copy"], "copy", number)
        room = self._inner - len(COPY) - 4
        name = language or "text"
        if cells(name) > room:
            begin, stop = chop(name, max(room, 2))[0]
            name = name[begin:stop] if room > 1 else ""
        left = fill([Segment(f"  {name}", style)], self._inner - len(COPY) - 1, style)
        self._row([*left, Segment(COPY, copy), Segment(" ", style)], "\n", decoration=True)

    def code_rows(self, lines: list[list[Run]]) -> None:
        """Rows of code on the code block's ground; a line that is too long goes on below, cut anywhere."""
        ground = self._palette["code"]
        edge = Segment("▏ ", self._palette["code-edge"])
        width = self._inner - 3
        for line in lines:
            whole = "".join([text for text, _ in line])
            ranges = chop(whole, width)
            for number, segments in enumerate(cut(line, ranges)):
                last = number == len(ranges) - 1
                row = fill([edge, *segments], self._inner, ground)
                self._row(row, "\n" if last else "", content=(2, 2 + ranges[number][1] - ranges[number][0]))

    # Rows.

    def _space(self) -> None:
        if self._gap and self.rows:
            self._row([], "\n", blank=True)
        self._gap = False

    def _flow(self, runs: list[Run]) -> None:
        for segments, join in flow(runs, self._inner):
            self._row(segments, join)

    def _row(
        self,
        segments: list[Segment],
        join: str,
        *,
        blank: bool = False,
        decoration: bool = False,
        content: tuple[int, int] | None = None,
    ) -> None:
        out: list[Segment] = []
        length = bars = 0
        opens = False
        for prefix in self._prefixes:
            segment = prefix.rest
            if prefix.first is not None and not blank:
                segment, prefix.first, opens = prefix.first, None, True
            out.append(segment)
            length += len(segment.text)
            if prefix.decoration:
                bars = length
        size = sum([len(segment.text) for segment in segments])
        if decoration:
            begin = stop = length + size
        elif content:
            begin, stop = length + content[0], length + content[1]
        else:
            # A marker is content, and so is its indentation: a copied list stays a list.
            begin, stop = bars if opens else length, length + size
        self.rows.append(Row([*out, *segments], begin, stop, "" if decoration else join))
