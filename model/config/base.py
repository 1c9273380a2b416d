"""What every language model's configuration says, whatever its architecture."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypedDict

from model.config.fields import Fields, dtype_of, token_ids
from model.config.quantization import Quantization, quantization_of

UNBOUNDED = (1 << 31) - 1
"""Tokens that a model may hold which has no limit: more than anybody will read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(ABC):
    """The shape of a language model. Counts are of elements, lengths of tokens; names are the checkpoint's own."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    tie_word_embeddings: bool | None
    """None where the file does not say: tied exactly if the weights have no head."""
    quantization: Quantization | None = None
    dtype: str | None = None
    eos_token_ids: tuple[int, ...] = ()
    bos_token_id: int | None = None

    @property
    @abstractmethod
    def context(self) -> int:
        """Tokens it can hold: `UNBOUNDED` where there is no limit."""

    @property
    @abstractmethod
    def trained(self) -> int:
        """Tokens of the longest texts that it was trained on."""

    @property
    def recurrent(self) -> bool:
        """Whether it has no attention: what it holds of a conversation does not grow with it."""
        return False


class Common(TypedDict):
    """The fields of `Config` that every config.json spells alike."""

    model_type: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    tie_word_embeddings: bool | None
    quantization: Quantization | None
    dtype: str | None
    eos_token_ids: tuple[int, ...]
    bos_token_id: int | None


def common(read: Fields, kind: str) -> Common:
    """These fields of a config.json whose `model_type` is `kind`."""
    return Common(
        model_type=kind,
        vocab_size=read.count("vocab_size", 1 << 24),
        hidden_size=read.count("hidden_size", 1 << 18),
        num_hidden_layers=read.count("num_hidden_layers", 4096),
        tie_word_embeddings=read.optional_flag("tie_word_embeddings"),
        quantization=quantization_of(read),
        dtype=dtype_of(read),
        eos_token_ids=token_ids(read, "eos_token_id"),
        bos_token_id=next(iter(token_ids(read, "bos_token_id")), None),
    )
