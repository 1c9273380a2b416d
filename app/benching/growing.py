"""How time and memory grow with a prompt as a table and as curves in a terminal, and what that does and does not show.

It knows reports and no process.
"""

import sys
from collections.abc import Callable

from app.benching.curves import SEVERAL, Curve, drawn
from app.benching.messages import Prefill
from app.benching.rounds import Figure, Report
from app.benching.scaling import WINDOW, Exponent, Growth, growth
from app.benching.telling import number
from app.inspecting.told import Line, Table, laid
from app.words import parameters, size

_MISSING = "–"


def title(report: Report) -> Line:
    """What took turns, and what the figures are."""
    rounds = report.plan.rounds
    counts = [entry.prepared.parameters for entry in report.entries if entry.prepared and entry.prepared.parameters]
    one = f" of {parameters(max(counts))} parameters" if counts else ""
    told = "measured once" if rounds == 1 else f"the least of {rounds}, for what else runs only makes it longer"
    return Line(f"Untrained networks{one}, a window of {WINDOW}: {told}", "bold")


def table(report: Report) -> list[Line]:
    """A row a length, a column a network; below the times their exponents, below the bytes what a token more takes."""
    return [
        Line("Reading a prompt of so many tokens, s", "bold"),
        *laid([_times(report)], sys.maxsize),
        Line(""),
        Line("Kept of it: keys and values, or the state", "bold"),
        *laid([_kept(report)], sys.maxsize),
        _most(report),
    ]


def curves(report: Report, width: int) -> list[Line]:
    """Time and memory over the length, both axes logarithmic: the steeper, the higher the power."""
    found = [(entry.name, growth(entry, report.plan)) for entry in report.entries]
    seconds = [Curve(sign(name), one.seconds) for name, one in found]
    kept = [Curve(sign(name), one.kept) for name, one in found]
    legend = ", ".join([*(f"{sign(name)} {name}" for name, _ in found), f"{SEVERAL} several"])
    lines: list[Line] = []
    for words, plotted, told in (
        ("Seconds", seconds, lambda value: f"{number(value)} s"),
        ("Bytes kept", kept, lambda value: size(round(value))),
    ):
        if rows := drawn(plotted, width, told):
            lines += [Line(""), Line(f"{words} over tokens, both axes logarithmic: {legend}", "bold")]
            lines += [Line(row) for row in rows]
    return lines[1:]


def sign(name: str) -> str:
    """The letter that stands for a network in a chart."""
    return name[0].upper()


def reading(report: Report) -> list[Line]:
    """What this shows and what it does not, a sentence each."""
    host = report.entries[0]
    found = growth(host, report.plan)
    if len(found.seconds) < 2:
        return []
    shortest, longest = found.seconds[0][0], found.seconds[-1][0]
    crossing = found.crossing
    looks_back = (
        f"Looking back takes {host.name} longer than all else from about {_rounded(crossing):,} tokens on. Up to there "
        "the matrices hide it, in a wider network for longer, and everything looks linear."
        if crossing is not None and crossing <= longest
        else f"Up to {longest:,} tokens looking back takes {host.name} less time than all else, so that it looks more "
        "linear than it is: longer prompts, by --prompt, show more."
    )
    sentences = (
        f"An exponent is the slope of the line that comes nearest to the logarithms of all times from {shortest:,} to "
        f"{longest:,} tokens, ± its standard error; at the end, that of the last three alone. Where a curve bends, it "
        "is no law for other lengths.",
        looks_back,
        "These are small networks without training: they show how time and memory grow, not which is faster at the "
        "size of your models, and nothing of how well any of them answers.",
    )
    return [Line(sentence) for sentence in sentences]


def _rounded(tokens: float) -> int:
    """To one digit: on a machine that does something else too, the fit has no more."""
    return int(float(f"{tokens:.0e}"))


# --- the parts of the table -----------------------------------------------------------------------------------------


def _times(report: Report) -> Table:
    return _table(
        report,
        lambda figure: number(figure.least),
        ("exponent", lambda found: _exponent(found.exponent)),
        ("at the end", lambda found: _exponent(found.last)),
    )


def _kept(report: Report) -> Table:
    def kept(figure: Figure) -> str:
        return _MISSING if figure.kept is None else size(figure.kept)

    def more(found: Growth) -> str:
        return _MISSING if found.each_more is None else size(round(found.each_more))

    return _table(report, kept, ("each more", more))


def _most(report: Report) -> Line:
    """What the whole of it took, which is more than what is kept."""
    taken = [f"{entry.name} {size(entry.memory)}" for entry in report.entries if entry.memory is not None]
    return Line(f"  At any moment at most, weights and workspace too: {', '.join(taken) or _MISSING}", "dim")


def _table(report: Report, cell: Callable[[Figure], str], *below: tuple[str, Callable[[Growth], str]]) -> Table:
    """A row a length, and `below` those what was found of all lengths."""
    rows = [
        (f"{length:,}", *(cell(entry.figure(Prefill(length))) for entry in report.entries))
        for length in sorted(set(report.plan.prompts))
    ]
    found = [growth(entry, report.plan) for entry in report.entries]
    rows += [(name, *map(told, found)) for name, told in below]
    return Table(("", *(entry.name for entry in report.entries)), tuple(rows), ">" * (1 + len(report.entries)))


def _exponent(found: Exponent | None) -> str:
    if found is None:
        return _MISSING
    return f"{found.value:.2f}" if found.error is None else f"{found.value:.2f} ±{found.error:.2f}"
