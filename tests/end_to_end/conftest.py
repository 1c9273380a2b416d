"""An installation with real models, and windows on it in real terminals."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from app.library.local import hub_cache
from tests.checkpoints import speaking_checkpoint
from tests.terminal import WINDOW, Terminal


@pytest.fixture
def installation(home: Path, conversions: Path, starter: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the starter converted, a second model in the Hub's cache, and a folder for exports."""
    (home / "cache").mkdir(parents=True)
    (home / "cache" / "converted").symlink_to(conversions, target_is_directory=True)
    snapshot = hub_cache() / "models--tests--babbler" / "snapshots" / "0123456789abcdef"
    speaking_checkpoint(snapshot)
    refs = snapshot.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text(snapshot.name)
    (home / "Downloads").mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def opened(installation: Path, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    terminals: list[Terminal] = []

    def window(command: Sequence[str] = WINDOW) -> Terminal:
        terminals.append(Terminal(command, tmp_path))
        return terminals[-1]

    yield window
    for terminal in terminals:
        terminal.close()
