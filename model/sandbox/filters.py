"""The filters and functions that chat templates may use: Jinja's where they cannot grow, our own where they can."""

import html
import json
import re
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from itertools import pairwise
from typing import Any

from jinja2 import pass_environment
from jinja2.filters import FILTERS, make_attrgetter

from model.sandbox.meter import OverBudgetError, RefusalError, current_meter
from model.sandbox.values import as_text, joined, padded, paid, percent, replaced, width_of


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as transformers' templates expect it: characters as they are, no HTML escapes."""
    meter = current_meter()
    meter.weigh(value)
    if isinstance(indent, (int, str)) and (len(indent) if isinstance(indent, str) else indent) > 16:
        raise OverBudgetError("indents too widely")
    if separators is not None and sum(len(part) for part in separators) > 16:
        raise OverBudgetError("separates too widely")
    encoder = json.JSONEncoder(
        ensure_ascii=bool(ensure_ascii), indent=indent, separators=separators, sort_keys=bool(sort_keys)
    )
    pieces = []
    for piece in encoder.iterencode(value):
        meter.write(len(piece))
        pieces.append(piece)
    return "".join(pieces)


@pass_environment
def _join(environment: Any, value: Any, d: Any = "", attribute: Any = None) -> str:
    items = value if attribute is None else map(make_attrgetter(environment, attribute), value)
    return joined(as_text(d), (as_text(item) for item in items))


def _indent(s: Any, width: Any = 4, first: bool = False, blank: bool = False) -> str:
    if not isinstance(width, str) and width_of(width) > 1000:
        raise OverBudgetError("indents too widely")
    text, margin = as_text(s), width if isinstance(width, str) else " " * width
    lines = text.splitlines() or [""]
    if text.endswith("\n"):
        lines.append("")
    meter = current_meter()
    meter.step(len(lines))
    meter.write(len(text) + len(margin) * len(lines))
    indented = [margin + line if line or blank else line for line in lines]
    if not first:
        indented[0] = lines[0]
    elif not indented[0]:
        indented[0] = margin
    return "\n".join(indented)


@pass_environment
def _sum(environment: Any, iterable: Any, attribute: Any = None, start: Any = 0) -> Any:
    if not isinstance(start, (int, float)):
        raise OverBudgetError("adds up something other than numbers")
    return FILTERS["sum"](environment, iterable, attribute, start)


def _round(value: Any, precision: Any = 0, method: str = "common") -> Any:
    if not isinstance(precision, int) or abs(precision) > 30:
        raise OverBudgetError("rounds too finely")
    return FILTERS["round"](value, precision, method)


def _of_text(name: str) -> Callable[..., Any]:
    plain = FILTERS[name]

    def of_text(value: Any, *args: Any, **kwargs: Any) -> Any:
        return plain(as_text(value), *args, **kwargs)

    return of_text


def _title(value: Any) -> Any:
    text = as_text(value)
    if len(text) > 100_000:  # Jinja takes a microsecond for each word, and nobody shouts for so long
        raise OverBudgetError("makes a title of too long a text")
    return FILTERS["title"](text)


def _batch(value: Any, linecount: Any, fill_with: Any = None) -> Any:
    current_meter().step(0 if fill_with is None else max(0, width_of(linecount)))  # it fills the last one at once
    return FILTERS["batch"](value, linecount, fill_with)


def _slice(value: Any, slices: int, fill_with: Any = None) -> list[list[Any]]:
    """Columns: as long as each other, or the first ones longer by one; the others filled up."""
    items = list(value)
    current_meter().step(len(items) + max(0, width_of(slices)))
    length, longer = divmod(len(items), slices)
    starts = [n * length + min(n, longer) for n in range(slices + 1)]
    columns = [items[start:end] for start, end in pairwise(starts)]
    if fill_with is not None:
        for column in columns[longer:]:
            column.append(fill_with)
    return columns


def _striptags(value: Any) -> str:
    text = as_text(value)
    if len(text) > 100_000:  # it copies the text for each tag
        raise OverBudgetError("strips the tags of too long a text")
    return str(FILTERS["striptags"](text))


def _wordcount(value: Any) -> int:
    text = as_text(value)
    current_meter().step(len(text) // 2)  # as many as words at most
    return sum(1 for _ in re.finditer(r"\w+", text))


@pass_environment
def _truncate(environment: Any, s: Any, *args: Any, **kwargs: Any) -> Any:
    return FILTERS["truncate"](environment, as_text(s), *args, **kwargs)


_JINJA_FILTERS = """
    abs count d default dictsort first float groupby int items last length list map max min reject rejectattr
    reverse select selectattr sort unique
"""

TEMPLATE_FILTERS: dict[str, Callable[..., Any]] = {
    # Autoescaping is off, so "safe" text is text; nothing here ever makes Markup, whose operators grow.
    "string": as_text,
    "safe": as_text,
    **dict.fromkeys(("e", "escape", "forceescape"), lambda value: html.escape(as_text(value))),
    "center": lambda value, width=80: padded("center")(as_text(value), width),
    "format": lambda value, *args, **kwargs: percent(as_text(value), kwargs or args),
    "indent": _indent,
    "join": _join,
    "replace": lambda s, old, new, count=None: replaced(
        as_text(s), as_text(old), as_text(new), -1 if count is None else count
    ),
    "round": _round,
    "sum": _sum,
    "tojson": _tojson,
    "truncate": _truncate,
    **{name: _of_text(name) for name in ("capitalize", "lower", "trim", "upper")},
    "title": _title,
    "batch": _batch,
    "slice": _slice,
    "striptags": _striptags,
    "wordcount": _wordcount,
    **{name: FILTERS[name] for name in re.findall(r"\w+", _JINJA_FILTERS)},
}
"""The filters of chat templates. Jinja's others are for web pages, and several can be made to explode."""


def priced_filter(plain: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(plain)  # also copies the marks by which Jinja passes its environment
    def priced(*args: Any, **kwargs: Any) -> Any:
        meter = current_meter()
        for value in args:
            if isinstance(value, (list, tuple, dict)):
                meter.step(len(value))
        return paid(plain(*args, **kwargs))

    return priced


def refuse(message: Any = "") -> str:
    raise RefusalError(as_text(message))


def strftime_now(pattern: str) -> str:
    # The C library takes widths ("%9999999d"), so a directive is one letter here.
    if len(pattern) > 200 or re.search(r"%(?![-#]?[a-zA-Z%])", pattern):
        raise OverBudgetError("asks for a date in an impossible form")
    return datetime.now().astimezone().replace(tzinfo=None).strftime(pattern)
