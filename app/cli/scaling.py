"""`quietly bench --scaling`: how time and memory grow with a prompt, of attention, a window and RWKV of one size."""

from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from app.benching import growing, scaling
from app.benching.rounds import Report
from app.benching.runner import Untrained
from app.benching.telling import notes, set_up
from app.cli.measuring import measured
from app.inspecting.told import Line
from app.library.machine import this_machine


def measure_scaling(
    prompts: tuple[int, ...] | None, rounds: int | None, longest: float, quick: bool, as_json: bool
) -> None:
    """Measure, and print what came of it. `prompts`: lengths, and None for those that suit the machine."""
    gpu = this_machine().backend != "CPU"
    usual = scaling.plan_for(gpu, quick)
    plan = replace(usual, prompts=prompts or usual.prompts, rounds=rounds or usual.rounds, longest=longest)
    makers = [partial(Untrained, name, fields) for name, fields in scaling.networks(gpu).items()]
    measured(Report("scaling", plan), makers, drawn, scaling.as_data if as_json else None)


def drawn(report: Report, width: int) -> Sequence[Sequence[Line]]:
    """What is printed for so many cells: the table, the curves, what they show, and who was measured how."""
    return (
        [growing.title(report), *growing.table(report)],
        growing.curves(report, width),
        growing.reading(report),
        [*set_up(report), *notes(report)],
    )
