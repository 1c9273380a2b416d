"""The engines of this installation: a pool that knows what a model takes on this machine, and the person's settings.

Where models lie and how their fit is judged is the library's; which engines run is the pool's. Here they meet.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from app.engine.policy import Appraisal
from app.engine.pool import Pool, room_of
from app.engine.protocol import Keeping
from app.errors import QuietlyError
from app.kept import disk_for
from app.settings import Paths, Settings

if TYPE_CHECKING:
    from app.library.local import InstalledModel
    from app.library.machine import Machine


def engines(places: Paths, settings: Callable[[], Settings]) -> Pool:
    """A pool that keeps to the settings as they are at any moment."""
    return Pool(
        places,
        appraise=lambda checkpoint, held: appraise(
            checkpoint, held, settings().generation.context, places.tuned, settings().draft_model
        ),
        unload_after=lambda: 60.0 * settings().unload_after,
        keeping=lambda: Keeping(disk=disk_for(settings())),
        lookahead=lambda: settings().lookahead,
    )


def appraise(
    checkpoint: Path, held: int, context: int | None = None, tuned: Path | None = None, draft: str = ""
) -> Appraisal:
    """What loading a model comes to here, where running engines hold `held` bytes that they could give back.

    `context`: tokens it is judged for; None is what a conversation usually needs. `tuned`: the file of what was
    measured here; `draft` names the model that is to guess ahead, where there is room for it. What the library cannot
    read is for the engine to refuse, which says what is wrong with it. Looks at the disk and at the machine: for a
    thread.
    """
    from app.library.fit import COMFORT, fit_of
    from app.library.local import find
    from app.library.machine import this_machine
    from app.tuned import subject_of, tuned_for

    machine = this_machine()
    others = room_of(machine.memory)
    try:
        model = find(str(checkpoint))
    except QuietlyError:
        return Appraisal(room=others)
    if model.problem is not None:
        return Appraisal(room=others)
    measured = tuned_for(tuned, subject_of(model, machine)) if tuned else None
    machine = replace(machine, available=min(machine.memory, machine.available + held))
    judged = fit_of(model, machine, context)
    need, comfortable = judged.need.total, min(int(COMFORT * judged.budget), judged.free)
    drafting = _drafting(draft, model, machine, context, comfortable - need)
    need += drafting.need
    spare = max(0, comfortable - need)
    room = min(others, spare)
    return Appraisal(
        need=need,
        room=room,
        sessions=max(spare - room, spare // 4),  # other models may have most of it, but not all
        draft=drafting.path,
        refusal=judged.sentence if judged.verdict == "too big" else "",
        warning=" ".join(filter(None, (judged.sentence if judged.verdict == "tight" else "", drafting.warning))),
        choices=measured.choices if measured else None,
    )


class _Drafting(NamedTuple):
    """A smaller model beside another one."""

    path: Path | None = None
    need: int = 0
    warning: str = ""
    """Why the one that was named does not draft, where a person would wonder."""


def _drafting(draft: str, model: "InstalledModel", machine: "Machine", context: int | None, room: int) -> _Drafting:
    """What `draft` names for `model`, which leaves so many bytes of room; nothing for one that is no larger."""
    from app.library.disk import shown
    from app.library.fit import fit_of
    from app.library.local import find

    if not draft:
        return _Drafting()
    try:
        found = find(draft)
    except QuietlyError as error:
        return _Drafting(warning=f"Nothing drafts: {error}")
    if found.problem is not None:
        return _Drafting(warning=f"{shown(found.name)} cannot draft: {found.problem}")
    if (model.parameters or model.weights) <= (found.parameters or found.weights):
        return _Drafting()
    need = fit_of(found, machine, context).need.total
    if need > room:
        return _Drafting(warning=f"{shown(found.name)} does not fit beside {shown(model.name)}, so it drafts nothing.")
    return _Drafting(found.path, need)
