"""Whatever the program writes is the person's alone, however open the shell's mask is."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.chat.store import Store
from app.settings import Paths
from tests.app.living import live, write_everywhere


@pytest.fixture(params=[0o022, 0o000], ids=["usual", "open"])
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def rights(folder: Path) -> dict[str, str]:
    """All that lies below `folder`, and it, whose rights are not the owner's alone. Links have none of their own."""
    everything = [path for path in (folder, *folder.rglob("*")) if not path.is_symlink()]
    assert len(everything) > 1
    return {
        str(path.relative_to(folder.parent)): stat.filemode(path.lstat().st_mode)
        for path in everything
        if stat.S_IMODE(path.lstat().st_mode) != (0o700 if path.is_dir() else 0o600)
    }


@pytest.mark.usefixtures("mask")
async def test_files_are_0600_and_folders_0700(
    home: Path, places: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    await live(places, elsewhere, "words", monkeypatch)
    with Store.open(places.database) as store:  # with its log, and as one who writes
        made = write_everywhere(store, "words")
        store.begin_answer(made, store.branch(made)[0].id, None)
        seen = {path.parent.name for path in home.rglob("*") if path.is_file()}
        assert {"data", "backups", "writers", "logs", "config", "blobs", "converted", "sessions"} <= seen
        for folder in (places.data, places.cache, places.logs, places.config):
            assert rights(folder) == {}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    (exported,) = elsewhere.glob("*.md")
    assert stat.S_IMODE(exported.stat().st_mode) == 0o600
