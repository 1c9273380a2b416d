"""A Hub with one model on it, which says one thing."""

from pathlib import Path

from tests.app.library.hub import Hub
from tests.checkpoints import reciting_checkpoint


def poets(folder: Path, repo: str) -> Hub:
    """A Hub, not yet running, where `repo` has a real checkpoint that is made in `folder` and found by a search."""
    made = reciting_checkpoint(folder, b"Roses", b" are", b" red.")
    files = {file.name: file.read_bytes() for file in made.iterdir()}
    files["README.md"] = b"---\nlicense: cc0-1.0\n---\n"
    said: dict[str, object] = {
        "tags": ["mlx", "safetensors", "license:cc0-1.0"],
        "pipeline_tag": "text-generation",
        "config": {"model_type": "qwen2"},
        "safetensors": {"parameters": {"F32": 500_000}, "total": 500_000},
        "downloads": 12,
    }
    return Hub(repositories={repo: files}, said={repo: said})
