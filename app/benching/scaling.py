"""How the time to read a prompt, and what is kept of it, grow with its length: attention, a window, and RWKV.

Three small networks of one size take turns. Their weights are random, since what is looked for does not depend on them:
by which power of the length the time grows, and how many bytes a token more takes. It knows neither processes nor how
anything is shown.
"""

from collections.abc import Sequence
from math import log, sqrt
from statistics import fmean, linear_regression
from typing import Any, NamedTuple

from app.benching.messages import Prefill
from app.benching.rounds import Entry, Plan, Report

WINDOW = 256
"""Tokens that a token of the second network looks at, its own included."""
_VOCABULARY = 1024
_HEAD = 64
"""Numbers of a head, as in most published models and in all of RWKV-7's."""
_MOST = 1 << 20
"""Tokens that the networks with attention say they hold."""

Points = Sequence[tuple[int, float]]
"""Lengths of prompts in tokens, rising, and something that was measured of each."""


class Shape(NamedTuple):
    """What the three have in common, and what makes them one size."""

    hidden: int
    layers: int
    feed_forward: int
    """Of those with attention; RWKV-7's is four times the hidden size, and what it has beside is made up for here."""
    gate: int
    """RWKV-7's largest low rank, by its author's rule for the hidden size; the others are 32 then."""


SMALL = Shape(hidden=128, layers=2, feed_forward=424, gate=32)
"""For a processor, where this takes attention a few seconds for 16,384 tokens."""
LARGE = Shape(hidden=512, layers=8, feed_forward=1496, gate=96)
"""For a GPU, which would be waited for with less to do."""


def plan_for(gpu: bool, quick: bool) -> Plan:
    """Lengths that double. The shortest is the window or more, so that no length has the window for nothing."""
    first, count = (1024, 6) if gpu else (256, 7)
    return Plan(prompts=tuple(first << step for step in range(4 if quick else count)), depths=(), rounds=5)


def networks(gpu: bool) -> dict[str, dict[str, Any]]:
    """The fields of a config.json for each, by name; the first is the one that the others challenge."""
    shape = LARGE if gpu else SMALL
    common = {
        "vocab_size": _VOCABULARY,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "tie_word_embeddings": False,
    }
    attention = {
        **common,
        "model_type": "qwen2",
        "intermediate_size": shape.feed_forward,
        "num_attention_heads": shape.hidden // _HEAD,
        "num_key_value_heads": shape.hidden // _HEAD,
        "max_position_embeddings": _MOST,
    }
    return {
        "attention": attention,
        "window": {**attention, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 0},
        "RWKV-7": {
            **common,
            "model_type": "rwkv7",
            "head_dim": _HEAD,
            "decay_low_rank_dim": 32,
            "a_low_rank_dim": 32,
            "v_low_rank_dim": 32,
            "gate_low_rank_dim": shape.gate,
        },
    }


# --- what comes of it -----------------------------------------------------------------------------------------------


class Exponent(NamedTuple):
    """By which power of the length something grows."""

    value: float
    error: float | None
    """The standard error of that slope. None for two points, through which any line goes."""


class Growth(NamedTuple):
    """What was found of one network, as far as it was measured."""

    seconds: Points
    """The least of all rounds: a line through medians is bent by whatever else ran for a while."""
    kept: Points
    """Bytes."""

    @property
    def exponent(self) -> Exponent | None:
        """Of the time, over all lengths. None where fewer than two were measured."""
        return exponent(self.seconds)

    @property
    def last(self) -> Exponent | None:
        """Of the time, over the three longest alone: a sum of powers grows by the highest of them in the end."""
        return exponent(self.seconds[-3:])

    @property
    def each_more(self) -> float | None:
        """Bytes that a token more takes, between the two longest: a window is full there."""
        if len(self.kept) < 2:
            return None
        (shorter, less), (longer, more) = self.kept[-2:]
        return (more - less) / (longer - shorter)

    @property
    def crossing(self) -> float | None:
        """Tokens at which looking back takes as long as all else. See `crossing`."""
        return crossing(self.seconds)


def growth(entry: Entry, plan: Plan) -> Growth:
    """What was measured of one of them."""
    figures = [(length, entry.figure(Prefill(length))) for length in sorted(set(plan.prompts))]
    return Growth(
        tuple((length, figure.least) for length, figure in figures if figure.least is not None),
        tuple((length, float(figure.kept)) for length, figure in figures if figure.kept is not None),
    )


def exponent(points: Points) -> Exponent | None:
    """The slope of a line through the logarithms of both, by least squares. None for fewer than two points."""
    if len(points) < 2:
        return None
    across = [log(length) for length, _ in points]
    up = [log(value) for _, value in points]
    slope, start = linear_regression(across, up)
    if len(points) == 2:
        return Exponent(slope, None)
    left = sum((y - start - slope * x) ** 2 for x, y in zip(across, up, strict=True))
    spread = sum((x - fmean(across)) ** 2 for x in across)
    return Exponent(slope, sqrt(left / (len(points) - 2) / spread))


def crossing(points: Points) -> float | None:
    """The length n at which both parts of a n + b n² are equal, fitted to times by least squares of shares.

    None where there are fewer than three points, or one of the parts is not to be seen.
    """
    if len(points) < 3:
        return None
    ones = [length / seconds for length, seconds in points]
    squares = [length**2 / seconds for length, seconds in points]
    pairs = sum(one * square for one, square in zip(ones, squares, strict=True))
    first, second = sum(one * one for one in ones), sum(square * square for square in squares)
    linear = second * sum(ones) - pairs * sum(squares)
    quadratic = first * sum(squares) - pairs * sum(ones)
    return linear / quadratic if linear > 0 and quadratic > 0 else None


def as_data(report: Report) -> dict[str, Any]:
    """All of it for programs: seconds of every sample, bytes, exponents with their standard errors."""
    return {
        "rounds": report.plan.rounds,
        "window": WINDOW,
        "networks": [_network(entry, report.plan) for entry in report.entries],
    }


def _network(entry: Entry, plan: Plan) -> dict[str, Any]:
    found, prepared = growth(entry, plan), entry.prepared
    fitted, last = found.exponent, found.last
    return {
        **entry.as_data(),
        "parameters": prepared.parameters if prepared else None,
        "exponent": fitted.value if fitted else None,
        "exponent_error": fitted.error if fitted else None,
        "last_exponent": last.value if last else None,
        "bytes_per_token": found.each_more,
        "equal_parts_at_tokens": found.crossing,
        "figures": [
            {
                "tokens": length,
                "seconds": figure.least,
                "samples": [sample.seconds for sample in figure.samples],
                "kept_bytes": figure.kept,
                "memory_bytes": figure.memory,
                "why_not": figure.why or None,
            }
            for length in sorted(set(plan.prompts))
            for figure in (entry.figure(Prefill(length)),)
        ],
    }
