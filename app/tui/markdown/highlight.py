"""Code to coloured segments: Pygments' tokens in the parts of the palette. Knows no theme and no widget."""

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from time import perf_counter
from typing import Any, Protocol

from app.tui.markdown.rows import TAB, Palette, Run


class Lexer(Protocol):
    """What is used of a Pygments lexer, which comes without types."""

    def get_tokens(self, text: str) -> Iterable[tuple[Any, str]]: ...


LIMIT = 60_000
"""Characters; longer blocks stay in one colour, because a lexer reads some 300 KB a second."""
LONGEST_LINE = 1_000
"""Characters; some lexers take a time that grows with the cube of a line's length."""
PATIENCE = 0.3
"""Seconds; a lexer that has not finished by then is given up, and the block stays in one colour."""

# The first matching ancestor of a token's type decides.
_PARTS = {
    "Token.Keyword.Type": "code-type",
    "Token.Keyword": "code-keyword",
    "Token.Operator.Word": "code-keyword",
    "Token.Name.Builtin": "code-type",
    "Token.Name.Class": "code-type",
    "Token.Name.Exception": "code-type",
    "Token.Name.Function": "code-name",
    "Token.Name.Decorator": "code-name",
    "Token.Name.Tag": "code-name",
    "Token.Name.Attribute": "code-type",
    "Token.Literal.String": "code-string",
    "Token.Literal.Number": "code-number",
    "Token.Keyword.Constant": "code-number",
    "Token.Comment": "code-comment",
    "Token.Comment.Preproc": "code-keyword",
    "Token.Generic.Heading": "code-name",
    "Token.Generic.Deleted": "code-deleted",
    "Token.Generic.Inserted": "code-string",
    "Token.Generic.Prompt": "code-comment",
    "Token.Generic.Output": "code-comment",
}


@cache
def _part(token: Any) -> str:
    while token:
        if part := _PARTS.get(str(token)):
            return part
        token = token.parent
    return "code"


@cache
def _lexer(language: str) -> Lexer | None:
    # Imported with the first code block: the window's first frame does not wait for it.
    lexers = import_module("pygments.lexers")
    try:
        lexer: Lexer = lexers.get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except import_module("pygments.util").ClassNotFound:
        return None
    return lexer


def code_lines(code: str, language: str, palette: Palette, colours: bool = True) -> list[list[Run]]:
    """The lines of `code` as runs, tabs expanded; in one colour where nothing is known of the language."""
    code = "\n".join([line.expandtabs(TAB) for line in code.split("\n")])
    plain = palette["code"]
    uncoloured: list[list[Run]] = [[(line, plain)] for line in code.split("\n")]
    if not colours or not 0 < len(language) < 40 or len(code) > LIMIT:
        return uncoloured
    if any(len(line[0][0]) > LONGEST_LINE for line in uncoloured):
        return uncoloured
    lexer = _lexer(language.lower())
    if lexer is None:
        return uncoloured
    lines: list[list[Run]] = [[]]
    deadline = perf_counter() + PATIENCE
    for kind, text in lexer.get_tokens(code):
        if perf_counter() > deadline:
            return uncoloured
        style = palette[_part(kind)]
        first, *others = text.split("\n")
        if first:
            lines[-1].append((first, style))
        lines += [[(other, style)] if other else [] for other in others]
    # Colour must not change the text: a lexer that adds or drops a character is not believed.
    if "\n".join(["".join([text for text, _ in line]) for line in lines]) != code:
        return uncoloured
    return lines
