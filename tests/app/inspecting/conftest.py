"""What tests of looking into models share: a configuration as it is published, and how lines read as one text."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.cli.main import app
from app.inspecting.told import Section, laid
from tests.checkpoints import speaking_checkpoint

Run = Callable[..., Result]

PUBLISHED: dict[str, Any] = {
    "auto_map": {"AutoModel": "modeling_qwen.Qwen2Model"},
    "model_type": "qwen2",
    "vocab_size": 151646,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
}


RWKV7: dict[str, Any] = {
    "model_type": "rwkv7",
    "vocab_size": 65536,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "decay_low_rank_dim": 128,
    "a_low_rank_dim": 128,
    "v_low_rank_dim": 96,
    "gate_low_rank_dim": 480,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
"""The published shape of seven billion parameters."""


@pytest.fixture
def quietly() -> Run:
    """Run a command here; an error for the person is raised."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)

    return run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config.json with nothing beside it but the code that it names, which must not be run."""
    folder = tmp_path / "qwen2-7b"
    folder.mkdir()
    (folder / "modeling_qwen.py").write_text("raise SystemExit('it was run')")
    (folder / "config.json").write_text(json.dumps(PUBLISHED))
    return folder / "config.json"


@pytest.fixture(scope="session")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint with a token a byte and a chat template."""
    return speaking_checkpoint(tmp_path_factory.mktemp("speaking") / "speaking")


def text_of(sections: Sequence[Section], width: int = 200) -> str:
    """Everything in the sections, with single spaces."""
    lines = [line.text for section in sections for line in laid(section.parts, width)]
    return " ".join(" ".join([*(section.title for section in sections), *lines]).split())
