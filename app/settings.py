"""Where Quietly keeps things, and what a person has set.

The folders stand by the platform's custom, all of them below $QUIETLY_HOME where that is set. Whatever they hold is the
person's alone: folders are 0700, files 0600. The settings are one TOML file that people write and Quietly only reads:
what it does not understand is said and stays as it is. It knows nothing of what the settings are for.
"""

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import platformdirs


class Paths(msgspec.Struct, frozen=True):
    """The folders of one installation. Nothing is created by naming them; `private_folder` creates."""

    data: Path
    """What must not be lost: the conversations, and models fetched or added by hand."""
    cache: Path
    """What can be made again: converted GGUF files."""
    logs: Path
    """One log per engine process, kept until the next start."""
    config: Path
    """What the person has written: the settings."""

    @property
    def settings(self) -> Path:
        return self.config / "settings.toml"

    @property
    def database(self) -> Path:
        return self.data / "conversations.sqlite3"

    @property
    def models(self) -> Path:
        return self.data / "models"

    @property
    def conversions(self) -> Path:
        return self.cache / "converted"


def paths() -> Paths:
    """The folders in force, by $QUIETLY_HOME or the platform's custom."""
    if home := os.environ.get("QUIETLY_HOME"):
        root = Path(home).expanduser().absolute()
        return Paths(data=root / "data", cache=root / "cache", logs=root / "logs", config=root / "config")
    dirs = platformdirs.PlatformDirs("Quietly", appauthor=False)
    return Paths(
        data=dirs.user_data_path, cache=dirs.user_cache_path, logs=dirs.user_log_path, config=dirs.user_config_path
    )


def private_folder(folder: Path) -> Path:
    """`folder`, created where missing, and closed to everyone else."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    return folder


# --- what a person has set --------------------------------------------------------------------------------


class Settings(msgspec.Struct, frozen=True):
    """What a person has set; the rest is as here."""

    keys: dict[str, str] = {}
    """By an action's id (answer.stop) the keys it stands on instead of its own, separated by commas."""
    copy_on_select: bool = True
    """Whether text that was selected with the mouse is copied at once."""
    notify_after: float = 20.0
    """Seconds that an answer took from which on its end is announced; 0: never."""


_EXPECTED = {"copy_on_select": "true or false", "notify_after": "a number of seconds, or 0 for never"}
_PLACE = re.compile(r"\(at line (\d+)")
_LONGEST = 1_000_000_000.0
"""Seconds."""
_QUOTED = 60


def load_settings(file: Path) -> tuple[Settings, list[str]]:
    """The settings in `file`, and a sentence for each thing in it that is not understood.

    What is not understood counts as not set; a file that cannot be read at all, or is not there, sets nothing.
    """
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        return Settings(), []
    except OSError as error:
        return Settings(), [f"{file} cannot be read ({error.strerror}), so nothing of it is in force; mend that."]
    import tomllib

    try:
        text = raw.decode("utf-8-sig")
        return _settings_of(tomllib.loads(text), file)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        why = f"line {line} is not UTF-8"
    except ValueError as error:  # tomllib's own, and numbers too long to be any
        place = _PLACE.search(str(error))
        why = f"line {place[1] if place else text.count(chr(10)) + 1} is not TOML"
    except RecursionError:
        why = "it is nested too deeply"
    return Settings(), [f"{file}: {why}, so nothing of the file is in force; mend it and start again."]


def _settings_of(read: dict[str, Any], file: Path) -> tuple[Settings, list[str]]:
    values: dict[str, Any] = {}
    sentences: list[str] = []
    for name, value in read.items():
        if name == "keys":
            values[name] = _keys_of(value, file, sentences)
        elif name not in _EXPECTED:
            sentences.append(_unknown(name, file))
        elif _fits(name, value):
            values[name] = value
        else:
            sentences.append(
                f"{name} in {file} must be {_EXPECTED[name]}, not {_shown(value)}; until it is, "
                f"{_shown(getattr(Settings(), name))} is in force."
            )
    return msgspec.convert(values, Settings), sentences


def _fits(name: str, value: object) -> bool:
    if name == "copy_on_select":
        return isinstance(value, bool)
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LONGEST


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
    from difflib import get_close_matches

    near = get_close_matches(name, ("keys", *_EXPECTED), 1)
    meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(('keys', *_EXPECTED))}."
    return f"{_plain(name)} in {file} is no setting and does nothing; {meant}"


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
