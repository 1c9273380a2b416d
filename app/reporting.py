"""`quietly doctor --report`: one file with what helps to mend or speed up Quietly on a machine that is not ours.

It is made to be sent, by the person's own hand: no words of conversations, no names of people, machines and models, no
paths. What could still carry one is looked through for the person's home, name and host before it is written.
"""

import contextlib
import getpass
import json
import os
import platform
import re
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from app import __version__
from app.doctor import PACKAGES, version
from app.engine.client import Engine
from app.errors import QuietlyError
from app.library.machine import Probe, this_machine
from app.logs import tail, without_paths
from app.settings import FIELDS, Paths, Settings, values
from app.tuned import load_tuned

HOLDS = (
    "the machine's chip, memory, system and power; versions of Python and packages; what MLX computes on; what was "
    "tuned; which settings differ from the usual ones, without their words; and the ends of the last engines' logs, of "
    "which only lines of known forms are taken"
)
HOLDS_NOT = "words of conversations, names of people, computers or models, or paths"
_LOGS, _LINES = 3, 40
"""How many logs, and of each how many lines."""
_SHORTEST = 3
"""Letters of a name that is looked for: a shorter one is part of too many words."""
_ASKED_OF_MACOS = (
    "hw.model",
    "hw.physicalcpu",
    "hw.perflevel0.physicalcpu",
    "hw.perflevel1.physicalcpu",
    "iogpu.wired_limit_mb",
)


async def collect(paths: Paths, settings: Settings, bench: Sequence[object] = ()) -> dict[str, Any]:
    """What the report says. `bench` is what was measured just now. What cannot be found out is said in its place;
    nothing here raises for it."""
    logs = [tail(log, _LINES) for log in sorted(paths.logs.glob("engine-*.log"))[-_LOGS:]]
    rows, notices = load_tuned(paths.tuned)
    found = {
        "about": f"Made by `quietly doctor --report`. In it: {HOLDS}. Not in it: {HOLDS_NOT}.",
        "quietly": __version__,
        "made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "python": {
            "version": platform.python_version(),
            "build": f"{platform.python_implementation()}, {platform.python_compiler()}, {platform.machine()}",
        },
        "packages": {name: version(name) for name in PACKAGES},
        "machine": machine_told(Probe()),
        "engine": await _engine(paths),
        "tuned": [*msgspec.to_builtins(rows), *notices],
        "settings": _settings(settings),
        "bench": list(bench),
        "logs": logs,
    }
    cleaned: dict[str, Any] = without(names_of_here(), found)
    return cleaned


def check(file: Path) -> None:
    """QuietlyError where a report cannot go there because something is: before minutes of measuring."""
    if os.path.lexists(file):
        raise QuietlyError(f"{file} is there already: name another file.")


def write(file: Path, found: Mapping[str, Any]) -> None:
    """Write the report to a new file, for its owner alone. QuietlyError where it is there already or cannot be."""
    check(file)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            json.dump(found, stream, ensure_ascii=False, indent=2)
            stream.write("\n")
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise QuietlyError(f"{file} cannot be written ({reason}): name another file.") from error


# --- what is in it --------------------------------------------------------------------------------------------------


def machine_told(probe: Probe) -> dict[str, object]:
    """The machine in front of us. Its macOS half has met no Mac: what one does not answer is left out."""
    machine = this_machine(probe)
    told: dict[str, object] = {
        "chip": machine.chip,
        "cores": os.cpu_count(),
        "memory": machine.memory,
        "available": machine.available,
        "budget": machine.budget,
        "system": machine.system,
        "kernel": platform.release(),
        "back end": machine.backend,
        "problem": machine.problem,
        "load": [round(load, 2) for load in os.getloadavg()],
    }
    if probe.system == "Darwin":
        asked = {name: probe.output(["sysctl", "-n", name]) for name in _ASKED_OF_MACOS}
        power = probe.output(["pmset", "-g", "batt"]) or ""
        saving = re.search(r"lowpowermode\s+(\d)", probe.output(["pmset", "-g"]) or "")
        gpu = re.search(r'"gpu-core-count" = (\d+)', probe.output(["ioreg", "-rc", "AGXAccelerator", "-d1"]) or "")
        asked["gpu cores"] = gpu[1] if gpu else None
        asked["power"] = "mains" if "'AC Power'" in power else "battery" if "'Battery Power'" in power else None
        asked["low power mode"] = saving[1] if saving else None
        told |= {name: value for name, value in asked.items() if value}
    return told


async def _engine(paths: Paths) -> dict[str, object]:
    engine = None
    try:
        engine = await Engine.start(paths)
        facts = await engine.describe()
    except (QuietlyError, OSError) as error:
        return {"problem": str(error)}
    finally:
        if engine:
            await engine.close()
    told: dict[str, object] = msgspec.to_builtins(facts)
    return {name: value for name, value in told.items() if name not in ("id", "type")}


def _settings(settings: Settings) -> dict[str, object]:
    """What is set otherwise than usual; of what people write in their own words only that they have."""
    usual, found = values(Settings()), values(settings)
    changed = [field for field in FIELDS if found[field.id] != usual[field.id]]
    said: dict[str, object] = {
        field.id: "(set)" if field.kind in ("line", "text") else found[field.id] for field in changed
    }
    return said | ({"keys": "(set)"} if settings.keys else {})


# --- names ----------------------------------------------------------------------------------------------------------


def names_of_here() -> dict[str, str]:
    """What tells of whom and of which computer it is, and what stands in its place."""
    host = socket.gethostname()
    people = {Path.home().name}
    with contextlib.suppress(KeyError, OSError):  # a user that the system has no name for
        people.add(getpass.getuser())
    return {
        **{name: "(host)" for name in (host, host.partition(".")[0]) if len(name) >= _SHORTEST},
        **{name: "(user)" for name in people if len(name) >= _SHORTEST},
    }


def without(names: Mapping[str, str], value: Any) -> Any:
    """`value` without paths, and with what stands for each of `names` in its place wherever that is a word in it."""
    if isinstance(value, str):
        value = without_paths(value)
        for name in sorted(names, key=len, reverse=True):
            value = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", names[name], value, flags=re.IGNORECASE)
        return value
    if isinstance(value, Mapping):
        return {without(names, key): without(names, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without(names, inner) for inner in value]
    return value
