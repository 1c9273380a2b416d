"""What was measured to be the best way to compute, kept for the engines of this machine in place of the rule's.

One small JSON file, a row for each device and kind of model: what architecture, size and storage of the weights have in
common computes alike, whatever it is called. Knows neither MLX nor how it is measured.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from app.chat.text import one_line
from app.errors import QuietlyError
from app.settings import paths, private_folder, turn_in
from app.words import parameters
from model.choices import LARGEST_CHUNK, NEVER, Choices

if TYPE_CHECKING:
    from app.library.local import InstalledModel
    from app.library.machine import Machine

_LARGEST = 1 << 20
"""Bytes of the file: thousands of rows. What is larger was not written here."""
_MOST = 1 << 62
"""Bytes or parameters: more than any machine has, and a whole number wherever it is sent."""


class Subject(msgspec.Struct, frozen=True):
    """What is measured: a kind of model on a device."""

    device: str
    """Chip and back end, as "Apple M2 (Metal)"."""
    architecture: str
    parameters: int
    stored: str
    """How the weights are stored, in the field's words; empty where that is not known."""


class Tuned(msgspec.Struct, frozen=True):
    """What holds for a subject, and what it gave."""

    subject: Subject
    choices: Choices
    prefill: float
    """How many times as fast as by the rule a prompt is read."""
    decode: float
    """The same of writing."""
    mlx: str
    """The version that it was measured with."""
    day: str
    """When, as 2026-11-22."""


def device(machine: "Machine") -> str:
    """What computes in `machine`, as rows name it."""
    return f"{machine.chip} ({machine.backend})"


def told(choices: Choices, beside: Choices | None = None) -> str:
    """One way to compute, in a few words; only how it differs from the one that it stands `beside`."""
    parts = (
        ("chunk", f"prompts by {choices.chunk:,} tokens"),
        ("joined", "joined products" if choices.joined else "a product for each matrix"),
        ("compiled", "compiled steps" if choices.compiled else "steps as they are"),
        ("joint", "keys and values together" if choices.joint else "keys and values apart"),
        ("unpack", "packed weights" if choices.unpack == NEVER else f"unpacked weights from {choices.unpack:,} rows"),
    )
    return ", ".join(
        words for name, words in parts if beside is None or getattr(choices, name) != getattr(beside, name)
    )


def tuned_here(row: Tuned, mlx: str) -> str:
    """A row as a line for people; `mlx` is the version that is installed."""
    subject = row.subject
    model = one_line(f"{subject.architecture} {parameters(subject.parameters)} {subject.stored}")
    gave = f"prompts {row.prefill:.2f}, answers {row.decode:.2f} times the rule's speed"
    again = "" if row.mlx == mlx else f"; now it is {mlx}, so measure again"
    return f"{model}: {told(row.choices)}: {gave} ({one_line(row.day)}, MLX {one_line(row.mlx)}{again})"


def subject_of(model: "InstalledModel", machine: "Machine") -> Subject | None:
    """What is measured of `model` here; None where too little is known of it to tell it from others."""
    if model.architecture is None or not model.parameters:
        return None
    return Subject(device(machine), model.architecture, model.parameters, model.stored)


def load_tuned(file: Path) -> tuple[tuple[Tuned, ...], tuple[str, ...]]:
    """The rows of `file`, and a sentence for each thing there that is not understood, which counts as not there."""
    sentences: list[str] = []
    rows = tuple(row for row in _rows(file, sentences) if isinstance(row, Tuned))
    return rows, tuple(sentences)


def tuned_for(file: Path, subject: Subject | None) -> Tuned | None:
    """What was measured of `subject`; None where nothing was, and the rule holds."""
    rows, _ = load_tuned(file)
    return next((row for row in rows if row.subject == subject), None)


def choices_here(model: "InstalledModel") -> Choices | None:
    """What was measured of `model` on this machine; None where nothing was, and the rule holds."""
    from app.library.machine import this_machine

    tuned = tuned_for(paths().tuned, subject_of(model, this_machine()))
    return tuned.choices if tuned else None


def keep_tuned(file: Path, row: Tuned) -> None:
    """Let `row` hold for its subject from now on. QuietlyError where the file cannot be written."""
    _write(file, row.subject, row)


def forget_tuned(file: Path, subject: Subject) -> bool:
    """Let the rule hold for `subject` again; whether something else did. QuietlyError as `keep_tuned`."""
    if tuned_for(file, subject) is None:
        return False
    _write(file, subject, None)
    return True


# --- the file -------------------------------------------------------------------------------------------------------


def _rows(file: Path, sentences: list[str]) -> list[Tuned | Mapping[str, Any]]:
    """Everything that the file has rows of; what is not understood of it as it stands there."""
    try:
        with file.open("rb") as stream:
            written = stream.read(_LARGEST + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        sentences.append(f"{file} cannot be read ({error.strerror}), so what it holds is not in force; mend that.")
        return []
    try:
        if len(written) > _LARGEST:
            raise ValueError
        document = msgspec.json.decode(written, type=dict[str, Any])
        rows = msgspec.convert(document.pop("rows", []), list[dict[str, Any]])
    except (ValueError, RecursionError):
        sentences.append(f"{file} is damaged and counts as empty: delete it, and measure again.")
        return []
    sentences += [f"{one_line(name)} in {file} is not known and does nothing." for name in document]
    return [_understood(row, number, file, sentences) for number, row in enumerate(rows, 1)]


def _understood(row: dict[str, Any], number: int, file: Path, sentences: list[str]) -> Tuned | Mapping[str, Any]:
    """A row as what it means; itself, with a sentence, where that is nothing."""
    try:
        tuned = msgspec.convert(row, Tuned)
    except (ValueError, RecursionError) as error:
        sentences.append(f"Row {number} of {file} is not in force ({one_line(str(error), 120)}): measure again.")
        return row
    choices = tuned.choices
    sizes = choices.unpack, tuned.subject.parameters
    can_be = 1 <= choices.chunk <= LARGEST_CHUNK and all(0 <= size <= _MOST for size in sizes)
    if not (can_be and tuned.prefill > 0 and tuned.decode > 0):
        sentences.append(f"Row {number} of {file} is not in force: a number in it can be none; measure again.")
        return row
    unknown = _unknown(row, msgspec.to_builtins(tuned))
    sentences += [f"{one_line(name)} in row {number} of {file} is not known and does nothing." for name in unknown]
    return tuned


def _unknown(row: Mapping[str, Any], known: Mapping[str, Any], within: str = "") -> list[str]:
    """The names in `row` that `known`, which was made of it, has not."""
    found = []
    for name, value in row.items():
        if name not in known:
            found.append(within + name)
        elif isinstance(value, dict) and isinstance(known[name], dict):
            found += _unknown(value, known[name], f"{within}{name}.")
    return found


def _write(file: Path, subject: Subject, row: Tuned | None) -> None:
    """Put `row`, or nothing, in the place of what stands for `subject`. Rows that are not understood stay: a newer
    Quietly may have written them."""
    try:
        with turn_in(private_folder(file.parent)):
            others = [each for each in _rows(file, []) if not (isinstance(each, Tuned) and each.subject == subject)]
            _replace(file, [*others, row] if row else others)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise QuietlyError(f"{file} cannot be written ({reason}), so nothing was changed; mend that.") from error


def _replace(file: Path, rows: Sequence[Tuned | Mapping[str, Any]]) -> None:
    part = file.with_name(f".{file.name}-{os.urandom(8).hex()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(msgspec.json.format(msgspec.json.encode({"rows": rows})) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
