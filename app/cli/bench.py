"""`quietly bench`: how fast a model runs on this machine, beside others who run it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

from app.cli.measuring import measure_all, measured
from app.cli.shared import as_given, opened
from app.errors import QuietlyError

if TYPE_CHECKING:
    from app.benching.rounds import Plan, Report
    from app.benching.runner import Runner
    from app.inspecting.told import Line
    from app.library.local import InstalledModel

PEERS = ("mlx-lm", "llama.cpp")
_MOST = 1 << 20
"""Tokens of a prompt."""
_LONGEST = 60


def bench(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="A model by name or folder, a GGUF or a .pth file.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="|".join(PEERS), help="Who runs the same model beside Quietly; may be given twice."),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="TOKENS,...", help="Lengths of prompts; by default 128,512,2048.")
    ] = None,
    depth: Annotated[
        str | None,
        typer.Option(metavar="TOKENS,...", help="Lengths of conversations to go on with; by default 0,1024,4096."),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            metavar="TIMES",
            help="How often each thing is measured; 3 times where no option needs more.",
        ),
    ] = None,
    longest: Annotated[
        float,
        typer.Option(min=1, max=1e6, metavar="SECONDS", help="What would take longer to measure once is left out."),
    ] = _LONGEST,
    quick: Annotated[bool, typer.Option("--quick", help="Only short prompts and conversations.")] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Find the best way to compute on this machine, and keep it for such models.")
    ] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Compute by the rule again, whatever was tuned.")] = False,
    scaling: Annotated[
        bool,
        typer.Option(
            "--scaling", help="Without MODEL: how attention, a window and RWKV of one size grow with the context."
        ),
    ] = False,
    architectures: Annotated[
        bool,
        typer.Option(
            "--architectures", help="Without MODEL: what PanGu-π's modules cost beside Llama, and fewer layers save."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure how fast a model reads and writes here. The memory it takes is measured too, and how near it comes to
    what is possible.

    Everyone is measured in turns; figures are medians. Other programs disturb it. Ctrl+C shows what there is so far.
    """
    prompts = None if prompt is None else _lengths("--prompt", prompt, 1)
    if scaling:
        from app.cli.scaling import measure_scaling

        if model or against or depth or tune or forget or architectures:
            raise QuietlyError(
                "--scaling measures networks of its own: only --prompt, --rounds, --longest, --quick and --json go "
                "with it."
            )
        return measure_scaling(prompts, rounds, longest, quick, as_json)
    if architectures:
        from app.cli.architectures import measure_architectures

        if model or against or prompts or depth or tune or forget:
            raise QuietlyError(
                "--architectures measures networks of its own: only --rounds, --longest, --quick and --json go with it."
            )
        return measure_architectures(rounds, longest, quick, as_json)
    if model is None:
        raise QuietlyError(
            "Name a model to measure, as in `quietly bench starter`; only --scaling and --architectures need none."
        )
    if tune or forget:
        is_more_said = against or prompt or depth or quick or longest != _LONGEST or (tune and forget)
        return _tuned(model, is_more_said, forget, rounds, as_json)
    from app.benching.rounds import Plan, Report
    from app.benching.telling import as_data

    if stranger := next((name for name in against or () if name not in PEERS), None):
        raise QuietlyError(f"--against takes {' or '.join(PEERS)}, not {as_given(stranger)}.")
    usual = Plan.quick() if quick else Plan()
    plan = replace(
        usual,
        prompts=prompts or usual.prompts,
        depths=usual.depths if depth is None else _lengths("--depth", depth, 0),
        rounds=rounds or usual.rounds,
        longest=longest,
    )
    names = ("quietly", *dict.fromkeys(against or ()))
    chosen = _chosen(model)
    report = Report(chosen.name, plan, apart=_has_room_for_one(chosen, plan, len(names)))
    measured(report, [_maker(chosen, name) for name in names], _drawn, as_data if as_json else None)
    return None


def measured_shortly(reference: str) -> dict[str, object]:
    """What a short look at a model gives, for a report to others: without its name, and why where it gives nothing."""
    from app.benching.rounds import Plan, Report
    from app.benching.telling import as_data
    from app.reporting import without

    chosen = _chosen(reference)
    plan = Plan.quick()
    told = {"architecture": chosen.architecture, "parameters": chosen.parameters, "stored": chosen.stored}
    try:
        report = Report("", plan, apart=_has_room_for_one(chosen, plan, 1))
        measure_all(report, [_maker(chosen, "quietly")])
        found = as_data(report)
    except QuietlyError as error:
        found = {"problem": str(error)}
    names = dict.fromkeys((chosen.name, chosen.path.name, chosen.path.stem), "(the model)")  # as sentences name it
    return {**without(names, found), "model": told}


def _tuned(reference: str, is_more_said: object, forget: bool, rounds: int | None, as_json: bool) -> None:
    """Tune a model, or forget that it was tuned."""
    from app.cli.tuning import forget_tuning, tune_model

    if is_more_said:
        raise QuietlyError("--tune and --forget go with --rounds and --json alone: say the rest in a run of its own.")
    chosen = _chosen(reference)
    if forget:
        forget_tuning(chosen, as_json)
    else:
        tune_model(chosen, rounds or 5, as_json)


def _drawn(report: "Report", width: int) -> "Sequence[Sequence[Line]]":
    """The table, the chart, how everyone was set up, and what was left out."""
    from app.benching import telling

    return (
        [telling.title(report), *telling.table(report, width)],
        telling.chart(report, width),
        [*telling.set_up(report), *telling.notes(report)],
    )


def _chosen(reference: str) -> "InstalledModel":
    from app.library.local import find
    from app.shelf import Shelf

    with opened() as store:
        found = find(reference, Shelf(store).folders)
    if found.problem:
        raise QuietlyError(found.problem)
    return found


def _lengths(option: str, text: str, least: int) -> tuple[int, ...]:
    """Numbers with commas between them."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 8 and least <= int(part) <= _MOST for part in parts):
        raise QuietlyError(
            f"{option} takes numbers from {least} to {_MOST:,}, with commas between them, not {as_given(text)}."
        )
    return tuple(dict.fromkeys(map(int, parts)))


def _has_room_for_one(model: "InstalledModel", plan: "Plan", runners: int) -> bool:
    """Whether only one of the runners can have the model in memory at a time. QuietlyError where none can."""
    from app.library.fit import fit_of
    from app.library.machine import this_machine

    fit = fit_of(model, this_machine(), plan.most)
    if fit.verdict == "too big":
        raise QuietlyError(fit.sentence)
    return runners * fit.need.total > min(fit.budget, fit.free)


def _maker(model: "InstalledModel", name: str) -> "Callable[[], Runner]":
    from app.benching.llama_cpp import LlamaCpp
    from app.benching.runner import Measurer
    from app.tuned import choices_here

    match name:
        case "llama.cpp":
            return lambda: LlamaCpp(model)
        case "mlx-lm":
            return lambda: Measurer(model, "mlx-lm")
        case _:
            choices = choices_here(model)  # as engines have it
            return lambda: Measurer(model, choices=choices)
