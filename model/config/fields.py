"""config.json as untrusted data: the file read, its fields taken by type and range.

It knows no architecture. JSON's true is a Python int, its NaN a float, and a null counts as absent.
"""

import json
import math
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, cast

from model.errors import ModelError

MAX_FILE = 16 * 1024 * 1024
"""Bytes. The longest published config.json, with an override for every layer, has a hundredth of it."""


def read_fields(folder: Path) -> dict[str, object]:
    """config.json as it stands, its values unchecked. ModelError where it is missing or not a JSON object."""
    return read_object(folder / "config.json", folder.name)


def read_object(path: Path, name: str) -> dict[str, object]:
    """A JSON file that must hold an object. ModelError names the checkpoint, as `name`, and the file."""
    label = f"{name}: {path.name}"
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            raise ModelError(f"{label} is not a file; choose a folder that holds a checkpoint.")
        if status.st_size > MAX_FILE:
            raise ModelError(
                f"{label} has {status.st_size} bytes, no checkpoint needs more than {MAX_FILE}; get it again."
            )
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(f"{label} is missing; choose a folder that holds a whole checkpoint.") from None
    except OSError as error:
        raise ModelError(f"{label} cannot be read ({error.strerror}); check who may read it.") from None
    except ValueError:
        raise ModelError(f"{label} is not UTF-8 text; get the checkpoint again.") from None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ModelError(f"{label} is not valid JSON; get the checkpoint again.") from None
    if not isinstance(value, dict):
        raise ModelError(f"{label} holds {kind_of(value)} where an object is needed; get the checkpoint again.")
    return value


def parse_model_type(fields: Mapping[str, object], name: str) -> str:
    """`model_type` of a config's fields. ModelError where it is absent, empty or not a string."""
    value = fields.get("model_type")
    if not isinstance(value, str) or not value:
        raise ModelError(f"{name}: config.json names no model_type; choose a checkpoint with its full configuration.")
    return value


class Fields:
    """A JSON object, its values taken by type and range; a refusal names checkpoint, field and value."""

    def __init__(self, fields: Mapping[str, object], name: str, above: str = "") -> None:
        self.fields = fields
        self.name = name
        self._above = above

    def get(self, key: str) -> object:
        return self.fields.get(key)

    def label(self, key: str) -> str:
        """The field as a person finds it, outer objects first; in ASCII and short, whatever a file has."""
        return self._above + json.dumps(key[:40])[1:-1]

    def refuse(self, key: str, because: str, value: object = None) -> NoReturn:
        shown = show(self.fields.get(key) if value is None else value)
        raise ModelError(f"{self.name}: config.json has {self.label(key)} = {shown}, but {because}; get it again.")

    def inner(self, key: str) -> "Fields":
        value = self.get(key)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            self.refuse(key, "an object is needed")
        return Fields(cast(dict[str, object], value), self.name, f"{self.label(key)}.")

    def integer(self, key: str, absent: int | None, *, least: int, most: int) -> int:
        """A whole number within bounds; without the field `absent`, or ModelError where that is None too."""
        value = self.get(key)
        if value is None:
            if absent is None:
                raise ModelError(
                    f"{self.name}: config.json has no {self.label(key)}; choose a checkpoint with all of it."
                )
            return absent
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(key, "a whole number is needed")
        if not least <= value <= most:
            self.refuse(key, f"it must lie between {least} and {most}")
        return value

    def count(self, key: str, most: int) -> int:
        return self.integer(key, None, least=1, most=most)

    def optional_count(self, key: str, most: int) -> int | None:
        return None if self.get(key) is None else self.count(key, most)

    def number(self, key: str, absent: float | None, *, above: float = -math.inf, most: float = math.inf) -> float:
        """A finite number, `above < number <= most`; `absent` as in `integer`."""
        value = self.get(key)
        if value is None and absent is not None:
            return absent
        if value is None:
            raise ModelError(f"{self.name}: config.json has no {self.label(key)}; choose a checkpoint with all of it.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(key, "a number is needed")
        if not (abs(value) < 1e300 and above < value <= most):
            self.refuse(key, f"a finite number above {above:g} and up to {most:g} is needed")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        return None if self.get(key) is None else self.number(key, None, above=0.0, most=1e6)

    def optional_flag(self, key: str) -> bool | None:
        value = self.get(key)
        if value is not None and not isinstance(value, bool):
            self.refuse(key, "true or false is needed")
        return value

    def flag(self, key: str, absent: bool) -> bool:
        value = self.optional_flag(key)
        return absent if value is None else value

    def text(self, key: str) -> str | None:
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            self.refuse(key, "a string is needed")
        return value


def dtype_of(read: Fields) -> str | None:
    value = read.text("dtype") or read.text("torch_dtype")
    return value.removeprefix("torch.") if value else None


def token_ids(read: Fields, key: str) -> tuple[int, ...]:
    value = read.get(key)
    values = value if isinstance(value, list) else [] if value is None else [value]
    for one in values:
        if not isinstance(one, int) or isinstance(one, bool) or not 0 <= one < 1 << 31:
            read.refuse(key, "token ids are whole numbers from 0 on")
    return tuple(values)


def show(value: object) -> str:
    """A value of a file inside a sentence: on one line, in ASCII, and never long."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return kind_of(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def kind_of(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def choice_of(values: tuple[int, ...]) -> str:
    values = tuple(sorted(values))
    return f"{', '.join(map(str, values[:-1]))} or {values[-1]}" if len(values) > 1 else str(values[0])
