"""Which engines stay and which give their memory back: by what they take, who uses them, and when they last were used.

Figures in, paths out. It knows no process, no clock and not where the figures come from.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from model.choices import Choices

Shortage = Literal["none", "some", "much"]
"""How short of memory the machine is: not; so that others wait for it; so that it will swap next, or kill."""


class Held(msgspec.Struct, frozen=True):
    """An engine that holds a model."""

    checkpoint: Path
    memory: int
    """Bytes that it takes, or may come to take."""
    busy: bool
    """Whether somebody waits for what it does: then nobody else's need ends it."""
    used: float
    """When it was last asked, in seconds of a clock that never goes back."""


class Appraisal(msgspec.Struct, frozen=True):
    """What loading a model comes to on this machine, told before a byte of it is read. Bytes."""

    need: int = 0
    """What it will take."""
    room: int = 0
    """What all others together may keep beside it."""
    sessions: int = 1 << 30
    """What it may hold of conversations beside the present one."""
    draft: Path | None = None
    """A smaller model that is to guess ahead for it; what that takes is in its need."""
    refusal: str = ""
    """Why it is too big, and the way out; empty where it is not."""
    warning: str = ""
    """What is to be said where it fits only just."""
    choices: Choices | None = None
    """How it is to be computed, where that was measured on this machine; None is as the rule has it."""


def staying(held: Sequence[Held], room: int) -> frozenset[Path]:
    """Which stay beside a model that leaves `room` bytes: the busy, then the most recently used that still fit."""
    stay = {one.checkpoint for one in held if one.busy}
    taken = sum(one.memory for one in held if one.busy)
    for one in sorted(held, key=lambda one: one.used, reverse=True):
        if not one.busy and taken + one.memory <= room:
            stay.add(one.checkpoint)
            taken += one.memory
    return frozenset(stay)


def in_the_way(held: Sequence[Held], room: int) -> bool:
    """Whether the busy ones alone take more than `room` bytes: one of them must end first."""
    busy = [one.memory for one in held if one.busy]
    return bool(busy) and sum(busy) > room


def outstayed(held: Sequence[Held], now: float, after: float) -> frozenset[Path]:
    """Those that nobody asked for `after` seconds; 0 keeps them for ever."""
    return frozenset(one.checkpoint for one in held if after and not one.busy and now - one.used >= after)


def giving_way(held: Sequence[Held], shortage: Shortage) -> frozenset[Path]:
    """Those that go where memory is short: all that are idle, but for the one used last while there is only some."""
    idle = sorted((one for one in held if not one.busy), key=lambda one: one.used)
    if shortage == "some" and len(idle) == len(held):
        idle = idle[:-1]
    return frozenset(one.checkpoint for one in idle) if shortage != "none" else frozenset()
