"""`quietly bench --architectures`: what PanGu-π's modules cost beside Llama, and what its missing layers save."""

from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from app.benching import architectures
from app.benching.rounds import Report
from app.benching.runner import Untrained
from app.benching.telling import notes, set_up
from app.cli.measuring import measured
from app.inspecting.told import Line
from app.library.machine import this_machine
from model.config import parse_config
from model.facts import weight_bytes

_ROOM = 256 * 1024 * 1024
"""Bytes that each network takes beside its weights."""


def measure_architectures(rounds: int | None, longest: float, quick: bool, as_json: bool) -> None:
    """Measure, and print what came of it."""
    machine = this_machine()
    gpu = machine.backend != "CPU"
    usual = architectures.plan_for(gpu, quick)
    plan = replace(usual, rounds=rounds or usual.rounds, longest=longest)
    networks = architectures.networks(gpu)
    element = 2 if gpu else 4  # bfloat16, and what a processor computes in
    taken = sum(weight_bytes(parse_config(fields, name), element=element) + _ROOM for name, fields in networks.items())
    makers = [partial(Untrained, name, fields) for name, fields in networks.items()]
    report = Report("architectures", plan, apart=taken > machine.available)
    measured(report, makers, _drawn, architectures.as_data if as_json else None)


def _drawn(report: Report, width: int) -> Sequence[Sequence[Line]]:
    return (
        [architectures.title(report), *architectures.table(report, width)],
        architectures.chart(report, width),
        architectures.reading(report),
        [*set_up(report), *notes(report)],
    )
