"""RWKV-4 and RWKV-7: layers that remember in a state of fixed size, as their config.json describes them.

The names are those of transformers' RWKV-4 (models/rwkv) and of flash-linear-attention's RWKV-7; what neither writes
has their defaults.
"""

from abc import abstractmethod
from dataclasses import dataclass

from model.config.base import UNBOUNDED, Config, common
from model.config.fields import Fields, show
from model.errors import ModelError

_USUAL: dict[str, tuple[object, ...]] = {
    "hidden_act": (None, "sqrelu", "relu2"),
    "norm_first": (None, True),
    "attn": (None,),
}
"""What flash-linear-attention would build another RWKV-7 by, and what leaves it as it was published."""
RWKV4_END = 0
"""The id that ends a text of an RWKV-4 whose config.json names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrentConfig(Config):
    """A model without attention, whose state has one size however much it has read."""

    norm_eps: float
    context_length: int
    """Tokens of the texts that it was trained on. Nothing ends there."""

    @property
    def context(self) -> int:
        return UNBOUNDED

    @property
    def trained(self) -> int:
        return self.context_length

    @property
    def recurrent(self) -> bool:
        return True

    @property
    @abstractmethod
    def state_numbers(self) -> int:
        """Numbers of a layer's state that are float32, whatever the weights are."""

    @property
    def shift_numbers(self) -> int:
        """Numbers of a layer's state in the type computed in: the token before, for each of its two parts."""
        return 2 * self.hidden_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Rwkv4Config(RecurrentConfig):
    """RWKV-4 (arXiv 2305.13048)."""

    attention_hidden_size: int

    @property
    def state_numbers(self) -> int:
        return 2 * self.attention_hidden_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Rwkv7Config(RecurrentConfig):
    """RWKV-7 (arXiv 2503.14456)."""

    head_dim: int
    num_heads: int
    decay_low_rank_dim: int
    a_low_rank_dim: int
    v_low_rank_dim: int
    gate_low_rank_dim: int
    norm_bias: bool = True

    @property
    def state_numbers(self) -> int:
        return self.num_heads * self.head_dim * self.head_dim


def parse_rwkv4(read: Fields, kind: str) -> Rwkv4Config:
    """The fields of an RWKV-4. ModelError as in `parse_config`."""
    shared = common(read, kind)
    shared["eos_token_ids"] = shared["eos_token_ids"] or (RWKV4_END,)
    hidden = shared["hidden_size"]
    return Rwkv4Config(
        **shared,
        intermediate_size=read.optional_count("intermediate_size", 1 << 22) or 4 * hidden,
        norm_eps=read.number("layer_norm_epsilon", 1e-5, above=0.0, most=1.0),
        context_length=_context_length(read, 1024),
        attention_hidden_size=read.optional_count("attention_hidden_size", 1 << 18) or hidden,
    )


def parse_rwkv7(read: Fields, kind: str) -> Rwkv7Config:
    """The fields of an RWKV-7. ModelError as in `parse_config`."""
    for key, known in _USUAL.items():
        if read.get(key) not in known:
            raise ModelError(
                f"{read.name}: config.json has {read.label(key)} = {show(read.get(key))}, an RWKV-7 of another kind "
                "than is known here; choose another model.",
                "unsupported",
            )
    shared = common(read, kind)
    hidden = shared["hidden_size"]
    head_dim = _head_dim(read, hidden)
    if hidden % head_dim:
        read.refuse("hidden_size", f"heads of {head_dim} cannot divide it")
    values = read.get("value_dim")
    if any(width not in (None, hidden) for width in (values if isinstance(values, list) else [values])):
        read.refuse("value_dim", f"values as wide as the hidden state, {hidden}, are what is known")
    ratio = read.number("hidden_ratio", 4.0, above=0.0, most=64.0)
    inner = max(32, -(-int(hidden * ratio) // 32) * 32)

    def low_rank(part: str, share: float) -> int:
        """By default a multiple of 32 near so many square roots of the width."""
        usual = max(32, round(share * hidden**0.5 / 32) * 32)
        return read.integer(f"{part}_low_rank_dim", usual, least=1, most=1 << 18)

    wider = head_dim / 64
    return Rwkv7Config(
        **shared,
        intermediate_size=read.optional_count("intermediate_size", 1 << 22) or inner,
        norm_eps=read.number("norm_eps", 1e-5, above=0.0, most=1.0),
        context_length=_context_length(read, 2048),
        head_dim=head_dim,
        num_heads=hidden // head_dim,
        decay_low_rank_dim=low_rank("decay", 2.5 * wider),
        a_low_rank_dim=low_rank("a", 2.5 * wider),
        v_low_rank_dim=low_rank("v", 1.7 * wider),
        gate_low_rank_dim=low_rank("gate", 5.0),
        norm_bias=read.flag("norm_bias", True),
    )


def _head_dim(read: Fields, hidden: int) -> int:
    """The size of a head, as fla takes it: `num_heads` counts only where that is written to be unknown. Published files
    name a number of heads that is none of theirs."""
    size, heads = read.optional_count("head_dim", 4096), read.optional_count("num_heads", 4096)
    if size is None and "head_dim" in read.fields and heads is not None:
        if hidden % heads:
            read.refuse("num_heads", f"it cannot divide hidden_size, {hidden}")
        return hidden // heads
    return size or 64


def _context_length(read: Fields, usual: int) -> int:
    """Under either name."""
    for key in ("context_length", "max_position_embeddings"):
        if (length := read.optional_count(key, 1 << 30)) is not None:
            return length
    return usual
