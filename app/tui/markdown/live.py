"""The live form of Markdown: text that grows at its end, rendered for what the growth costs.

Blocks that can no longer change are rendered once; only the last, open block is rendered again. An open code
fence is not parsed again either: its lines are frozen in chunks. What one part of a text says about an
earlier one (a link's target defined below) is only seen by the full rendering at the answer's end.
"""

import re

from app.tui.markdown.highlight import code_lines
from app.tui.markdown.render import Prefix, Renderer, parsed
from app.tui.markdown.rows import Palette, Row

FREEZE_OVER = 30
KEEP_OPEN = 10
"""Lines of an open fence: past `FREEZE_OVER`, all but `KEEP_OPEN` are rendered for good."""

_OPENING = re.compile(r"( {0,3})(`{3,}|~{3,})([^\n]*)")
_MAYBE_CLOSING = re.compile(r" {0,3}(`+|~+)[ \t]*")


class _Fence:
    """An open code fence: how it began, and the lines of code rendered for good."""

    def __init__(self, indent: int, marker: str, language: str) -> None:
        self.indent = indent
        self.language = language
        self.lines: list[str] = []
        self._closing = re.compile(rf" {{0,3}}{re.escape(marker[0])}{{{len(marker)},}}[ \t]*")

    def closes(self, line: str) -> bool:
        return self._closing.fullmatch(line) is not None

    def code(self, line: str) -> str:
        """`line` without the indentation of the opening fence."""
        return line[min(self.indent, len(line) - len(line.lstrip(" "))) :]


class LiveMarkdown:
    """Rows of a text that grows; `update` takes all of it each time."""

    def __init__(self, width: int, palette: Palette, margin: Prefix | None = None) -> None:
        self._palette = palette
        self._renderer = Renderer(width, palette, margin)
        self._closed = 0  # characters rendered for good
        self._fence: _Fence | None = None
        self._mark = self._renderer.mark()

    @property
    def rows(self) -> list[Row]:
        return self._renderer.rows

    @property
    def codes(self) -> list[str]:
        return self._renderer.codes

    def update(self, text: str) -> None:
        """Render `text`, which begins with the text given last time."""
        self._renderer.rollback(self._mark)
        while self._advance(text):
            pass

    def _advance(self, text: str) -> bool:
        """Close what can be closed and render the open rest; true where there is more to read."""
        tail = text[self._closed :]
        if self._fence:
            return self._in_fence(self._fence, tail)
        tokens = parsed(tail)
        if tokens is None:
            self._keep()
            self._renderer.plain(tail, self._palette["text"])
            return False
        # A block is closed once the next one has begun on a line that is complete: an unfinished line may
        # still turn out to belong to the block before it.
        complete = tail.count("\n")
        starts = {
            token.map[0]: place
            for place, token in reversed(list(enumerate(tokens)))
            if token.level == 0 and token.nesting >= 0 and token.map
        }
        boundary = max((line for line in starts if 0 < line < complete), default=0)
        if boundary:
            self._renderer.tokens(tokens[: starts[boundary]])
            tokens = tokens[starts[boundary] :]
            for _ in range(boundary):
                self._closed = text.index("\n", self._closed) + 1
        if len(tokens) == 1 and tokens[0].type == "fence" and complete > boundary:
            opening = _OPENING.match(text, self._closed)
            if opening is not None:
                self._renderer.open_block()
                info = tokens[0].info.split()
                language = info[0] if info else ""
                self._fence = _Fence(len(opening[1]), opening[2], language)
                self._renderer.code_label(language)
                self._closed = text.index("\n", self._closed) + 1
                return True
        self._keep()
        self._renderer.tokens(tokens)
        return False

    def _in_fence(self, fence: _Fence, tail: str) -> bool:
        *lines, partial = tail.split("\n")
        for number, line in enumerate(lines):
            if fence.closes(line):
                self._freeze(fence, lines[:number])
                self._renderer.close_code("\n".join(fence.lines))
                self._closed += len(line) + 1
                self._fence = None
                return True
        if len(lines) > FREEZE_OVER:
            self._freeze(fence, lines[:-KEEP_OPEN])
            lines = lines[-KEEP_OPEN:]
        self._keep()
        shown = [fence.code(line) for line in lines]
        if partial and not _MAYBE_CLOSING.fullmatch(partial):
            shown.append(fence.code(partial))
        if shown:
            self._renderer.code_rows(code_lines("\n".join(shown), fence.language, self._palette))
        self._renderer.close_code("\n".join(fence.lines + shown))
        return False

    def _freeze(self, fence: _Fence, lines: list[str]) -> None:
        code = [fence.code(line) for line in lines]
        if code:
            self._renderer.code_rows(code_lines("\n".join(code), fence.language, self._palette))
        elif not fence.lines:
            self._renderer.code_rows([[("", self._palette["code"])]])
        fence.lines += code
        self._closed += sum(len(line) + 1 for line in lines)

    def _keep(self) -> None:
        self._mark = self._renderer.mark()
