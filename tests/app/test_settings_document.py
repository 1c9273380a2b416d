"""The document of settings says what can be set, and where things are kept."""

import json
from itertools import groupby
from pathlib import Path

import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

from app.fields import Field, expected
from app.settings import FIELDS, Paths, Settings, load_settings, overridden, paths, values
from app.tui.keys import keymap, known
from app.tuning import unchosen
from tests.documents import DOCUMENTS, Table, quoted, tables

DOCUMENT = (DOCUMENTS / "settings.md").read_text()


def with_columns(*names: str) -> list[Table]:
    return [table for table in tables(DOCUMENT) if tuple(table[0]) == names]


def row(field: Field) -> dict[str, str]:
    """What the document says of a field."""
    usual = values(Settings())[field.id]
    return {
        "setting": f"`{field.id}`",
        "usually": unchosen(field, ()) if usual is None else f"`{json.dumps(usual)}`",
        "takes": expected(field),
        "does": field.says,
    }


def test_every_setting_stands_there_with_what_it_takes_and_does() -> None:
    groups = [(group, [row(field) for field in fields]) for group, fields in groupby(FIELDS, lambda one: one.group)]
    assert with_columns("setting", "usually", "takes", "does") == [rows for _, rows in groups]
    headings = [line.removeprefix("### ") for line in DOCUMENT.splitlines() if line.startswith("### ")]
    assert headings == [group for group, _ in groups]


def test_the_example_is_understood_whole(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(DOCUMENT.split("```toml\n")[1].split("```")[0])
    settings, sentences = load_settings(file)
    assert sentences == [] and settings.theme == "nord" and settings.generation.max_tokens == 2000
    chosen, sentences = keymap(settings.keys, known())
    assert sentences == [] and chosen.keys() == settings.keys.keys()


def test_the_variables_of_the_example_are_followed() -> None:
    line = DOCUMENT.split("```sh\n")[1].split("\n")[0]
    environ = dict(word.split("=") for word in line.split()[:-1])
    assert load_settings(Path("nowhere"), environ)[1] == []
    assert overridden(environ) == {"temporary", "generation.temperature"}


def test_the_folders_are_where_the_systems_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    mac, linux = MacOS("Quietly", False), Unix("Quietly", False)
    (table,) = with_columns("folder", "macOS", "Linux")
    for row, ways in zip(
        table, ("user_data_path", "user_cache_path", "user_log_path", "user_config_path"), strict=True
    ):
        for system, dirs in (("macOS", mac), ("Linux", linux)):
            assert Path(quoted(row[system])[0]).expanduser() == getattr(dirs, ways)
    assert [quoted(row["folder"])[0] for row in table] == [*Paths.__struct_fields__]


def test_everything_that_is_kept_stands_there(home: Path) -> None:
    places = paths()
    (table,) = with_columns("what", "where", "for how long")
    named = {home / place for row in table for place in quoted(row["where"])}
    backups = places.database.parent / "backups"
    made_again = {places.conversions, places.sessions}
    assert named == {places.database, backups, places.models, *made_again, places.logs, places.settings}
    settings = {setting for row in table for setting in quoted(row["for how long"])}
    assert settings == {field.id for field in FIELDS if field.group == "Keeping"}
