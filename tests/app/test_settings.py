"""What is set, as it is read: by file and by variable, with all that is wrong there said."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fields import Field, fits
from app.generation import GenerationSettings
from app.settings import FIELDS, Settings, load_settings, overridden, paths, values, variable
from app.settings.reading import _unknown


@pytest.fixture
def file(home: Path) -> Path:
    """Where this test's settings stand."""
    place = paths().settings
    place.parent.mkdir(parents=True)
    return place


def test_they_stand_in_the_folder_for_configuration(home: Path) -> None:
    assert paths().settings == home / "config" / "settings.toml"


def test_without_a_file_everything_is_as_usual_and_toml_is_not_even_imported(file: Path) -> None:
    assert load_settings(file) == (Settings(), [])
    code = (
        "import sys, pathlib, app.settings as s; s.load_settings(pathlib.Path('/nowhere'))\n"
        "assert not {'tomllib', 'difflib'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_what_is_set_is_in_force_however_ids_are_quoted(file: Path) -> None:
    file.write_text(
        "copy_on_select = false\nnotify_after = 5\n"
        '[keys]\n"answer.stop" = "f8"\nconversation.new = ["ctrl+n", "alt+n"]\n'
    )
    settings, sentences = load_settings(file)
    assert sentences == []
    assert settings == Settings(
        keys={"answer.stop": "f8", "conversation.new": "ctrl+n,alt+n"}, copy_on_select=False, notify_after=5.0
    )


def test_an_unknown_key_is_named_with_the_way_out_and_left_in_the_file(file: Path) -> None:
    written = "notfy_after = 5\nzzz = 1\ncopy_on_select = false\n"
    file.write_text(written)
    settings, (first, second) = load_settings(file)
    assert "notfy_after" in first and "notify_after?" in first and str(file) in first
    assert "zzz" in second and "/settings" in second
    assert settings == Settings(copy_on_select=False) and file.read_text() == written


@pytest.mark.parametrize(
    "line",
    [
        "copy_on_select = 1",
        'notify_after = "soon"',
        "notify_after = -1",
        "notify_after = nan",
        "notify_after = inf",
        f"backups = 1{'0' * 400}",
        "generation = 3",
        'generation.overflow = "never"',
        "notify_after = true",
        f"notify_after = 1{'0' * 400}",
        "keys = 3",
        'keys = { "answer.stop" = 5 }',
    ],
)
def test_a_bad_value_is_named_and_counts_as_not_set(file: Path, line: str) -> None:
    file.write_text(line)
    settings, (sentence,) = load_settings(file)
    assert settings == Settings() and line.split(" ")[0] in sentence and str(file) in sentence


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"copy_on_select = false\nnotify_after = \n", "line 2"),
        (b"copy_on_select = false\nkeys = [", "line 2"),
        (b"copy_on_select = false\n# \xff\n", "line 2"),
        (b"keys = " + b"[" * 100_000, "nested"),
        (b"notify_after = " + b"9" * 5000, "not TOML"),
    ],
)
def test_a_broken_file_is_said_with_its_line_and_nothing_of_it_is_in_force(
    file: Path, written: bytes, said: str
) -> None:
    file.write_bytes(written)
    settings, (sentence,) = load_settings(file)
    assert settings == Settings() and said in sentence and str(file) in sentence


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    settings, (sentence,) = load_settings(tmp_path)
    assert settings == Settings() and str(tmp_path) in sentence


# --- the description --------------------------------------------------------------------------------------


