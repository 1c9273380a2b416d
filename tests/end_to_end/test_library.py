"""The library in a real terminal, with the real client on a Hub of our own: a model comes, answers, and goes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.library.hub import Hub, running
from tests.app.library.poet import poets
from tests.end_to_end.keys import CTRL_Q, ENTER, ESCAPE

REPO = "someone/Poet-4bit"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that has one model, which says one thing."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running(poets(tmp_path / "poet", REPO)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def to_the_library(window, words):
    """Open the library with `words` in its line."""
    window.type(f"/models {words}{ENTER}")
    window.until("models may take", f"Search the Hub for “{words}”")


@pytest.mark.soak
def test_a_model_is_found_fetched_used_and_deleted(opened, places, installation, hub):
    window = opened()
    window.until("Ask anything", "● starter", "0 connections")
    to_the_library(window, "poet")
    window.type(ENTER)
    window.until("The Hub has one model", "Poet-4bit", "cc0-1.0")
    window.type(ENTER)
    window.until("Download Poet-4bit?", "licence cc0-1.0", "fits")
    window.type("y")
    window.until("Poet-4bit is here")
    window.type(ESCAPE + ESCAPE)
    window.until("Ask anything")
    window.type("/model poet" + ENTER)
    window.until("● Poet-4bit", within=30)
    window.type("Hello" + ENTER)
    window.until("Roses are red.")

    window.type("/models poet" + ENTER)
    window.until("On this machine")
    window.type("\t")
    window.type("d")
    window.until("Delete Poet-4bit?", "become free")
    window.type("y")
    window.until("Poet-4bit is deleted")
    assert not any(file.is_file() for file in places.models.rglob("*"))
    window.type(ESCAPE + ESCAPE)
    window.until("starter", "Roses are red.")
    window.type(CTRL_Q)
    assert window.ends() == 0


@pytest.mark.soak
def test_a_download_outlives_the_window(opened, places, installation, hub):
    hub.stall_after = 100_000
    window = opened()
    window.until("Ask anything", "● starter")
    to_the_library(window, "poet")
    window.type(ENTER)
    window.until("The Hub has one model")
    window.type(ENTER)
    window.until("Download Poet-4bit?")
    window.type("y")
    assert hub.stalled.wait(20)
    window.until("On their way")
    window.type(CTRL_Q)
    assert window.ends() == 0

    hub.stall_after = None
    hub.go_on.set()
    again = opened()
    again.until("Poet-4bit", "paused")
    again.type("/models" + ENTER)
    again.until("On their way")
    again.type("\x1b[H" + ENTER)
    again.until("Poet-4bit is here")
    assert any(start > 0 for _, start in hub.parts), "what had come was not fetched again"
    again.type(CTRL_Q)
    assert again.ends() == 0


@pytest.mark.soak
def test_without_a_way_to_the_hub_everything_here_stays_usable(opened, installation, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    window = opened()
    window.until("Ask anything", "● starter")
    to_the_library(window, "poet")
    window.type(ENTER)
    window.until("cannot be reached", within=4)
    window.type(ESCAPE + ESCAPE)
    window.until("Ask anything", "no answer from the Hub")
    window.type("What is the capital of France?" + ENTER)
    window.until("The capital of France is Paris.")
    window.type(CTRL_Q)
    assert window.ends() == 0
