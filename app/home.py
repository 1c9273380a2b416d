"""Paths as people write them, with ~ for a home."""

from pathlib import Path


def expanded(typed: str | Path) -> Path:
    """`typed` with the home that its ~ stands for; as it is where that is nobody's."""
    path = Path(typed)
    try:
        return path.expanduser()
    except RuntimeError:
        return path
