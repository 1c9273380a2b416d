"""How numbers, days and states read on screen and in the shell. Pure functions; nothing here knows a widget, a store or
an engine."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from rich.cells import cell_len

from app.chat.text import one_line
from app.sizes import size as size

FULL = "!"
"""The sign of a context that is nearly full."""
_NEARLY = 0.9
"""Part of a context from which on it is nearly full."""
_TITLE = 60
_LONGEST = 1e9
"""Seconds; nothing takes longer."""


def memory(count: int | None) -> str:
    """`count` bytes of memory in use, in binary units; empty where nobody knows."""
    return size(count) if count else ""


def tokens(count: int) -> str:
    """`count` tokens: 1,200 tokens."""
    return f"{count:,} {'token' if count == 1 else 'tokens'}"


def parameters(count: int) -> str:
    """`count` parameters, as models are named for them: 494 M, 7.6 B."""
    if count < 1_000_000:
        return f"{count:,}"
    if count < 999_500_000:
        return f"{count / 1e6:.0f} M"
    return f"{count / 1e9:.1f} B"


def rate(count: float) -> str:
    """`count` bytes a second: 12.3 MiB/s; empty for none."""
    return f"{size(round(count))}/s" if count > 0 else ""


def connections(count: int) -> str:
    """`count` connections: 0 connections, 1 connection."""
    return f"{count:,} {'connection' if count == 1 else 'connections'}"


def duration(seconds: float) -> str:
    """`seconds` as one says them: 0.4 s, 42 s, 3 min 5 s, 2 h 10 min."""
    if not 0 <= seconds < _LONGEST:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours:,} h {rest} min" if rest else f"{hours:,} h"


def ready(title: str, seconds: float) -> str:
    """What is said when an answer that took `seconds` has ended in the conversation `title`."""
    named = one_line(title, _TITLE)
    return f"Answer ready in {named} · {duration(seconds)}" if named else f"Answer ready · {duration(seconds)}"


def percent(done: int, total: int) -> str:
    """`done` of `total` in whole per cent, never above 100."""
    return f"{min(100, done * 100 // total)} %" if total > 0 else "…"


def activity(stage: str, done: int = 0, total: int = 0) -> str:
    """What an engine is doing, in a few words."""
    match stage:
        case "wait":
            return "waiting for another model"
        case "convert":
            return f"preparing the model, once {percent(done, total)}"
        case "load":
            return f"loading {percent(done, total)}"
        case "restore":
            return f"taking up what was read {percent(done, total)}"
        case "prefill":
            return f"reading the prompt {done:,} of {total:,}"
        case _:
            return stage


def no_limit(trained: int) -> str:
    """What is said of a context that never fills: on how many tokens the model was trained, if that is known."""
    return f"no limit, trained to {trained:,}" if trained else "no limit"


def context(used: int | None, available: int | None, trained: int | None = None) -> str:
    """The context meter: tokens used of tokens there are; empty where nothing is known.

    A sign at its end says that it is nearly full. `trained`: of a model without a limit, what it was trained on.
    """
    if used is None and available is None and trained is None:
        return ""
    left = "–" if used is None else f"{used:,}"
    if available is None:
        return f"ctx {left}" if trained is None else f"ctx {left} · {no_limit(trained)}"
    warning = f" {FULL}" if used is not None and used >= available * _NEARLY else ""
    return f"ctx {left} / {available:,}{warning}"


def speed(tokens: int | None, decode_seconds: float | None, first_token_seconds: float | None) -> str:
    """Tokens/s over the intervals between `tokens` tokens, and TTFT; empty where nothing was measured."""
    parts = []
    if tokens is not None and tokens > 1 and decode_seconds:
        parts.append(f"{(tokens - 1) / decode_seconds:,.1f} tok/s")
    if first_token_seconds:
        parts.append(f"TTFT {first_token_seconds:,.2f} s")
    return " · ".join(parts)


def day(moment: float, today: date) -> str:
    """The day of `moment` (seconds since the epoch, local time), as one says it on the day `today`."""
    then = datetime.fromtimestamp(moment).date()
    match (today - then).days:
        case 0:
            return "Today"
        case 1:
            return "Yesterday"
        case days if 1 < days < 7:
            return f"{then:%A}"
        case _ if then.year == today.year:
            return f"{then.day} {then:%B}"
        case _:
            return f"{then.day} {then:%B %Y}"


def imported(added: int, already: int) -> str:
    """What came of an import: `added` conversations are new, `already` were there."""
    match added:
        case 0:
            new = "Nothing new was imported"
        case 1:
            new = "One conversation was imported"
        case count:
            new = f"{count:,} conversations were imported"
    match already:
        case 0:
            return f"{new}."
        case 1:
            return f"{new}; one was here already."
        case _:
            return f"{new}; {already:,} were here already."


class Part(NamedTuple):
    """A piece of a line that may have to give way; the smallest `weight` goes first."""

    text: str
    weight: int


def fitting(parts: Sequence[Part], width: int, gap: int) -> list[Part]:
    """Those of `parts`, in their order, that fit into `width` cells with `gap` cells between them."""
    kept = [part for part in parts if part.text]
    while kept and sum(cell_len(part.text) + gap for part in kept) - gap > width:
        kept.remove(min(kept, key=lambda part: part.weight))
    return kept
