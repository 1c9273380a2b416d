"""What each architecture is made of: its matrices and vectors, part by part, from a `Config` alone.

Here, and nowhere else, counting and pricing ask which architecture it is. The paths are those of Hugging Face's
checkpoints. It knows no MLX and no files.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from model.config import Config, LayerQuantization, Rwkv4Config, Rwkv7Config, TransformerConfig

Part = Literal["embeddings", "attention", "recurrence", "feed-forward", "norms", "head"]
PARTS: tuple[Part, ...] = ("embeddings", "attention", "recurrence", "feed-forward", "norms", "head")
"""In the order in which they are told. A model has attention or recurrence: RWKV's time mixing is the latter, its
channel mixing the feed-forward."""


class Matrix(NamedTuple):
    """A projection: `rows` outputs, `columns` inputs, and whether a bias of `rows` goes with it."""

    name: str
    rows: int
    columns: int
    biased: bool = False
    kept: bool = False
    """Whether quantising leaves it as it is: a low-rank part, where an error would reach every token that follows."""

    @property
    def parameters(self) -> int:
        return self.rows * self.columns + self.biased * self.rows

    def nbytes(self, packing: LayerQuantization | None, element: int) -> int:
        """Bytes where it is stored as `packing` says, numbers that are not packed in `element` bytes."""
        weights = self.rows * self.columns
        bias = self.rows * element if self.biased else 0
        if packing is None or self.columns % packing.group_size:
            return weights * element + bias
        scales = weights // packing.group_size * (2 * element if packing.mode == "affine" else 1)
        return weights * packing.bits // 8 + scales + bias


class Piece(NamedTuple):
    """A matrix that is there once, or in each of some layers."""

    part: Part
    matrix: Matrix
    layers: Sequence[int] | None = None

    @property
    def times(self) -> int:
        return 1 if self.layers is None else len(self.layers)


@dataclass(frozen=True)
class Anatomy:
    """A whole model."""

    pieces: tuple[Piece, ...]
    vectors: Mapping[Part, int]
    """Numbers that stand in no matrix, of all layers together: norms, mixes, decays."""
    layer: str = "model.layers"
    """Where the layers are found, by their number."""

    def matrices(self) -> Iterator[tuple[Part, str, Matrix]]:
        """Every matrix by part and module path, as a checkpoint names it."""
        for part, matrix, layers in self.pieces:
            if layers is None:
                yield part, matrix.name, matrix
            else:
                yield from ((part, f"{self.layer}.{layer}.{matrix.name}", matrix) for layer in layers)


def anatomy(config: Config, tied: bool) -> Anatomy:
    """What a model of this shape is made of; with a `tied` head, the embeddings are that too."""
    match config:
        case TransformerConfig():
            return _transformer(config, tied)
        case Rwkv4Config():
            return _rwkv4(config, tied)
        case Rwkv7Config():
            return _rwkv7(config, tied)
    raise TypeError(f"nobody has said what a {type(config).__name__} is made of")


def _outer(config: Config, tied: bool, embeddings: str, head: str) -> Iterator[Piece]:
    """What stands before and behind the layers."""
    yield Piece("embeddings", Matrix(embeddings, config.vocab_size, config.hidden_size))
    if not tied:
        yield Piece("head", Matrix(head, config.vocab_size, config.hidden_size))


# --- attention ------------------------------------------------------------------------------------------------------


def _transformer(config: TransformerConfig, tied: bool) -> Anatomy:
    """Qwen2 and its neighbours, and what PanGu-π adds to them."""
    hidden, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    layers = range(config.num_hidden_layers)
    attention = [
        Matrix("self_attn.q_proj", queries, hidden, config.qkv_bias),
        Matrix("self_attn.k_proj", keys, hidden, config.qkv_bias),
        Matrix("self_attn.v_proj", keys, hidden, config.qkv_bias),
        Matrix("self_attn.o_proj", hidden, queries, config.attention_output_bias),
    ]
    feed_forward = [
        Matrix("mlp.gate_proj", inner, hidden, config.mlp_bias),
        Matrix("mlp.up_proj", inner, hidden, config.mlp_bias),
        Matrix("mlp.down_proj", hidden, inner, config.mlp_bias),
    ]
    norms = 2 * hidden + (2 * config.head_dim if config.qk_norm else 0)
    series = 0
    if (pangu := config.pangu) is not None:
        narrow, gate = pangu.shortcut_size(hidden), pangu.gate_size(inner)
        for number in range(pangu.num_shortcuts):
            attention.append(Matrix(f"self_attn.shortcuts.{number}.down_proj", narrow, hidden))
            attention.append(Matrix(f"self_attn.shortcuts.{number}.up_proj", hidden, narrow))
        feed_forward[0] = feed_forward[0]._replace(rows=gate)
        series = 2 * pangu.num_series_activations * pangu.series_size(inner)
    return Anatomy(
        pieces=(
            *_outer(config, tied, "model.embed_tokens", "lm_head"),
            *(Piece("attention", matrix, layers) for matrix in attention),
            *(Piece("feed-forward", matrix, layers) for matrix in feed_forward),
        ),
        vectors=Counter({"feed-forward": len(layers) * series, "norms": len(layers) * norms + hidden}),
    )


# --- recurrence -----------------------------------------------------------------------------------------------------


def _rwkv4(config: Rwkv4Config, tied: bool) -> Anatomy:
    """RWKV-4 (arXiv 2305.13048). The first layer has a norm more."""
    hidden, mixed, inner = config.hidden_size, config.attention_hidden_size, config.intermediate_size
    layers = range(config.num_hidden_layers)
    time_mixing = [
        Matrix("attention.key", mixed, hidden),
        Matrix("attention.value", mixed, hidden),
        Matrix("attention.receptance", mixed, hidden),
        Matrix("attention.output", hidden, mixed),
    ]
    channel_mixing = [
        Matrix("feed_forward.key", inner, hidden),
        Matrix("feed_forward.receptance", hidden, hidden),
        Matrix("feed_forward.value", hidden, inner),
    ]
    return Anatomy(
        pieces=(
            *_outer(config, tied, "rwkv.embeddings", "head"),
            *(Piece("recurrence", matrix, layers) for matrix in time_mixing),
            *(Piece("feed-forward", matrix, layers) for matrix in channel_mixing),
        ),
        vectors=Counter(
            {
                "recurrence": len(layers) * (2 * mixed + 3 * hidden),  # decay and first; how much of the token before
                "feed-forward": len(layers) * 2 * hidden,
                "norms": (2 * len(layers) + 2) * 2 * hidden,
            }
        ),
        layer="rwkv.blocks",
    )


def _rwkv7(config: Rwkv7Config, tied: bool) -> Anatomy:
    """RWKV-7 (arXiv 2503.14456). The first layer has a norm more, and no values to look back at."""
    hidden, inner = config.hidden_size, config.intermediate_size
    layers = range(config.num_hidden_layers)

    def low_rank(name: str, rank: int, biased: bool = True) -> list[Matrix]:
        return [
            Matrix(f"attn.{name}_lora.lora.0", rank, hidden, kept=True),
            Matrix(f"attn.{name}_lora.lora.2", hidden, rank, biased, kept=True),
        ]

    time_mixing = [
        *(Matrix(f"attn.{name}_proj", hidden, hidden) for name in "rkvo"),
        *low_rank("w", config.decay_low_rank_dim),
        *low_rank("a", config.a_low_rank_dim),
        *low_rank("g", config.gate_low_rank_dim, biased=False),
    ]
    channel_mixing = [Matrix("ffn.key", inner, hidden), Matrix("ffn.value", hidden, inner)]
    norm = (2 if config.norm_bias else 1) * hidden
    return Anatomy(
        pieces=(
            *_outer(config, tied, "model.embeddings", "lm_head"),
            *(Piece("recurrence", matrix, layers) for matrix in time_mixing),
            *(Piece("recurrence", matrix, layers[1:]) for matrix in low_rank("v", config.v_low_rank_dim)),
            *(Piece("feed-forward", matrix, layers) for matrix in channel_mixing),
        ),
        vectors=Counter(
            {
                "recurrence": len(layers) * 9 * hidden,  # six mixes with the token before, k_k, k_a and r_k
                "feed-forward": len(layers) * hidden,
                "norms": (2 * len(layers) + 2) * norm + len(layers) * 2 * hidden,  # the latter the heads' g_norm
            }
        ),
    )
