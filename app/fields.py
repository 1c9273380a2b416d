"""What a person can set, described as data: screens, documents and checks are made from it.

Knows neither where a value is kept nor what it does.
"""

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
