"""What PanGu-π's two modules cost beside Llama, and what three layers fewer save: its paper's trade, on this machine.

Networks of one width take turns: Llama, Llama with one of the modules, PanGu-π as deep, and PanGu-π with 29 layers for
Llama's 32. Their weights are random: time does not depend on them, and what the modules are good for is not asked here.
Each time is held against Llama's of the same round. It knows reports and no process.
"""

from collections.abc import Mapping
from math import pi, sqrt
from statistics import median
from types import MappingProxyType
from typing import Any, NamedTuple

from app.benching.messages import Decode, Prefill, Thing
from app.benching.rounds import Entry, Plan, Report
from app.benching.telling import bar_of, number
from app.inspecting.told import Line, Table, laid
from app.words import parameters

HOST = "Llama"
DEEP, SHALLOW = 32, 29
"""Layers of Llama 2 7B, and of PanGu-π 7B (table 1)."""
BOTH, FEWER = "PanGu-π", f"PanGu-π, {SHALLOW} layers"
PAPER: Mapping[str, float] = MappingProxyType(
    {
        "+ series": 7.76 / 7.56,
        "+ shortcut": 7.66 / 7.56,
        BOTH: 7.86 / 7.56,
        FEWER: 43.00 / 47.60,
    }
)
"""Times as many as Llama's, as published: milliseconds on an Ascend 910A, of small models in table 4 and of those with
seven billion parameters in table 5 (arXiv 2312.17276)."""
_HEAD = 64
"""Numbers of a head."""
_SMALL, _LARGE = 512, 1024
"""Numbers of a hidden state: for a processor, and for a GPU. The modules' share is the larger the narrower they are."""
_LABEL = "network"


def plan_for(gpu: bool, quick: bool) -> Plan:
    """A prompt that keeps the device busy, and a few tokens, which are what the paper's times are of.

    Many short rounds: whatever else runs for a while then falls on all alike.
    """
    return Plan(prompts=(512 if gpu else 64,), depths=(0,), answer=16 if gpu else 4, rounds=15 if quick else 31)


def networks(gpu: bool) -> dict[str, dict[str, Any]]:
    """The fields of a config.json for each, by name; the first is the one that the others are held against."""
    hidden = _LARGE if gpu else _SMALL
    llama: dict[str, Any] = {
        "model_type": "llama",
        "vocab_size": 1024,
        "hidden_size": hidden,
        "intermediate_size": hidden * 8 // 3 // 32 * 32,  # as Llama has it: two thirds of four times, rounded
        "num_hidden_layers": DEEP,
        "num_attention_heads": hidden // _HEAD,
        "num_key_value_heads": hidden // _HEAD,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
    }
    pangu = {**llama, "model_type": "pangu_pi"}
    return {
        HOST: llama,
        "+ series": {**pangu, "num_shortcuts": 0},
        "+ shortcut": {**pangu, "num_series_activations": 1},
        BOTH: pangu,
        FEWER: {**pangu, "num_hidden_layers": SHALLOW},
    }


# --- what comes of it -----------------------------------------------------------------------------------------------


class Ratio(NamedTuple):
    """How many times as long as Llama something takes."""

    value: float
    """The median over the rounds."""
    error: float | None
    """The standard error of that, from the median deviation of the rounds, as if they were spread normally. None for a
    single round."""

    @property
    def is_sure(self) -> bool:
        """Whether it differs from 1 by more than twice its error."""
        return self.error is not None and abs(self.value - 1) > 2 * self.error


def ratio(report: Report, entry: Entry, thing: Thing, host: Entry | None = None) -> Ratio | None:
    """Of each round's times, beside those of `host`, which is Llama by default. None where either was not measured."""
    own, others = (one.figure(thing).samples for one in (entry, host or report.entries[0]))
    pairs = [mine.seconds / theirs.seconds for mine, theirs in zip(own, others, strict=False)]
    if not pairs:
        return None
    middle = median(pairs)
    if len(pairs) < 2:
        return Ratio(middle, None)
    deviation = 1.4826 * median(abs(pair - middle) for pair in pairs)
    return Ratio(middle, sqrt(pi / 2) * deviation / sqrt(len(pairs)))


def written(plan: Plan) -> Decode:
    """What is measured of writing."""
    return Decode(0, plan.answer)


def read(plan: Plan) -> Prefill:
    """What is measured of reading."""
    return Prefill(plan.prompts[0])


def as_data(report: Report) -> dict[str, Any]:
    """All of it for programs: seconds of every sample, times as many as Llama's here and in the paper."""
    return {
        "rounds": report.plan.rounds,
        "prompt_tokens": report.plan.prompts[0],
        "networks": [_network(report, entry) for entry in report.entries],
    }