def test_every_field_is_described_and_its_usual_value_fits() -> None:
    usual = values(Settings())
    own = {name for name in Settings.__struct_fields__ if name not in ("keys", "generation")}
    for_answers = {f"generation.{name}" for name in GenerationSettings.__struct_fields__ if name != "seed"}
    assert usual.keys() == own | for_answers
    for field in FIELDS:
        value = usual[field.id]
        assert (value is None) == field.optional and (value is None or fits(field, value)), field.id
        assert field.label and field.says and not field.says.endswith("."), field.id


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.id)
def test_every_field_can_be_set_in_the_file_and_by_its_variable(file: Path, field: Field) -> None:
    for value in others(field):
        table, _, name = field.id.rpartition(".")
        file.write_text((f"[{table}]\n" if table else "") + f"{name} = {json.dumps(value)}\n")
        for environ, read in (({}, file), ({variable(field): str(value)}, Path("nowhere"))):
            settings, sentences = load_settings(read, environ)
            assert sentences == [] and values(settings) == values(Settings()) | {field.id: value}
            assert overridden(environ) == ({field.id} if environ else set())


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.id)
def test_a_value_that_does_not_fit_is_said_wherever_it_stands(file: Path, field: Field) -> None:
    table, _, name = field.id.rpartition(".")
    file.write_text((f"[{table}]\n" if table else "") + f"{name} = [1]\n")
    settings, (sentence,) = load_settings(file, {})
    assert settings == Settings() and sentence.startswith(f"{field.id} in {file} must be ")
    if field.kind not in ("line", "text"):
        settings, sentences = load_settings(file, {variable(field): "perhaps"})
        assert settings == Settings() and sentences[1].startswith(f"{variable(field)} must be ")
        assert not overridden({variable(field): "perhaps"})


def others(field: Field) -> list[object]:
    """Values of a field that are not its usual one."""
    usual = values(Settings())[field.id]
    match field.kind:
        case "switch":
            found: list[object] = [True, False]
        case "choice":
            found = [value for value, _ in field.choices]
        case "integer":
            found = [int(field.low or 0), int(field.high or 0)]
        case "number":
            found = [float(field.low or 0), float(field.high or 0)]
        case _:
            found = ["one", 'a "b" \\ é 東京']
    return [value for value in found if value != usual]


# --- variables --------------------------------------------------------------------------------------------


def test_a_variable_stands_over_the_file(file: Path) -> None:
    file.write_text("backups = 3\nkeep_days = 30\n")
    settings, sentences = load_settings(file, {"QUIETLY_BACKUPS": "5", "QUIETLY_GENERATION_TOP_P": "0.5"})
    assert sentences == []
    assert (settings.backups, settings.keep_days, settings.generation) == (5, 30, GenerationSettings(top_p=0.5))


def test_a_variable_that_means_nothing_leaves_what_the_file_says(file: Path) -> None:
    file.write_text("backups = 3\n")
    settings, (sentence,) = load_settings(file, {"QUIETLY_BACKUPS": "many\x1b[2J"})
    assert settings.backups == 3
    assert "QUIETLY_BACKUPS" in sentence and "3 is in force" in sentence and sentence.isprintable()


def test_variables_are_in_force_where_the_file_is_broken(file: Path) -> None:
    file.write_text("backups =")
    settings, (sentence,) = load_settings(file, {"QUIETLY_BACKUPS": "5"})
    assert settings == Settings(backups=5) and "not TOML" in sentence


@pytest.mark.parametrize(
    ("said", "meant"), [("1", True), ("Yes", True), ("on", True), ("0", False), ("no", False), ("OFF", False)]
)
def test_a_switch_may_be_said_in_several_ways(said: str, meant: bool) -> None:
    assert load_settings(Path("nowhere"), {"QUIETLY_TEMPORARY": said})[0].temporary is meant


def test_an_empty_variable_sets_nothing_and_that_of_the_home_is_none() -> None:
    environ = {"QUIETLY_THEME": "", "QUIETLY_HOME": "/tmp/elsewhere"}
    assert load_settings(Path("nowhere"), environ) == (Settings(), []) and not overridden(environ)


# --- what is quoted ---------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters='"\\'), max_size=200))
def test_what_is_quoted_from_the_file_is_safe_to_show(name: str) -> None:
    said = _unknown(name, Path("settings.toml"))
    assert said.isprintable() and len(said) < 300
