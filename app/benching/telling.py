"""What was measured as a table and a chart in a terminal, narrow ones too, and as data for programs.

Nothing is told by colour alone: each bar has its name and its number. It knows reports and no process.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from rich.cells import cell_len

from app.benching.messages import Decode, Prefill, Restore, Thing, Turn
from app.benching.rounds import Entry, Report, named
from app.chat.text import one_line
from app.inspecting.told import Line
from app.words import size

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LIMIT = "░"
_BEYOND = 2.0
"""Times the longest bar at which that of a limit ends, however far the limit is."""
_SHORTEST, _LONGEST = 8, 60
"""Cells of the longest bar."""
_MISSING = "–"
_LONG = 400
"""Characters of somebody's words that are shown."""
_GAP = "  "


class Measure(NamedTuple):
    """One quantity, as it was measured of everyone."""

    label: str
    thing: Thing
    tokens: int
    """In the time that was measured: the figure is a rate. 0: it is the time itself."""

    def value(self, entry: Entry) -> float | None:
        """Tokens a second, or seconds."""
        seconds = entry.figure(self.thing).seconds
        return self.tokens / seconds if seconds and self.tokens else seconds

    def ratio(self, host: Entry, other: Entry) -> float | None:
        """How many times faster the host is."""
        mine, theirs = host.figure(self.thing).seconds, other.figure(self.thing).seconds
        return theirs / mine if mine and theirs else None


class Group(NamedTuple):
    """What is measured in the same unit."""

    title: str
    measures: tuple[Measure, ...]


def groups(report: Report) -> list[Group]:
    """All that the plan names, by kind."""
    plan = report.plan
    prompts, depths = sorted(set(plan.prompts)), sorted(set(plan.depths))
    waiting = (
        Measure("cold", plan.cold, 0),
        Measure("warm", Turn(plan.held, plan.new), 0),
        Measure("restored", Restore(plan.held, plan.new), 0),
    )
    found = (
        Group("Reading a prompt of so many tokens, tokens/s", tuple(Measure(f"{n:,}", Prefill(n), n) for n in prompts)),
        Group(
            "Writing behind so many tokens, tokens/s",
            tuple(Measure(f"{depth:,}", Decode(depth, plan.answer), plan.answer) for depth in depths),
        ),
        Group(f"First token, {plan.new:,} more behind {plan.held:,}, s: less is better", waiting if plan.held else ()),
    )
    return [group for group in found if group.measures]


def number(value: float | None) -> str:
    """About three digits."""
    if value is None:
        return _MISSING
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.{1 if value >= 9.995 else 2 if value >= 0.9995 else 3}f}"


def title(report: Report) -> Line:
    """What was measured, and what the figures are."""
    rounds = report.plan.rounds
    told = "measured once" if rounds == 1 else f"medians of {rounds}; ±: the sample that is farthest off"
    return Line(f"{one_line(report.model, 60)}: {told}", "bold")


# --- the table ------------------------------------------------------------------------------------------------------


def table(report: Report, width: int) -> list[Line]:
    """A row a quantity, a column for each who was measured, in `width` cells where that can be done.

    Where there is no room for everything, first the spreads are left out, then the ratios.
    """
    lines: list[Line] = []
    host, *others = report.entries
    legend = [Line(f"{_GAP}×: how many times as fast {host.name} is", "dim")] if others else []
    for spreads, ratios in ((True, True), (False, True), (False, False)):
        rows = list(_rows(report, spreads))
        lines = _lines(rows, ratios)
        if all(cell_len(line.text) <= width for row, line in zip(rows, lines, strict=True) if row.cells):
            break
    return [*lines, *legend] if ratios else lines


class _Row(NamedTuple):
    """A line of the table: a cell for each who was measured, and how many times faster the first is than each other.

    A title has no cells.
    """

    label: str
    cells: tuple[str, ...] = ()
    factors: tuple[float | None, ...] = ()

    def columns(self, ratios: bool) -> list[str]:
        columns = list(self.cells[:1])
        for cell, factor in zip(self.cells[1:], self.factors, strict=True):
            columns += [cell, _times(factor)] if ratios else [cell]
        return columns


def _rows(report: Report, spreads: bool) -> Iterator[_Row]:
    host, *others = report.entries
    nothing = (None,) * len(others)
    yield _Row("", tuple(entry.name for entry in report.entries), nothing)
    for group in groups(report):
        yield _Row(group.title)
        for measure in group.measures:
            yield _Row(
                measure.label,
                tuple(_cell(measure, entry, spreads) for entry in report.entries),
                tuple(measure.ratio(host, other) for other in others),
            )
    if report.bandwidth:
        yield _Row(f"Writing, of what memory of {number(report.bandwidth / 1e9)} GB/s allows")
        for depth in sorted(set(report.plan.depths)):
            yield _Row(f"{depth:,}", tuple(_percent(report.share(entry, depth)) for entry in report.entries), nothing)
    yield _Row("Memory")
    yield _Row("peak", tuple(size(entry.memory) if entry.memory else _MISSING for entry in report.entries), nothing)


def _cell(measure: Measure, entry: Entry, spreads: bool) -> str:
    spread = entry.figure(measure.thing).spread
    told = number(measure.value(entry))
    return f"{told} ±{spread:.0%}" if spreads and spread is not None else told


def _times(factor: float | None) -> str:
    return "" if factor is None else f"{factor:.2f}×" if factor < 9.995 else f"{number(factor)}×"


def _percent(share: float | None) -> str:
    return _MISSING if share is None else f"{share:.0%}"


