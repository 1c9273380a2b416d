"""What all tests share: an installation of their own, and the starter where a real model is wanted."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

from app import connections
from app.library.starter import starter_file
from app.settings import Paths, paths

# On CUDA MLX multiplies float32 in TF32 unless told otherwise, which is too coarse to compare with references by.
os.environ.setdefault("MLX_ENABLE_TF32", "0")

settings.register_profile("patient", settings(), deadline=None)  # how long an example takes says what else runs here
settings.load_profile("patient")


def pytest_collection_finish() -> None:
    """What was collected stays until the end. Looking through it for garbage took a third of the time of all tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the developer's conversations, models or settings, nor demonstrations that it does not name."""
    folder = tmp_path / "home"
    monkeypatch.setenv("QUIETLY_HOME", str(folder))
    monkeypatch.setenv("HF_HOME", str(folder / "huggingface"))
    monkeypatch.setenv("HOME", str(folder))  # where LM Studio and Ollama keep theirs
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    monkeypatch.setenv("QUIETLY_DEMONSTRATIONS", "")
    return folder


@pytest.fixture(autouse=True)
def ledger(monkeypatch: pytest.MonkeyPatch) -> connections.Ledger:
    """No test sees another's connections."""
    ledger = connections.Ledger()
    monkeypatch.setattr(connections, "ledger", ledger)
    return ledger


@pytest.fixture
def places(home: Path) -> Paths:
    """The folders of this test's installation."""
    return paths()


@pytest.fixture(scope="session")
def starter() -> Path:
    """The real starter model."""
    path = starter_file()
    assert path is not None, "the starter is missing: make test brings it"
    return path


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run alone, the same one for all processes that take part in it."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def conversions(shared: Path) -> Path:
    """Where GGUF files are converted to, once for all tests."""
    folder = shared / "conversions"
    folder.mkdir(exist_ok=True)
    return folder