def _network(report: Report, entry: Entry) -> dict[str, Any]:
    prepared = entry.prepared
    told: dict[str, Any] = {
        **entry.as_data(),
        "parameters": prepared.parameters if prepared else None,
        "paper_ratio": PAPER.get(entry.name),
    }
    parts: tuple[tuple[str, Thing, int], ...] = (
        ("token", written(report.plan), report.plan.answer),
        ("prompt", read(report.plan), 1),
    )
    for name, thing, count in parts:
        found = ratio(report, entry, thing)
        told[name] = {
            "seconds": [sample.seconds / count for sample in entry.figure(thing).samples],
            "ratio": found.value if found else None,
            "ratio_error": found.error if found else None,
        }
    return told


# --- as it is told --------------------------------------------------------------------------------------------------


def title(report: Report) -> Line:
    """What took turns, and what the figures are."""
    return Line(
        f"Untrained networks of one width, {DEEP} layers where nothing else is said: medians of {report.plan.rounds} "
        f"rounds, each beside {HOST} in the same one, ± their standard error",
        "bold",
    )


def table(report: Report, width: int) -> list[Line]:
    """A row a network: its parameters, a token, what that is beside Llama's, the paper's word on it, and a prompt."""
    plan = report.plan
    headings = (_LABEL, "a token, ms", f"beside {HOST}", "paper", f"{plan.prompts[0]} read, ms", "beside", "parameters")
    rows = []
    for entry in report.entries:
        token, prompt = entry.figure(written(plan)).seconds, entry.figure(read(plan)).seconds
        count = entry.prepared.parameters if entry.prepared else None
        rows.append(
            (
                entry.name,
                number(token / plan.answer * 1e3 if token else None),
                _beside(report, entry, written(plan)),
                percent(PAPER[entry.name]) if entry.name in PAPER else "",
                number(prompt * 1e3 if prompt else None),
                _beside(report, entry, read(plan)),
                parameters(count) if count else "",
            )
        )
    return [*laid([Table(headings, tuple(rows), "<>>>>>>")], width)]


def chart(report: Report, width: int) -> list[Line]:
    """A bar for what each takes more or less than Llama for a token, and below it the paper's."""
    bars = []
    for entry in report.entries[1:]:
        found = ratio(report, entry, written(report.plan))
        if found is not None:
            bars += [(entry.name, "here", found.value), ("", "paper", PAPER[entry.name])]
    if not bars:
        return []
    names = max(len(name) for name, _, _ in bars)
    longest, most = max(8, min(60, width - names - 20)), max(abs(value - 1) for _, _, value in bars)
    lines = [Line(f"Time for a token, more (█) or less (░) than {HOST}'s", "bold")]
    for name, where, value in bars:
        share = abs(value - 1) / most if most else 0.0
        drawn = bar_of(share, longest) if value >= 1 else "░" * max(1, round(share * longest))
        lines.append(Line(f"  {name:<{names}}  {where:<5}  {drawn} {percent(value)}", "dim" if not name else "plain"))
    return lines


def reading(report: Report) -> list[Line]:
    """What this shows and what it does not, a sentence each."""
    entries = {entry.name: entry for entry in report.entries}
    if BOTH not in entries or FEWER not in entries:
        return []
    found = {name: ratio(report, entry, written(report.plan)) for name, entry in entries.items()}
    both, fewer = found[BOTH], found[FEWER]
    depth = ratio(report, entries[FEWER], written(report.plan), entries[BOTH])
    if both is None or fewer is None or depth is None:
        return []
    unsure = [name for name, one in found.items() if name != HOST and one is not None and not one.is_sure]
    sentences = [
        f"At equal depth both modules cost {percent(both.value)} for a token here, {percent(PAPER[BOTH])} in the "
        "paper, whose networks are far wider: the work of activations grows with the width, that of matrices with its "
        "square, and a shortcut's two products take a while to start however narrow they are.",
        f"With {SHALLOW} layers PanGu-π is at {percent(fewer.value)}, and at {percent(PAPER[FEWER])} in the paper. Its "
        f"{DEEP - SHALLOW} missing layers alone are {percent(depth.value)} here and {percent(SHALLOW / DEEP)} by their "
        "number: the saving is theirs and not the modules', and it is one only if those make up for the layers, which "
        "takes training to show.",
    ]
    if unsure:
        sentences.append(
            f"No farther from {HOST} than twice the error: {', '.join(unsure)}. --rounds with a larger number tells "
            "more, and so does a machine with nothing else to do."
        )
    return [Line(sentence) for sentence in sentences]


def percent(value: float) -> str:
    """A ratio as what it is more or less: +4.0 %."""
    return f"{(value - 1) * 100:+.1f} %".replace("-", "−")


def _beside(report: Report, entry: Entry, thing: Thing) -> str:
    found = ratio(report, entry, thing) if entry is not report.entries[0] else None
    error = f" ±{found.error * 100:.1f}" if found and found.error is not None else ""
    return f"{percent(found.value)}{error}" if found else ""
