"""The line at the very bottom: model and device, what is happening, context, memory, how fast the last answer was, and
how many connections there were.

It is given finished words and lays them out; the connections it counts by the ledger. On a narrow terminal the gaps
shrink first, then the least important words give way, and before what is happening or the context would go, the model's
name is cut.
"""

from collections.abc import Iterable

import msgspec
from rich.cells import cell_len
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from app import connections, words
from app.chat.text import one_line
from app.words import Part, fitting

_GAPS = ("  │  ", " │ ")
_NAMES = (18, 9)
"""Cells that the model is cut to where there is no room for more."""
_MODEL, _ACTIVITY, _CONTEXT, _CONNECTED, _SPEED, _MEMORY, _DEVICE, _UNCONNECTED, _HINT = range(9, 0, -1)
"""How long each stays; the smallest goes first. That there was a connection is worth more than that there was none."""
_RIGHT = (_SPEED, _CONNECTED, _UNCONNECTED, _HINT)


class Facts(msgspec.Struct, frozen=True):
    """What the line says; an empty field is not shown."""

    model: str = ""
    device: str = ""
    context: str = ""
    activity: str = ""
    speed: str = ""
    hint: str = ""
    memory: str = ""
    context_short: str = ""
    """The context in fewer words, for where there is no room for all of them; empty where there are no fewer."""


class StatusLine(Widget):
    """One line of facts: what stands on the left, how fast it went, connections and the way to help on the right."""

    facts: reactive[Facts] = reactive(Facts())
    connected: reactive[int] = reactive(0)

    def on_mount(self) -> None:
        self._ledger = connections.ledger
        self._ledger.listen(self._noticed)
        self._count()

    def on_unmount(self) -> None:
        self._ledger.ignore(self._noticed)

    def _noticed(self) -> None:
        self.call_later(self._count)  # it may be any thread that connects

    def _count(self) -> None:
        self.connected = self._ledger.count

    def render(self) -> Content:
        width = self.size.width - 2
        gap, kept = _laid_out(self.facts, width, self.connected)
        left = _joined(gap, (part for part in kept if part.weight not in _RIGHT))
        right = _joined(gap, (part for part in kept if part.weight in _RIGHT))
        space = width - cell_len(left.plain) - cell_len(right.plain)
        return Content.assemble(" ", left, " " * max(0, space), right)


def _laid_out(facts: Facts, width: int, connected: int = 0) -> tuple[str, list[Part]]:
    """The gap and the parts that fit into `width` cells; there were `connected` connections."""
    memory = f"mem {facts.memory}" if facts.memory else ""
    rest = [
        Part(facts.device, _DEVICE),
        Part(facts.activity, _ACTIVITY),
        Part(facts.context, _CONTEXT),
        Part(memory, _MEMORY),
        Part(facts.speed, _SPEED),
        Part(words.connections(connected), _CONNECTED if connected else _UNCONNECTED),
        Part(facts.hint, _HINT),
    ]
    wide, narrow = _GAPS
    whole = [part for part in (Part(facts.model, _MODEL), *rest) if part.text]
    if (kept := fitting(whole, width, len(wide))) == whole:
        return wide, kept
    names = (facts.model, *(one_line(facts.model, cells) for cells in _NAMES))
    shorter = [Part(facts.context_short, _CONTEXT) if part.weight == _CONTEXT else part for part in rest]
    for context in (rest, shorter) if facts.context_short else (rest,):
        needed = [part for part in context if part.text and part.weight >= _CONTEXT]
        for name in names:
            kept = fitting([Part(name, _MODEL), *context], width, len(narrow))
            if all(part in kept for part in needed):
                return narrow, kept
    return narrow, kept


def _joined(gap: str, parts: Iterable[Part]) -> Content:
    return Content(gap).stylize("$foreground 25%").join(Content.styled(part.text, _style(part)) for part in parts)


def _style(part: Part) -> str:
    if part.weight == _ACTIVITY:
        return "$text-accent"
    return "bold $text-warning" if part.weight == _CONTEXT and part.text.endswith(words.FULL) else ""
