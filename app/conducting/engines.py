"""What the conductor asks of an engine pool. It knows no engine: `app.engine.pool.Pool` is one; tests have theirs."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from app.engine.protocol import (
        CandidatesFound,
        ChatMessage,
        Counted,
        EmbeddingsFound,
        Event,
        Loaded,
        Progress,
        Reading,
        SamplingOptions,
    )


class TurnLike(Protocol):
    """What an engine makes of one question."""

    @property
    def facts(self) -> "Loaded | None": ...
    def stop(self) -> None: ...
    def __aiter__(self) -> "AsyncIterator[Event]": ...


class LooksUp(Protocol):
    """The engines, for who looks at the rows of an embedding matrix."""

    async def embeddings(
        self,
        checkpoint: Path,
        token_ids: Sequence[int],
        *,
        words: Sequence[Sequence[int]],
        near: int | None,
        progress: "Callable[[Progress], None]",
    ) -> "EmbeddingsFound": ...


class PoolLike(LooksUp, Protocol):
    """The engines, as turns need them, and those who look at a model by itself."""

    on_change: Callable[[Path], object]

    def ask(
        self,
        checkpoint: Path,
        messages: "Sequence[ChatMessage]",
        *,
        session: str,
        sampling: "SamplingOptions | None" = None,
        reading: "Reading | None" = None,
        max_tokens: int | None = None,
    ) -> TurnLike: ...
    def prepare(self) -> None: ...
    async def load(self, checkpoint: Path, progress: "Callable[[Progress], None]") -> "Loaded": ...
    def loaded(self, checkpoint: Path) -> "Loaded | None": ...
    async def count(
        self,
        checkpoint: Path,
        messages: "Sequence[ChatMessage]",
        *,
        session: str | None = None,
        reading: "Reading | None" = None,
    ) -> "Counted | None": ...
    async def pieces(self, checkpoint: Path, token_ids: Sequence[int]) -> tuple[str, ...]: ...
    async def candidates(
        self,
        checkpoint: Path,
        messages: "Sequence[ChatMessage]",
        position: int,
        *,
        session: str,
        sampling: "SamplingOptions | None" = None,
        reading: "Reading | None" = None,
        progress: "Callable[[Progress], None]",
    ) -> "CandidatesFound": ...
    def forget(self, session: str) -> None: ...
    def insist(self, checkpoint: Path) -> None: ...
    async def unload(self, checkpoint: Path) -> None: ...
    async def close(self) -> None: ...
