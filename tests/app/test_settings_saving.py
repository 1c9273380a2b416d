"""Changing what is set: in the file that a person wrote, which keeps everything else, or not at all."""

import stat
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import QuietlyError
from app.fields import Field
from app.settings import FIELDS, Settings, load_settings, paths, save_settings, values

WRITTEN = """\
# How I like it.
theme = "nord"   # blue
zzz = { of = "another version" }

notify_after = 5

[keys]  # mine
"conversation.new" = "alt+n"

[generation]
temperature = 0.5 # calm
mirostat = 2
"""


@pytest.fixture
def file() -> Path:
    return paths().settings


@pytest.fixture
def written(file: Path) -> Path:
    """A file that a person wrote."""
    file.parent.mkdir(parents=True)
    file.write_text(WRITTEN)
    return file


def test_the_file_is_made_where_there_is_none_and_is_the_persons_alone(file: Path) -> None:
    save_settings(file, {"theme": "nord", "generation.top_k": 40})
    assert file.read_text() == 'theme = "nord"\n\n[generation]\ntop_k = 40\n'
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_comments_order_and_what_is_not_understood_stay(written: Path) -> None:
    save_settings(written, {"theme": "gruvbox", "backups": 3, "generation.temperature": 1.0, "generation.top_p": 0.9})
    assert written.read_text() == WRITTEN.replace('"nord"', '"gruvbox"').replace("0.5", "1.0").replace(
        "notify_after = 5\n", "notify_after = 5\nbackups = 3\n"
    ).replace("mirostat = 2\n", "mirostat = 2\ntop_p = 0.9\n")


def test_what_is_unset_goes_and_what_is_not_there_need_not(written: Path) -> None:
    save_settings(written, {"notify_after": None, "generation.temperature": None, "keep_days": None})
    settings, _ = load_settings(written)
    assert settings == Settings(theme="nord", keys={"conversation.new": "alt+n"})
    assert "# How I like it." in written.read_text() and "mirostat = 2" in written.read_text()


@pytest.mark.parametrize(
    "kept", [b"theme = \n", b"\xff", b'theme = "nord"\ntheme = "nord"\n', b"a = " + b"[" * 100_000]
)
def test_a_file_that_is_not_toml_is_left_as_it_is(file: Path, kept: bytes) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(kept)
    with pytest.raises(QuietlyError) as refused:
        save_settings(file, {"theme": "nord"})
    assert str(file) in str(refused.value) and "mend it" in str(refused.value)
    assert file.read_bytes() == kept


def test_what_cannot_be_changed_safely_is_left_as_it_is_and_said(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text("zzz = nan\n")  # which is not itself, so nobody can tell whether it is still there
    with pytest.raises(QuietlyError, match="set theme, backups in it by hand"):
        save_settings(file, {"theme": "nord", "backups": 3})
    assert file.read_text() == "zzz = nan\n"


def test_a_value_that_does_not_fit_is_refused_and_nothing_is_written(file: Path) -> None:
    with pytest.raises(QuietlyError, match="backups must be a whole number from 0 to 365 days"):
        save_settings(file, {"theme": "nord", "backups": -1})
    assert not file.exists()


def test_a_file_that_cannot_be_written_is_said(file: Path, tmp_path: Path) -> None:
    file.mkdir(parents=True)
    below_a_file = tmp_path / "file" / "settings.toml"
    below_a_file.parent.touch()
    for place in (file, below_a_file):
        with pytest.raises(QuietlyError) as refused:
            save_settings(place, {"theme": "dracula"})
        assert str(place) in str(refused.value) and "nothing was changed" in str(refused.value)
    assert list(file.parent.iterdir()) == [file]


def test_where_the_file_is_a_link_what_it_leads_to_is_changed(file: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "dotfiles" / "quietly.toml"
    elsewhere.parent.mkdir()
    elsewhere.write_text("# mine\n")
    file.parent.mkdir(parents=True)
    file.symlink_to(elsewhere)
    save_settings(file, {"theme": "nord"})
    assert file.is_symlink() and elsewhere.read_text() == '# mine\ntheme = "nord"\n'


def test_several_that_change_it_at_once_lose_nothing(written: Path) -> None:
    changes: list[dict[str, object | None]] = [
        {"backups": 1},
        {"keep_days": 2},
        {"large_paste": 3},
        {"theme": "monokai"},
    ]
    threads = [threading.Thread(target=save_settings, args=(written, change)) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settings, _ = load_settings(written)
    assert (settings.backups, settings.keep_days, settings.large_paste, settings.theme) == (1, 2, 3, "monokai")


def test_toml_is_not_imported_until_something_is_changed() -> None:
    code = "import sys, app.settings\nassert not {'tomlkit', 'tomllib'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def _values(field: Field) -> st.SearchStrategy[object]:
    match field.kind:
        case "switch":
            return st.booleans()
        case "choice":
            return st.sampled_from([value for value, _ in field.choices])
        case "integer":
            return st.integers(int(field.low or 0), int(field.high or 0))
        case "number":
            return st.floats(field.low, field.high)
        case "line":
            return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"))
        case "text":
            return st.text(st.characters(exclude_categories=["Cs"]))


CHANGES = st.fixed_dictionaries({}, optional={field.id: st.none() | _values(field) for field in FIELDS})


@given(st.lists(CHANGES, min_size=1, max_size=4), st.sampled_from(["", WRITTEN, "zzz = 1", "[keys]\n[other]\n"]))
def test_what_is_saved_is_what_is_read_and_the_rest_is_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, changes: list[dict[str, object | None]], before: str
) -> None:
    file = tmp_path_factory.mktemp("settings") / "settings.toml"
    file.write_text(before)
    expected, _ = load_settings(file, {})
    wanted, strange = values(expected), _strange(file)
    for change in changes:
        save_settings(file, change)
        wanted |= {id: values(Settings())[id] if value is None else value for id, value in change.items()}
    settings, _ = load_settings(file, {})
    assert values(settings) == wanted and settings.keys == expected.keys and _strange(file) == strange
    assert [line for line in before.splitlines() if line.startswith("#")] == [
        line for line in file.read_text().splitlines() if line.startswith("# How")
    ]


def _strange(file: Path) -> tuple[object, ...]:
    """What of the file is none of ours."""
    read = tomllib.loads(file.read_text())
    return read.get("zzz"), read.get("other"), read.get("generation", {}).get("mirostat")


def test_a_link_that_leads_nowhere_but_to_itself_is_said(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.symlink_to(file)
    with pytest.raises(QuietlyError, match="nothing was changed"):
        save_settings(file, {"theme": "nord"})
    assert file.is_symlink()


def test_lines_that_end_as_on_other_systems_are_kept(file: Path) -> None:
    save_settings(file, {"system_prompt": "one\r\ntwo\n\rthree"})
    assert load_settings(file)[0].system_prompt == "one\r\ntwo\n\rthree"
