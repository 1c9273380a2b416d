"""The line at the very bottom: model and device, what is happening, context, memory, how fast the last answer was.

It is given finished words and lays them out. On a narrow terminal the gaps shrink first, then the least important
words give way, and before what is happening or the context would go, the model's name is cut.
"""

from collections.abc import Iterable

import msgspec
from rich.cells import cell_len
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from app.chat.text import one_line
from app.tui import words
from app.tui.words import Part, fitting

_GAPS = ("  │  ", " │ ")
_NAMES = (18, 9)
"""Cells that the model is cut to where there is no room for more."""
_MODEL, _ACTIVITY, _CONTEXT, _SPEED, _MEMORY, _DEVICE, _HINT = 7, 6, 5, 4, 3, 2, 1
"""How long each stays; the smallest goes first."""


class Facts(msgspec.Struct, frozen=True):
    """What the line says; an empty field is not shown."""

    model: str = ""
    device: str = ""
    context: str = ""
    activity: str = ""
    speed: str = ""
    hint: str = ""
    memory: str = ""


class StatusLine(Widget):
    """One line of facts: what stands on the left, how fast it went and the way to help on the right."""

    facts: reactive[Facts] = reactive(Facts())

    def render(self) -> Content:
        width = self.size.width - 2
        gap, kept = _laid_out(self.facts, width)
        left = _joined(gap, (part for part in kept if part.weight not in (_SPEED, _HINT)))
        right = _joined(gap, (part for part in kept if part.weight in (_SPEED, _HINT)))
        space = width - cell_len(left.plain) - cell_len(right.plain)
        return Content.assemble(" ", left, " " * max(0, space), right)


def _laid_out(facts: Facts, width: int) -> tuple[str, list[Part]]:
    """The gap and the parts that fit into `width` cells."""
    memory = f"mem {facts.memory}" if facts.memory else ""
    rest = [
        Part(facts.device, _DEVICE),
        Part(facts.activity, _ACTIVITY),
        Part(facts.context, _CONTEXT),
        Part(memory, _MEMORY),
        Part(facts.speed, _SPEED),
        Part(facts.hint, _HINT),
    ]
    wide, narrow = _GAPS
    whole = [part for part in (Part(facts.model, _MODEL), *rest) if part.text]
    if (kept := fitting(whole, width, len(wide))) == whole:
        return wide, kept
    needed = [part for part in rest if part.text and part.weight >= _CONTEXT]
    for name in (facts.model, *(one_line(facts.model, cells) for cells in _NAMES)):
        kept = fitting([Part(name, _MODEL), *rest], width, len(narrow))
        if all(part in kept for part in needed):
            break
    return narrow, kept


def _joined(gap: str, parts: Iterable[Part]) -> Content:
    return Content(gap).stylize("$foreground 25%").join(Content.styled(part.text, _style(part)) for part in parts)


def _style(part: Part) -> str:
    if part.weight == _ACTIVITY:
        return "$text-accent"
    return "bold $text-warning" if part.weight == _CONTEXT and part.text.endswith(words.FULL) else ""
