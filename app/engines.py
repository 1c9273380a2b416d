"""The engines of this installation: a pool that knows what a model takes on this machine, and the person's settings.

Where models lie and how their fit is judged is the library's; which engines run is the pool's. Here they meet.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.engine.policy import Appraisal
from app.engine.pool import Pool, room_of
from app.errors import QuietlyError
from app.settings import Paths, Settings


def engines(places: Paths, settings: Callable[[], Settings]) -> Pool:
    """A pool that keeps to the settings as they are at any moment."""
    return Pool(
        places,
        appraise=lambda checkpoint, held: appraise(checkpoint, held, settings().generation.context),
        unload_after=lambda: 60.0 * settings().unload_after,
    )


def appraise(checkpoint: Path, held: int, context: int | None = None) -> Appraisal:
    """What loading a model comes to here, where running engines hold `held` bytes that they could give back.

    `context`: tokens it is judged for; None is what a conversation usually needs. What the library cannot read is for
    the engine to refuse, which says what is wrong with it. Looks at the disk and at the machine: for a thread.
    """
    from app.library.fit import COMFORT, fit_of
    from app.library.local import find
    from app.library.machine import this_machine

    machine = this_machine()
    others = room_of(machine.memory)
    try:
        model = find(str(checkpoint))
    except QuietlyError:
        return Appraisal(room=others)
    if model.problem is not None:
        return Appraisal(room=others)
    machine = replace(machine, available=min(machine.memory, machine.available + held))
    judged = fit_of(model, machine, context)
    need, comfortable = judged.need.total, min(int(COMFORT * judged.budget), judged.free)
    return Appraisal(
        need=need,
        room=max(0, min(others, comfortable - need)),
        refusal=judged.sentence if judged.verdict == "too big" else "",
        warning=judged.sentence if judged.verdict == "tight" else "",
    )
