"""How a fetched model lies on the disk: what is noted, what counts as whole, and what a cancelled download leaves."""

import hashlib
import json
from pathlib import Path

import pytest

from app.errors import QuietlyError
from app.library import layout
from app.library.layout import RECORD, File, Record, Repository, here, read_record, unfinished
from app.settings import private_folder
from tests.app.library.hub import blob
from tests.app.library.tiny import FILES, FIRST, REPO, SECOND, TOTAL

OLD, NEW = "a" * 40, "b" * 40


def listed(files: dict[str, bytes], commit: str = OLD) -> Record:
    """What the Hub would say of these files."""
    return Record(
        REPO,
        "main",
        commit,
        tuple(
            File(name, len(content), sha256=hashlib.sha256(content).hexdigest())
            if name.endswith("safetensors")
            else File(name, len(content), blob=blob(content))
            for name, content in files.items()
        ),
    )


def put(repository: Repository, files: dict[str, bytes], commit: str = OLD, cut: int | None = None) -> Record:
    """Have these files fetched as far as blobs; the last one only up to `cut`, where that is given."""
    record = listed(files, commit)
    repository.begin(record)
    for file in record.files:
        repository.blob(file).write_bytes(files[file.name])
    if cut is not None:
        last = record.files[-1]
        repository.blob(last).unlink()
        repository.part(last).write_bytes(files[last.name][:cut])
    return record


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path, REPO)


def test_half_a_download_is_told_from_the_disk_alone(repository: Repository) -> None:
    record = put(repository, FILES, cut=1000)
    assert unfinished(repository.folder) == (TOTAL - len(FILES[SECOND]) + 1000, TOTAL)
    assert here(repository.folder, record) == TOTAL - len(FILES[SECOND]) + 1000
    assert repository.record == record


def test_what_is_finished_is_not_unfinished(repository: Repository) -> None:
    snapshot = repository.finish(put(repository, FILES))
    assert unfinished(repository.folder) is None
    assert repository.standing(OLD, listed(FILES).files) == snapshot
    assert repository.standing(NEW, listed(FILES).files) is None
    (snapshot / SECOND).resolve().write_bytes(b"short")
    assert repository.standing(OLD, listed(FILES).files) is None


def test_a_cancelled_download_leaves_nothing(repository: Repository, tmp_path: Path) -> None:
    put(repository, FILES, cut=1000)
    size = (repository.folder / RECORD).stat().st_size
    assert repository.discard() == TOTAL - len(FILES[SECOND]) + 1000 + size
    assert not list(tmp_path.iterdir())
    assert repository.discard() == 0


def test_a_cancelled_download_of_a_newer_version_leaves_the_older_one(repository: Repository, tmp_path: Path) -> None:
    snapshot = repository.finish(put(repository, FILES))
    newer = {**FILES, "config.json": b"{}", SECOND: b"newer" * 1000}
    put(repository, newer, NEW, cut=1000)
    assert unfinished(repository.folder) is not None
    freed = repository.discard()
    assert freed > 900 and unfinished(repository.folder) is None
    assert all((snapshot / name).read_bytes() == content for name, content in FILES.items())
    assert repository.standing(OLD, listed(FILES).files) == snapshot
    assert sorted(file.name for file in repository.folder.glob("blobs/*")) == sorted(f.id for f in listed(FILES).files)


def test_what_the_earlier_layout_left_of_a_download_goes_with_it(repository: Repository, tmp_path: Path) -> None:
    part = tmp_path / "someone--Tiny-4bit.part"
    part.mkdir()
    (part / FIRST).write_bytes(b"part")
    assert repository.discard() == 4
    assert not list(tmp_path.iterdir())


def test_what_leads_elsewhere_is_removed_and_not_followed(repository: Repository, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept.txt").write_text("kept")
    put(repository, FILES, cut=1000)
    (repository.folder / "blobs" / "link").symlink_to(other)
    repository.discard()
    assert (other / "kept.txt").read_text() == "kept"


def test_a_folder_that_was_moved_and_linked_to_is_refused_with_its_name(repository: Repository, tmp_path: Path) -> None:
    put(repository, FILES, cut=1000)
    moved = repository.folder.rename(tmp_path / "moved")
    repository.folder.symlink_to(moved)
    with pytest.raises(QuietlyError, match="cannot be removed"):
        repository.discard()
    assert (moved / RECORD).exists()


def test_what_is_being_fetched_is_not_removed(repository: Repository) -> None:
    put(repository, FILES, cut=1000)
    with repository.alone(), pytest.raises(QuietlyError, match="being fetched already"):
        repository.discard()
    assert repository.discard() > 0


def test_a_lock_whose_folder_another_process_takes_away_is_taken_all_the_same(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def gone_at_once(folder: Path) -> Path:
        made.append(private_folder(folder))
        if len(made) == 1:
            folder.rmdir()
        return folder

    monkeypatch.setattr(layout, "private_folder", gone_at_once)
    with repository.alone():
        assert len(made) == 2


def test_an_update_that_is_killed_before_it_has_cleared_up_is_finished_by_the_next(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(repository: Repository, kept: set[str]) -> None:
        raise InterruptedError

    repository.finish(put(repository, FILES))
    newer = put(repository, {**FILES, "config.json": b"{}"}, NEW)
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(Repository, "_sweep", killed)
        repository.finish(newer)
    record = repository.record
    assert record is not None and not record.complete
    snapshot = repository.finish(record)
    assert [*snapshot.parent.iterdir()] == [snapshot]
    assert {file.name for file in (repository.folder / "blobs").iterdir()} == {file.id for file in newer.files}


def test_interrupted_before_the_note_says_so_a_model_is_finished_again(repository: Repository) -> None:
    record = put(repository, FILES)
    repository.finish(record)
    note = repository.folder / RECORD
    note.write_text(json.dumps(json.loads(note.read_bytes()) | {"complete": False}))
    assert repository.finish(record).is_dir()
    assert unfinished(repository.folder) is None


SOUND = {"name": "model.safetensors", "size": 3, "sha256": "c" * 64}


@pytest.mark.parametrize(
    "damage",
    [
        {"files": []},
        {"files": [SOUND | {"name": "../../../escape"}]},
        {"files": [SOUND | {"name": ".."}]},
        {"files": [SOUND | {"sha256": "../../../escape"}]},
        {"files": [SOUND | {"sha256": "", "blob": "x"}]},
        {"files": [SOUND | {"size": -1}]},
        {"commit": "../../escape"},
        {"commit": 5},
        {"complete": "perhaps"},
    ],
)
def test_a_note_that_cannot_be_true_is_none(tmp_path: Path, damage: dict[str, object]) -> None:
    note = {"repo": REPO, "revision": "main", "commit": OLD, "files": [SOUND], "complete": False}
    (tmp_path / RECORD).write_text(json.dumps(note))
    assert read_record(tmp_path) is not None
    (tmp_path / RECORD).write_text(json.dumps(note | damage))
    assert read_record(tmp_path) is None and unfinished(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"null"])
def test_a_note_that_is_none_at_all_is_no_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / RECORD).write_bytes(content)
    assert read_record(tmp_path) is None
