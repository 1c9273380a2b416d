"""What there is to know about this installation, line by line; for people, and for those who help them."""

import importlib.metadata
import platform
import sys

from app import __version__, connections, kept
from app.chat.store import Store
from app.engine.client import Engine
from app.errors import QuietlyError
from app.library.machine import Machine, this_machine
from app.library.starter import starter_file
from app.settings import Paths, load_settings
from app.tuned import device, load_tuned, tuned_here
from app.words import size

PACKAGES = ("mlx", "mlx-lm", "textual", "tokenizers", "safetensors", "huggingface_hub", "gguf")

_RULE = (
    "only searching and bringing models make any, when asked to; engines and the reader of attached files are refused "
    "all"
)


async def report(paths: Paths) -> list[str]:
    """The report's lines. What cannot be found out is said in its place; nothing here raises for it."""
    machine = this_machine()
    rows = [
        ("quietly", __version__),
        ("python", f"{platform.python_version()}, {sys.executable}"),
        ("packages", ", ".join(f"{name} {version(name)}" for name in PACKAGES)),
        ("machine", f"{machine.chip}, {machine.system}"),
        (
            "memory",
            f"{size(machine.memory)}, {size(machine.available)} available; models may take {size(machine.budget)}",
        ),
    ]
    if machine.problem:
        rows.append(("problem", machine.problem))
    rows += await _engine(paths)
    rows += [
        ("conversations", _conversations(paths)),
        ("kept", _kept(paths)),
        ("connections", f"{connections.ledger.count} by this command; {_RULE}"),
        *(("tuned", sentence) for sentence in _tuned(paths, machine)),
        ("models", str(paths.models)),
        ("cache", str(paths.cache)),
        ("logs", str(paths.logs)),
        ("starter", str(starter_file() or "not installed: `quietly models get starter`")),
    ]
    return [f"{name:<14} {value}" for name, value in rows]


async def _engine(paths: Paths) -> list[tuple[str, str]]:
    engine = None
    try:
        engine = await Engine.start(paths)
        facts = await engine.describe()
    except (QuietlyError, OSError) as error:
        return [("engine", str(error))]
    finally:
        if engine:
            await engine.close()
    rows = [("engine", f"MLX {facts.mlx} on {facts.device}"), ("blas", facts.blas)]
    if facts.working_set:
        rows.append(("limits", f"working set {size(facts.working_set)}, memory limit {size(facts.memory_limit)}"))
    else:
        rows.append(("limits", f"memory limit {size(facts.memory_limit)}"))
    return rows


def _tuned(paths: Paths, machine: Machine) -> list[str]:
    """What was measured here and stands in place of the rule: a line for each kind of model, or how to measure."""
    rows, notices = load_tuned(paths.tuned)
    here = [row for row in rows if row.subject.device == device(machine)]
    lines = [tuned_here(row, version("mlx")) for row in here]
    if others := len(rows) - len(here):
        lines.append(f"{others} of another machine, of no use here")
    return [*lines, *notices] or ["nothing; `quietly bench MODEL --tune` measures what is best for a model here"]


def version(package: str) -> str:
    """The version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _kept(paths: Paths) -> str:
    """What is on disk of what models have read."""
    files, most = kept.kept(paths.sessions), kept.disk_for(load_settings(paths.settings)[0])
    conversations, taken = len({one.session for one in files}), sum(one.size for one in files)
    told = f"{conversations:,} {'conversation' if conversations == 1 else 'conversations'}, {size(taken)}"
    if most:
        return f"what was read of {told} of at most {size(most)}"
    return f"nothing is to be; {told} are still there" if files else "nothing, as it is set"


def _conversations(paths: Paths) -> str:
    try:
        with Store.open(paths.database) as store:
            said = f"{paths.database}, {len(store.conversations())} of them"
            return f"{said}. {store.notice}" if store.notice else said
    except QuietlyError as error:
        return str(error)
