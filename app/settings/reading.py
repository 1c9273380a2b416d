"""Reading what is set: the file, the variables of the environment over it, and what is wrong with either.

What is not understood counts as not set and is said. Changes nothing.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.fields import Field, expected, fits
from app.settings.schema import FIELDS, Settings, settings_of, values

KEYS = "keys"
_PREFIX = "QUIETLY_"
_PLACES = {tuple(field.id.split(".")): field for field in FIELDS}
"""By where it stands in the file, each field."""
_TABLES = frozenset(place[0] for place in _PLACES if len(place) > 1)
_SAID = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}
"""What a variable may say of a switch."""
_QUOTED = 60


def load_settings(file: Path, environ: Mapping[str, str] = os.environ) -> tuple[Settings, list[str]]:
    """The settings of `file` under those of `environ`, and a sentence for each thing there that is not understood.

    What is not understood counts as not set; a file that cannot be read at all, or is not there, sets nothing.
    """
    sentences: list[str] = []
    found, keys = _of_file(_read(file, sentences), file, sentences)
    found |= _of_environment(environ, found, sentences)
    return settings_of(found, keys), sentences


def overridden(environ: Mapping[str, str] = os.environ) -> frozenset[str]:
    """The ids of the fields that a variable decides, whatever the file says."""
    return frozenset(_of_environment(environ, {}, []))


def set_in(file: Path) -> frozenset[str]:
    """The ids of the fields that `file` sets."""
    return frozenset(_of_file(_read(file, []), file, [])[0])


def variable(field: Field) -> str:
    """The variable of the environment that stands over `field` in the file."""
    return _PREFIX + field.id.upper().replace(".", "_")


# --- the file ---------------------------------------------------------------------------------------------


def _read(file: Path, sentences: list[str]) -> dict[str, Any]:
    """What the file says; nothing where it is none."""
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        sentences.append(f"{file} cannot be read ({error.strerror}), so nothing of it is in force; mend that.")
        return {}
    try:
        return parsed(raw)
    except ValueError as error:
        sentences.append(f"{file}: {error}, so nothing of the file is in force; mend it and start again.")
        return {}


def parsed(raw: bytes) -> dict[str, Any]:
    """What TOML says. ValueError where it is none, with what is wrong as part of a sentence."""
    import tomllib

    try:
        text = raw.decode("utf-8-sig")
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8") from error
    except ValueError as error:  # tomllib's own, and numbers too long to be any
        place = re.search(r"\(at line (\d+)", str(error))
        line = int(place[1]) if place else text.count("\n") + 1
        raise ValueError(f"line {line} is not TOML") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _of_file(read: dict[str, Any], file: Path, sentences: list[str]) -> tuple[dict[str, object], dict[str, str]]:
    """By its id what the file sets, and the keys it gives."""
    found: dict[str, object] = {}
    for place, value in _entries(read):
        field = _PLACES.get(place)
        if field is None:
            sentences.append(_unknown(".".join(place), file))
        elif fits(field, value):
            found[field.id] = _settled(field, value)
        else:
            sentences.append(_unfit(f"{field.id} in {file}", field, value, {}))
    return found, _keys_of(read[KEYS], file, sentences) if KEYS in read else {}


def _entries(read: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], object]]:
    """Where each value stands, and the value; the keys aside."""
    for name, value in read.items():
        if name in _TABLES and isinstance(value, dict):
            yield from (((name, inner), deeper) for inner, deeper in value.items())
        elif name != KEYS:
            yield (name,), value


def _keys_of(value: object, file: Path, sentences: list[str]) -> dict[str, str]:
    """The table `keys`, in which answer.stop may stand in quotation marks or, being TOML, bare."""
    if not isinstance(value, dict):
        sentences.append(f"keys in {file} must be a table of actions and their keys, not {_shown(value)}.")
        return {}
    found: dict[str, str] = {}
    ahead = [(str(name), inner) for name, inner in value.items()]
    while ahead:
        name, inner = ahead.pop(0)
        if isinstance(inner, dict):
            ahead[:0] = [(f"{name}.{below}", deeper) for below, deeper in inner.items()]
            continue
        keys = ",".join(inner) if isinstance(inner, list) and all(isinstance(key, str) for key in inner) else inner
        if isinstance(keys, str):
            found[name] = keys
        else:
            sentences.append(
                f'keys.{_plain(name)} in {file} must be keys in quotation marks, as "ctrl+n", not {_shown(inner)}.'
            )
    return found


def _unknown(name: str, file: Path) -> str:
    if name in _TABLES:
        return f"{name} in {file} must be a table, headed by [{name}]; until it is, nothing of it is in force."
    from difflib import get_close_matches

    near = get_close_matches(name, (KEYS, *(field.id for field in FIELDS)), 1)
    meant = f"did you mean {near[0]}?" if near else "/settings shows what there is."
    return f"{_plain(name)} in {file} is no setting and does nothing; {meant}"


# --- the environment --------------------------------------------------------------------------------------


def _of_environment(environ: Mapping[str, str], below: Mapping[str, object], sentences: list[str]) -> dict[str, object]:
    """By its id what the variables set over what stands `below` them. An empty one sets nothing."""
    found: dict[str, object] = {}
    for field in FIELDS:
        written = environ.get(variable(field), "")
        if not written:
            continue
        value = meant(field, written)
        if fits(field, value):
            found[field.id] = _settled(field, value)
        else:
            sentences.append(_unfit(variable(field), field, written, below))
    return found


def meant(field: Field, written: str) -> object:
    """What a person wrote, as a value of the field's kind; the text itself where it is none."""
    try:
        match field.kind:
            case "switch":
                return _SAID.get(written.strip().lower(), written)
            case "integer":
                return int(written)
            case "number":
                return float(written)
    except ValueError:
        pass
    return written


# --- both -------------------------------------------------------------------------------------------------


def _settled(field: Field, value: Any) -> object:
    """A value that fits, of the type that the settings have."""
    return float(value) if field.kind == "number" else value


def _unfit(where: str, field: Field, value: object, below: Mapping[str, object]) -> str:
    stands = below.get(field.id, values(Settings())[field.id])
    after = "it counts as not set" if stands is None else f"until it is, {_shown(stands)} is in force"
    return f"{where} must be {expected(field)}, not {_shown(value)}; {after}."


def _shown(value: object) -> str:
    """A value as TOML has it, short."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{_plain(value)}"'
    return _plain(str(value))


def _plain(text: str) -> str:
    """`text` without what could act on a terminal, short."""
    cut = text if len(text) <= _QUOTED else text[: _QUOTED - 1] + "…"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in cut)
