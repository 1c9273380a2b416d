"""After everything is deleted no word of it stands in any file, and each file that is left is one of a few."""

import tempfile
from pathlib import Path

import pytest

from app.chat.store import Store
from app.erasing import erase_everything, left
from app.errors import QuietlyError
from app.settings import Paths
from tests.app.chat.conftest import holding
from tests.app.living import live, write_everywhere

MARKER = "zqxjkvbz-marker"
TRACES = ("xjkvbz", "zqxjkv", "-marker")
"""Parts of it: an index keeps only of each word what the one before has not."""


async def test_no_word_is_left_and_every_file_that_is_has_a_reason(
    home: Path, places: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    await live(places, elsewhere, MARKER, monkeypatch)
    interrupted = Path(tempfile.mkdtemp(prefix="quietly-")) / "message.md"
    interrupted.write_text(MARKER)
    for log in places.logs.iterdir():
        log.write_text(MARKER)
    with Store.open(places.database) as store:
        write_everywhere(store, MARKER)
        store.back_up()
        found = holding(home, MARKER)
        assert {"backups", "data", "logs"} <= {path.parent.name for path in home.rglob("*") if path.name in found}
        assert list(places.sessions.iterdir())  # what a model has read is no text, and goes too
        files = erase_everything(places, store)
        # Everything is read while the file is open: its log and that log's index are there.
        for trace in TRACES:
            assert holding(home, trace) == []
        assert {file.file for file in files} == {
            path
            for folder in (places.data, places.cache, places.logs, places.config)
            for path in folder.rglob("*")
            if path.is_file()
        }
        why = {file.file.relative_to(home).as_posix(): file.why for file in files}
        assert {name: says.partition(":")[0] for name, says in why.items()} == {
            "data/conversations.sqlite3": "the conversations file",
            "data/conversations.sqlite3-wal": "SQLite's notes on the conversations file",
            "data/conversations.sqlite3-shm": "SQLite's notes on the conversations file",
            "config/settings.toml": "your settings",
            **{name: "a model" for name in why if name.startswith("data/models/models--someone--tiny/")},
            **{name: "a converted model" for name in why if name.startswith("cache/converted/")},
        }
        assert len(why) > 8
    assert not interrupted.parent.exists()
    assert list(elsewhere.glob("*.md"))  # an export was taken out, and is the person's
    assert list(places.logs.iterdir()) == []


def test_what_is_not_ours_stays_and_is_named(places: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Store.open(places.database) as store:
        places.logs.mkdir(mode=0o700)
        strange = [places.data / "notes.txt", places.logs / "diary.log", places.data / "backups.zip"]
        for file in strange:
            file.write_text("mine")
        other_programs = tmp_path / "quietly-elsewhere" / "message.md"
        other_programs.parent.mkdir()
        other_programs.write_text("mine")
        files = erase_everything(places, store)
        assert {file.file for file in files if file.why.startswith("not made by Quietly")} == set(strange)
        assert other_programs.exists()


def test_a_link_to_a_folder_is_not_followed(places: Paths, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "weights").write_text("mine")
    places.models.mkdir(parents=True)
    (places.models / "linked").symlink_to(tmp_path / "far")
    assert [file.file for file in left(places)] == []


@pytest.mark.parametrize("log", ["engine-1.log", "download.log", "asking.log", "measurer.log", "quantiser.log"])
def test_every_log_goes(places: Paths, log: str) -> None:
    places.logs.mkdir(mode=0o700, parents=True)
    (places.logs / log).touch()
    with Store.open(places.database) as store:
        erase_everything(places, store)
    assert not (places.logs / log).exists()


def test_nothing_goes_where_an_answer_is_being_written(places: Paths) -> None:
    with Store.open(places.database) as store:
        made = write_everywhere(store, MARKER)
        store.begin_answer(made, store.branch(made)[0].id, None)
        places.logs.mkdir(mode=0o700)
        log = places.logs / "engine-1.log"
        log.touch()
        with pytest.raises(QuietlyError, match="stop it, then delete everything again"):
            erase_everything(places, store)
        assert log.exists()
        assert len(store.conversations()) == 1
