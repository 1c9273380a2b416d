"""What a person can set, described as data: screens, documents and checks are made from it.

Knows neither where a value is kept nor what it does.
"""

import math
from typing import Literal

import msgspec

Kind = Literal["switch", "integer", "number", "choice", "line", "text"]


class Field(msgspec.Struct, frozen=True):
    """One thing to set."""

    id: str
    """As it stands in a file, such as copy_on_select."""
    group: str
    label: str
    says: str
    """One sentence: what it does."""
    kind: Kind
    choices: tuple[tuple[str, str], ...] = ()
    """For a choice: each value and how people read it."""
    low: float | None = None
    high: float | None = None
    unit: str = ""
    optional: bool = False
    """Whether it may be left unset: then something else decides, which a screen names."""


def fits(field: Field, value: object) -> bool:
    """Whether `value` is one that `field` can have; None, which is no value, is not."""
    match field.kind:
        case "switch":
            return isinstance(value, bool)
        case "choice":
            return any(value == choice for choice, _ in field.choices)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool) and _within(field, value)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool) and _within(field, value)
        case "line":
            return isinstance(value, str) and "\n" not in value
        case "text":
            return isinstance(value, str)


def expected(field: Field) -> str:
    """What `field` takes, in words that follow "must be": a number from 0 to 2."""
    match field.kind:
        case "switch":
            return "true or false"
        case "choice":
            return f"one of {', '.join(choice for choice, _ in field.choices)}"
        case "integer":
            return f"a whole number{_range(field)}"
        case "number":
            return f"a number{_range(field)}"
        case "line":
            return "text in one line"
        case "text":
            return "text"


def shown(field: Field, value: object) -> str:
    """A value as people read it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.10g}"
    return next((label for choice, label in field.choices if choice == value), str(value))


def _within(field: Field, value: int | float) -> bool:
    low = -math.inf if field.low is None else field.low
    high = math.inf if field.high is None else field.high
    return low <= value <= high and abs(value) != math.inf


def _range(field: Field) -> str:
    unit = f" {field.unit}" if field.unit else ""
    low, high = field.low, field.high
    if low is not None and high is not None:
        return f" from {_plain(low)} to {_plain(high)}{unit}"
    if low is not None:
        return f" of at least {_plain(low)}{unit}"
    if high is not None:
        return f" of at most {_plain(high)}{unit}"
    return f" of {field.unit}" if unit else ""


def _plain(bound: float) -> str:
    return f"{int(bound):,}" if bound == int(bound) else f"{bound:g}"
