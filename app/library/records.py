"""What is known of a model on this machine: one record, whatever the place it lies in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.library.running import Runs
from model.config import UNBOUNDED, Config

Source = Literal["starter", "hub", "folder", "quietly", "lm-studio", "ollama", "demonstration"]


@dataclass(frozen=True)
class InstalledModel:
    """A model on disk. Names and paths are as the disk has them: make them visible before they are shown."""

    name: str
    """Unique among those listed together."""
    path: Path
    """A checkpoint folder, a GGUF file or a .pth file; Ollama's have no suffix."""
    source: Source
    architecture: str | None = None
    parameters: int | None = None
    bits: float | None = None
    """Bits a weight takes on disk, scales included: 4.5 for 4 bit in groups of 64. None where not known."""
    size: int = 0
    """Bytes on disk."""
    weights: int = 0
    """Bytes of the weights as they are loaded: of the weight files, of a GGUF file those of its conversion."""
    stored: str = ""
    """How the weights are stored, in the field's words: "4 bit", "Q4_K_M", "bf16"; empty where not known."""
    context: int | None = None
    """Tokens it was trained for."""
    licence: str | None = None
    repo: str | None = None
    """organisation/name on the Hub, where it came from there."""
    revision: str | None = None
    """The commit that was fetched, where that is known."""
    runs: Runs | None = None
    """Whose implementation runs it; None where neither does, or where that is not known."""
    config: Config | None = None
    """Its shape, where it is one of ours."""
    unfinished: tuple[int, int] | None = None
    """Of a download of Quietly's own that has not ended: bytes that are here, bytes in all (0 where not known)."""
    problem: str | None = None
    """One sentence where it cannot be used."""
    within: Path | None = None
    """The folder that was looked through when it was found; nothing at or above it is the model's."""

    @property
    def holds(self) -> int | None:
        """Tokens that it can hold, `UNBOUNDED` where there is no limit."""
        return UNBOUNDED if self.config is not None and self.config.context >= UNBOUNDED else self.context
