"""A Hub on loopback with one tiny model, which is all that the Hub's client gets to see."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.library.hub import Hub, running
from tests.app.library.tiny import FILES, REPO, UNWANTED

_PERSONAL = {
    *("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
}
"""What the person who runs the tests may have set, in whatever case."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that runs, and is where this process's children find it; folders that are nobody's."""
    for name in os.environ:
        if name.upper() in {one.upper() for one in _PERSONAL}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("QUIETLY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running(Hub(repositories={REPO: {**FILES, **UNWANTED}})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub
