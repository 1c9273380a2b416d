"""`quietly bench MODEL --tune`: the best way to compute on this machine is measured, told and kept, or forgotten."""

import asyncio
import time
from typing import TYPE_CHECKING

from app.benching.runner import Measurer
from app.benching.tuning import MOST, Gain, Outcome, tune
from app.chat.text import one_line
from app.cli.shared import Progress, print_json, tell
from app.doctor import version
from app.errors import QuietlyError
from app.library.fit import fit_of
from app.library.machine import Machine, this_machine
from app.settings import paths
from app.tuned import Subject, Tuned, forget_tuned, keep_tuned, load_tuned, subject_of, told

if TYPE_CHECKING:
    from app.library.local import InstalledModel


def tune_model(model: "InstalledModel", rounds: int, as_json: bool) -> None:
    """Measure, tell what it gave, and keep what is better than the rule; what was kept before goes."""
    machine = this_machine()
    subject = _subject(model)
    for notice in load_tuned(paths().tuned)[1]:
        tell(notice)
    with Progress("Tuning") as progress:
        outcome = asyncio.run(
            tune(
                lambda choices: Measurer(model, choices=choices),
                machine.backend != "CPU",
                rounds,
                lambda done, total, doing: progress(done, total),
                apart=_is_short_of_room(model, machine),
            )
        )
    if outcome.is_better:
        gain, day = outcome.chosen.gain, time.strftime("%Y-%m-%d")
        chosen = outcome.chosen.choices
        keep_tuned(paths().tuned, Tuned(subject, chosen, gain.prefill, gain.decode, version("mlx"), day))
    else:
        forget_tuned(paths().tuned, subject)
    if as_json:
        print_json({"subject": subject, **_fields(outcome)})
    else:
        print("\n".join(lines(outcome, one_line(model.name))))


def forget_tuning(model: "InstalledModel", as_json: bool) -> None:
    """Let the rule hold again."""
    was = forget_tuned(paths().tuned, _subject(model))
    if as_json:
        print_json({"forgotten": was})
    else:
        print("The rule holds again." if was else f"Nothing was tuned for {one_line(model.name)} here: the rule holds.")


def lines(outcome: Outcome, name: str) -> list[str]:
    """What came of it, for people."""
    noise = outcome.noise
    rows = [(told(one.choices, outcome.rule), one.gain) for one in outcome.tried]
    width = max(len(label) for label, _ in rows)
    said = [
        f"The rule: {told(outcome.rule)}.",
        f"It differed from itself by {noise.prefill:.1%} in prompts of {outcome.prompt:,} tokens, "
        f"{noise.decode:.1%} in answers.",
        f"{'':<{width}}  prompts  answers",
        *(f"{label:<{width}}  {_times(gain.prefill):>7}  {_times(gain.decode):>7}" for label, gain in rows),
    ]
    if not outcome.is_better:
        return [*said, "Nothing is better than the rule by more than the noise: it holds."]
    chosen = outcome.chosen
    return [
        *said,
        f"Chosen and kept for {name} and models of its kind: {told(chosen.choices, outcome.rule)}.",
        "Models that are loaded from now on compute so; --forget takes it back.",
    ]


def _times(ratio: float) -> str:
    return f"{ratio:.2f}×"


def _fields(outcome: Outcome) -> dict[str, object]:
    """What came of it, for programs: ratios to the rule, noise as shares."""

    def gain(of: Gain) -> dict[str, float]:
        return {"prefill": round(of.prefill, 4), "decode": round(of.decode, 4)}

    return {
        "rule": outcome.rule,
        "chosen": outcome.chosen.choices,
        "better": outcome.is_better,
        "gain": gain(outcome.chosen.gain),
        "noise": gain(outcome.noise),
        "prompt": outcome.prompt,
        "tried": [{"choices": one.choices, **gain(one.gain)} for one in outcome.tried],
    }


def _is_short_of_room(model: "InstalledModel", machine: Machine) -> bool:
    """Whether only one process can have the model in memory at a time. QuietlyError where none can."""
    fit = fit_of(model, machine)
    if fit.verdict == "too big":
        raise QuietlyError(fit.sentence)
    return MOST * fit.need.total > min(fit.budget, fit.free)


def _subject(model: "InstalledModel") -> Subject:
    subject = subject_of(model, this_machine())
    if model.problem is not None or subject is None:
        raise QuietlyError(
            model.problem or f"Too little is known of {one_line(model.name)} to tune it: choose another."
        )
    return subject
