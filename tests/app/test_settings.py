"""The settings that a person writes: read, never written, and what is wrong with them said."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings import Settings, load_settings, paths


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
    assert settings == Settings({"answer.stop": "f8", "conversation.new": "ctrl+n,alt+n"}, False, 5.0)


def test_an_unknown_key_is_named_with_the_way_out_and_left_in_the_file(file: Path) -> None:
    written = "notfy_after = 5\nzzz = 1\ncopy_on_select = false\n"
    file.write_text(written)
    settings, (first, second) = load_settings(file)
    assert "notfy_after" in first and "notify_after?" in first and str(file) in first
    assert "zzz" in second and "copy_on_select" in second
    assert settings == Settings(copy_on_select=False) and file.read_text() == written


@pytest.mark.parametrize(
    "line",
    [
        "copy_on_select = 1",
        'notify_after = "soon"',
        "notify_after = -1",
        "notify_after = nan",
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


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters='"\\'), max_size=200))
def test_what_is_quoted_from_the_file_is_safe_to_show(name: str) -> None:
    from app.settings import _unknown

    said = _unknown(name, Path("settings.toml"))
    assert said.isprintable() and len(said) < 300
