"""What one rendering of a template may cost, and what it has cost so far. It knows of Jinja only its tables."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2.utils import Namespace

MAX_STEPS = 10_000_000
"""Loop turns, calls, operations, and items of the values that they make, in one rendering."""
MAX_CHARACTERS = 48_000_000
"""Of text made in one rendering, over and above `CHARACTERS_PER_INPUT` times what the conversation holds."""
CHARACTERS_PER_INPUT = 24
MAX_WEIGHT = 1_000_000
"""Of one list or table: its items, nested ones as often as they are seen, and a 64th of its text."""
MAX_SECONDS = 3.0
"""Of this thread's processor time, so that a busy machine fails no honest template."""
MAX_DEPTH = 60
MAX_BITS = 4096
"""Of a whole number."""

_CHECK_EVERY = 64
"""Steps between two looks at the clock."""


class OverBudgetError(Exception):
    """The template wants more than a rendering may cost. The message completes "the template ..."."""


class RefusalError(Exception):
    """The template called raise_exception: it does not take this conversation."""


class Meter:
    """What one rendering has cost so far."""

    def __init__(self, characters: int) -> None:
        self.steps = MAX_STEPS
        self.characters = characters
        self.depth = 0
        self._next_look = self.steps - _CHECK_EVERY
        self._end = time.thread_time() + MAX_SECONDS

    def step(self, count: int = 1) -> None:
        self.steps -= count
        if self.steps < 0:
            raise OverBudgetError("does too much work")
        if self.steps < self._next_look:
            self._next_look = self.steps - _CHECK_EVERY
            if time.thread_time() > self._end:
                raise OverBudgetError(f"does not finish within {MAX_SECONDS:.0f} s")

    def write(self, characters: int) -> None:
        """Pays for text before it is made."""
        self.step(1 + characters // 4096)
        self.characters -= characters
        if self.characters < 0:
            raise OverBudgetError("makes too much text")

    def weigh(self, value: Any) -> int:
        """The weight of a value as a tree, paid for. Shared parts count each time they are seen."""
        weight, pending = 0, [value]
        while pending:
            item = pending.pop()
            weight += 1
            if isinstance(item, str):
                weight += len(item) // 64
            elif isinstance(item, (list, tuple)):
                pending.extend(item)
            elif isinstance(item, dict):
                pending.extend(item)
                pending.extend(item.values())
            elif isinstance(item, Namespace):
                pending.append(object.__getattribute__(item, "_Namespace__attrs"))
            if weight + len(pending) > MAX_WEIGHT:
                raise OverBudgetError("builds too large a value")
        self.step(weight)
        return weight


_current: ContextVar[Meter] = ContextVar("meter")


@contextmanager
def budget(input_characters: int) -> Iterator[None]:
    """Within it, this thread's templates are compiled and rendered at the cost of one fresh budget."""
    token = _current.set(Meter(MAX_CHARACTERS + CHARACTERS_PER_INPUT * input_characters))
    try:
        yield
    finally:
        _current.reset(token)


def current_meter() -> Meter:
    """That of the rendering under way in this thread. LookupError outside `budget`."""
    return _current.get()