def _lines(rows: Sequence[_Row], ratios: bool) -> list[Line]:
    cells = [row.columns(ratios) for row in rows]
    labels = max(cell_len(row.label) for row in rows if row.cells)
    widths = [max(map(cell_len, column)) for column in zip(*filter(None, cells), strict=True)]
    lines = []
    for row, columns in zip(rows, cells, strict=True):
        if not columns:
            lines.append(Line(row.label, "bold"))
            continue
        padded = [" " * (wide - cell_len(cell)) + cell for cell, wide in zip(columns, widths, strict=True)]
        label = " " * (labels - cell_len(row.label)) + row.label
        lines.append(Line(_GAP + _GAP.join([label, *padded]).rstrip(), "plain" if row.label else "dim"))
    return lines


# --- the chart ------------------------------------------------------------------------------------------------------


def chart(report: Report, width: int) -> list[Line]:
    """A bar for each figure, groups one below the other; below bars of writing the limit that memory sets."""
    lines: list[Line] = []
    for group in groups(report):
        bars = list(_bars(report, group))
        if any(bar.value for bar in bars):
            lines += [Line(""), Line(group.title, "bold"), *_drawn(bars, width)]
    return lines[1:]


class _Bar(NamedTuple):
    label: str
    name: str
    value: float | None
    limit: bool = False


def _bars(report: Report, group: Group) -> Iterator[_Bar]:
    for measure in group.measures:
        label = measure.label
        for entry in report.entries:
            yield _Bar(label, entry.name, measure.value(entry))
            label = ""
        if isinstance(measure.thing, Decode):
            limit = report.limit(report.entries[0], measure.thing.depth)
            yield _Bar("", "limit", limit, limit=True)


def _drawn(bars: Sequence[_Bar], width: int) -> Iterator[Line]:
    labels, names = max(cell_len(bar.label) for bar in bars), max(cell_len(bar.name) for bar in bars)
    numbers = max(cell_len(number(bar.value)) for bar in bars)
    room = width - labels - names - numbers - 4 * len(_GAP)
    longest = max(_SHORTEST, min(_LONGEST, room))
    scale = max(bar.value or 0 for bar in bars if not bar.limit)
    limits = max((bar.value or 0 for bar in bars if bar.limit), default=0)
    scale = max(scale, min(limits, _BEYOND * scale))
    for bar in bars:
        if bar.value is None:
            continue
        sign = _LIMIT * round(longest * min(1, bar.value / scale)) if bar.limit else bar_of(bar.value / scale, longest)
        beyond = "…" if bar.limit and bar.value > scale else ""
        text = f"{_GAP}{bar.label:>{labels}}{_GAP}{bar.name:<{names}}{_GAP}{sign}{beyond} {number(bar.value)}"
        yield Line(text, "dim" if bar.limit else "bold" if bar.name == bars[0].name else "plain")


def bar_of(share: float, longest: int) -> str:
    """A bar in eighths of a cell; the smallest is one."""
    whole, eighths = divmod(max(1, round(share * longest * 8)), 8)
    return "█" * whole + _EIGHTHS[eighths].strip()


# --- beside the figures ---------------------------------------------------------------------------------------------


def set_up(report: Report) -> list[Line]:
    """Who was measured, and how each computes: one line for all that do it alike."""
    alike: dict[str, list[str]] = defaultdict(list)
    for entry in report.entries:
        if entry.prepared is None:
            continue
        told = [one_line(f"{name}: {value}", _LONG) for name, value in entry.prepared.configuration]
        version, device = one_line(entry.prepared.version), one_line(entry.prepared.device)
        alike["; ".join([version, device, *told])].append(entry.name)
    return [Line(f"{', '.join(names)}: {told}") for told, names in alike.items()]


def notes(report: Report) -> list[Line]:
    """What was left out, and why: a line for each reason."""
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in report.entries:
        for thing, figure in entry.figures.items():
            if figure.why:
                reasons[entry.name, one_line(figure.why.rstrip("."), _LONG)].append(named(thing))
    lines = [
        Line(f"{name}: {', '.join(things)}: {one_line(why.rstrip('.'), _LONG)}.")
        for (name, why), things in reasons.items()
    ]
    return lines + [Line(f"{entry.name}: {one_line(entry.ended, _LONG)}") for entry in report.entries if entry.ended]


def as_data(report: Report) -> dict[str, Any]:
    """All of it for programs: seconds of every sample, bytes, tokens a second, shares from 0 to 1."""
    return {
        "model": report.model,
        "rounds": report.plan.rounds,
        "one_at_a_time": report.apart,
        "bytes_per_second": report.bandwidth,
        "runners": [_entry_as_data(report, entry) for entry in report.entries],
    }


def _entry_as_data(report: Report, entry: Entry) -> dict[str, Any]:
    return {
        **entry.as_data(),
        "memory_bytes": entry.memory,
        "figures": [_figure_as_data(report, entry, measure) for group in groups(report) for measure in group.measures],
    }


def _figure_as_data(report: Report, entry: Entry, measure: Measure) -> dict[str, Any]:
    figure, thing = entry.figure(measure.thing), measure.thing
    told: dict[str, Any] = {
        "what": type(thing).__name__.lower() if measure.tokens else measure.label,
        **msgspec.structs.asdict(thing),
        "seconds": figure.seconds,
        "samples": [sample.seconds for sample in figure.samples],
        "tokens_per_second": measure.value(entry) if measure.tokens else None,
        "memory_bytes": figure.memory,
        "why_not": figure.why or None,
    }
    if isinstance(thing, Decode):
        told |= {"bytes_per_token": figure.read, "share_of_limit": report.share(entry, thing.depth)}
    return told
