"""Text and other values that a template makes, each paid for before it exists where it can be large."""

import re
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from types import GeneratorType
from typing import Any

from jinja2.sandbox import SandboxedFormatter
from jinja2.utils import Namespace

from model.sandbox.meter import MAX_BITS, OverBudgetError, current_meter


def as_text(value: Any) -> str:
    """`value` as text, paid for unless it was text already."""
    if isinstance(value, str):
        return value
    meter = current_meter()
    if isinstance(value, (list, tuple, dict, Namespace)):
        meter.weigh(value)
    elif isinstance(value, (KeysView, ValuesView, ItemsView)):
        meter.weigh(list(value))
    text = str(value)
    meter.write(len(text))
    return text


def paid(value: Any) -> Any:
    """A value that an operation has just handed out, paid for; what comes lazily is paid for item by item."""
    meter = current_meter()
    if isinstance(value, str):
        meter.write(len(value))
    elif isinstance(value, (list, tuple, dict)):
        meter.step(len(value))
    elif isinstance(value, Namespace):
        meter.weigh(value)
    elif isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise OverBudgetError("makes too large a number")
    elif isinstance(value, GeneratorType):
        return _metered(value)
    return value


def _metered(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        current_meter().weigh(item)
        yield item


def width_of(value: Any) -> int:
    return value if isinstance(value, int) else 0  # anything else is the callee's TypeError


def replaced(text: str, old: str, new: str, count: int = -1) -> str:
    found = text.count(old)
    if count is not None and count >= 0:
        found = min(found, count)
    current_meter().write(len(text) + found * max(0, len(new) - len(old)))
    return text.replace(old, new, found)


def joined(separator: str, items: Iterable[Any]) -> str:
    texts = list(items)
    meter = current_meter()
    meter.step(len(texts))
    meter.write(sum(len(text) for text in texts) + len(separator) * len(texts))
    return separator.join(texts)


def padded(name: str) -> Callable[..., str]:
    def pad(text: str, width: int, *fill: str) -> str:
        current_meter().write(max(len(text), width_of(width)))
        return str(getattr(text, name)(width, *fill))

    return pad


GROWING_METHODS: dict[str, Callable[..., str]] = {
    "replace": replaced,
    "join": joined,
    **{name: padded(name) for name in ("center", "ljust", "rjust", "zfill")},
}

_LONG_NUMBER = re.compile(r"\d{4,}[hlL]*[diouxXeEfFgGcrsa%]")


def percent(pattern: str, values: Any) -> str:
    """`pattern % values`, with its longest possible result paid for beforehand."""
    if isinstance(values, Mapping):
        listed = list(values.values())
    else:
        listed = list(values) if isinstance(values, tuple) else [values]
    starred = "*" in pattern and any(isinstance(value, int) and abs(value) > 999 for value in listed)
    if starred or _LONG_NUMBER.search(pattern):
        raise OverBudgetError("pads text too widely")
    longest = max((len(as_text(value)) for value in listed), default=0)
    current_meter().write(len(pattern) + pattern.count("%") * (1500 + 10 * longest))  # %a writes one as ten
    return str(pattern % values)


class Formatter(SandboxedFormatter):
    def format_field(self, value: Any, format_spec: str) -> Any:
        if re.search(r"\d{4,}", format_spec):
            raise OverBudgetError("pads text too widely")
        text = str(super().format_field(value if isinstance(value, (str, int, float)) else as_text(value), format_spec))
        current_meter().write(len(text))
        return text

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return super().convert_field(value if conversion is None else as_text(value), conversion)
