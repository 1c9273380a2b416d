"""Changing what is set, in the file that people write: comments, order and what is not understood stay as they are.

Whole or not at all, and never over a file that is not TOML. Knows no environment.
"""

import contextlib
import os
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from app.errors import QuietlyError
from app.fields import Field, expected, fits
from app.settings.places import private_folder, turn_in
from app.settings.schema import FIELDS


def save_settings(file: Path, changes: Mapping[str, object | None]) -> None:
    """Set each field of `changes`, by its id, to its value in `file`; None takes it out. Waits for the disk.

    QuietlyError where a value does not fit, or where the file is not TOML or cannot be written: then it stays as it
    was.
    """
    fields = {field.id: field for field in FIELDS}
    for id, value in changes.items():
        if value is not None and not fits(fields[id], value):
            raise QuietlyError(f"{id} must be {expected(fields[id])}.")
    try:
        folder = file.parent if file.parent.exists() else private_folder(file.parent)
        with turn_in(folder):
            # Where the name leads: people keep their settings elsewhere, and link to them.
            target = Path(os.path.realpath(file))
            old = target.read_bytes() if os.path.lexists(target) else b""
            _replace(target, _changed(old, [(fields[id], value) for id, value in changes.items()], file))
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise QuietlyError(f"{file} cannot be written ({reason}), so nothing was changed; mend that.") from error


def _changed(old: bytes, changes: Sequence[tuple[Field, object | None]], file: Path) -> bytes:
    """The file with the changes in it. QuietlyError where it is not TOML."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    from app.settings.reading import parsed

    try:
        wanted = parsed(old)
    except ValueError as error:
        raise QuietlyError(f"{file}: {error}, so it is left as it is; mend it and save again.") from error
    with contextlib.suppress(ValueError, RecursionError, TOMLKitError):  # what tomlkit cannot follow
        document = tomlkit.parse(old.decode("utf-8-sig"))
        for field, value in changes:
            _put(wanted, field.id, value, dict)
            _put(document, field.id, None if value is None else _item(value), tomlkit.table)
        new = tomlkit.dumps(document).encode()
        if parsed(new) == wanted:
            return new
    named = ", ".join(field.id for field, _ in changes)
    raise QuietlyError(f"{file} is written in a way that cannot be changed safely; set {named} in it by hand.")


def _put(document: MutableMapping[str, Any], id: str, value: object | None, table: Callable[[], object]) -> None:
    """Let `id` have `value`; a table that it needs is made."""
    *above, name = id.split(".")
    for each in above:
        if not isinstance(document.get(each), MutableMapping):
            if value is None:
                return
            document[each] = table()
        document = document[each]
    if value is not None:
        document[name] = value
    elif name in document:
        del document[name]


def _item(value: object) -> object:
    """A value as it is written; text of several lines in as many lines, where they end as lines do here."""
    import tomlkit

    if isinstance(value, str) and "\n" in value and "\r" not in value:
        return tomlkit.string(value, multiline=True)
    return value


def _replace(target: Path, new: bytes) -> None:
    """Put `new` in the place of what `target` holds."""
    part = target.with_name(f".{target.name}-{os.urandom(8).hex()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(new)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
