"""Code as HTML: Pygments' tokens in spans, whose classes the page's style colours. Knows no page.

A class begins with a letter for its kind: k for keywords, s for strings, c for comments and so on.
"""

from functools import cache
from html import escape
from importlib import import_module
from io import StringIO
from time import perf_counter
from typing import Any

LIMIT = 60_000
"""Characters; longer blocks stay in one colour, because a lexer reads some 300 KB a second."""
LONGEST_LINE = 1_000
"""Characters; some lexers take a time that grows with the cube of a line's length."""
PATIENCE = 0.3
"""Seconds; a lexer that has not finished by then is given up, and the block stays in one colour."""


def highlighted(code: str, language: str) -> str:
    """`code` as HTML for within a <code>; in one colour where nothing is known of the language."""
    lexer = _lexer(language.lower()) if 0 < len(language) < 40 and len(code) <= LIMIT else None
    if lexer is None or max(map(len, code.split("\n"))) > LONGEST_LINE:
        return escape(code)
    tokens: list[tuple[Any, str]] = []
    deadline = perf_counter() + PATIENCE
    for token in lexer.get_tokens(code):
        if perf_counter() > deadline:
            return escape(code)
        tokens.append(token)
    # Colour must not change the text: a lexer that adds or drops a character is not believed.
    if "".join([text for _, text in tokens]) != code:
        return escape(code)
    spans = StringIO()
    _formatter().format(tokens, spans)
    # The formatter ends with a line, which is not the code's.
    return spans.getvalue() if code.endswith("\n") else spans.getvalue().removesuffix("\n")


@cache
def _lexer(language: str) -> Any:
    # Imported with the first code block: what is carried without any does not wait for it.
    lexers = import_module("pygments.lexers")
    try:
        return lexers.get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except import_module("pygments.util").ClassNotFound:
        return None


@cache
def _formatter() -> Any:
    return import_module("pygments.formatters").HtmlFormatter(nowrap=True)
