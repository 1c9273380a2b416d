"""What a shape costs: parameters, bytes of weights, bytes of KV cache, pairs in attention. From a `Config` alone.

Figures are exact for the shapes `model.config` describes; what an allocator rounds up is not in them. It knows no MLX.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, NamedTuple

from model.config import Config, LayerQuantization, Quantization

FULL = 2
"""Bytes of an unquantised element as published checkpoints store it (float16, bfloat16)."""

Part = Literal["embeddings", "attention", "feed-forward", "norms", "head"]
PARTS: tuple[Part, ...] = ("embeddings", "attention", "feed-forward", "norms", "head")

Sharing = Literal["MHA", "GQA", "MQA"]
"""How many query heads read one KV head: one (multi-head), some (grouped-query), all (multi-query attention)."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How many parameters each part has. Tied embeddings are counted once, with `head` at 0."""

    embeddings: int
    attention: int
    feed_forward: int
    norms: int
    head: int

    @property
    def total(self) -> int:
        return self.embeddings + self.attention + self.feed_forward + self.norms + self.head

    def of(self, part: Part) -> int:
        """The count of one part."""
        counts = (self.embeddings, self.attention, self.feed_forward, self.norms, self.head)
        return counts[PARTS.index(part)]


class Row(NamedTuple):
    """One part of a model: its parameters, their share of all (0 to 1), and the bytes they take."""

    part: Part
    parameters: int
    share: float
    nbytes: int


class Run(NamedTuple):
    """Neighbouring layers, `first` to `last`, that look equally far: `window` tokens, or at all of them (None)."""

    first: int
    last: int
    window: int | None


# --- parameters and their bytes -------------------------------------------------------------------------------------


def parameters(config: Config, tied: bool | None = None) -> Parameters:
    """The parameter count of each part. `tied` decides where the config does not say; absent both, untied."""
    layers, hidden = config.num_hidden_layers, config.hidden_size
    return Parameters(
        embeddings=config.vocab_size * hidden,
        attention=layers * sum(matrix.parameters for matrix in _attention(config)),
        feed_forward=layers * sum(matrix.parameters for matrix in _feed_forward(config)),
        norms=layers * (2 * hidden + (2 * config.head_dim if config.qk_norm else 0)) + hidden,
        head=0 if is_tied(config, tied) else config.vocab_size * hidden,
    )


def is_tied(config: Config, tied: bool | None = None) -> bool:
    """Whether the head is the embedding matrix, as far as a config can tell."""
    return bool(config.tie_word_embeddings if config.tie_word_embeddings is not None else tied)


def composition(
    config: Config,
    quantization: Quantization | LayerQuantization | None = None,
    tied: bool | None = None,
    element: int = FULL,
) -> tuple[Row, ...]:
    """What each part of the model takes, in the order of `PARTS`, with matrices stored as `quantization` says.

    `element`: bytes of a number that is not quantised (2: float16, 4: float32). Vectors are not, nor are matrices whose
    rows are no multiple of the group, as in mlx-lm.
    """
    counts = parameters(config, tied)
    sizes = dict.fromkeys(PARTS, 0)
    sizes["norms"] = counts.norms * element
    if isinstance(quantization, Quantization):
        for part, path, matrix in matrices(config, tied):
            sizes[part] += matrix.nbytes(quantization.of(path), element)
    else:
        for part, times, matrix in _kinds_of_matrices(config, tied):
            sizes[part] += times * matrix.nbytes(quantization, element)
    total = counts.total
    return tuple(Row(part, counts.of(part), counts.of(part) / total, sizes[part]) for part in PARTS)


def weight_bytes(
    config: Config,
    quantization: Quantization | LayerQuantization | None = None,
    tied: bool | None = None,
    element: int = FULL,
) -> int:
    """Bytes of the weights with every matrix stored as `quantization` says (None: `element` bytes a number)."""
    return sum(row.nbytes for row in composition(config, quantization, tied, element))


def stored_bytes(config: Config, tied: bool | None = None) -> int:
    """Bytes of the weights as this config's checkpoint stores them: by its own quantisation, layer by layer."""
    return weight_bytes(config, config.quantization, tied, stored_element(config))


def stored_element(config: Config) -> int:
    """Bytes of a number that is not quantised, by the type that the config names; 2 where it names none."""
    return 4 if config.dtype == "float32" else FULL


# --- the KV cache ---------------------------------------------------------------------------------------------------


def layer_kv_bytes(config: Config, layer: int, tokens: int, element: float = FULL) -> int:
    """Bytes of one layer's keys and values after `tokens`; a sliding layer holds its window at most."""
    window = config.layer_windows[layer]
    held = tokens if window is None else min(tokens, window)
    return int(2 * config.num_key_value_heads * config.head_dim * held * element)


def kv_bytes(config: Config, tokens: int, element: float = FULL) -> int:
    """Bytes of the whole KV cache after `tokens`, with `element` bytes a number (2: float16, 4: float32)."""
    return sum(layer_kv_bytes(config, layer, tokens, element) for layer in range(config.num_hidden_layers))


def kv_bytes_per_token(config: Config, element: float = FULL) -> int:
    """Bytes each further token adds before any window is full."""
    return kv_bytes(config, 1, element)


def sharing(config: Config) -> Sharing:
    """Which attention this is. With a single head, all three are the same, and it is called multi-head."""
    if config.num_key_value_heads == config.num_attention_heads:
        return "MHA"
    return "MQA" if config.num_key_value_heads == 1 else "GQA"


def kv_bytes_as(config: Config, kind: Literal["MHA", "MQA"], tokens: int, element: float = FULL) -> int:
    """Bytes that the KV cache of `tokens` would take if the same heads shared keys and values as `kind` does.

    MHA: a KV head for every query head (arXiv 1706.03762); MQA: one for all of them (arXiv 1911.02150).
    """
    heads = config.num_attention_heads if kind == "MHA" else 1
    return kv_bytes(replace(config, num_key_value_heads=heads), tokens, element)


# --- attention ------------------------------------------------------------------------------------------------------


def layer_runs(config: Config) -> list[Run]:
    """The layers in runs of the same reach, lowest first."""
    runs: list[Run] = []
    for window, run in groupby(range(config.num_hidden_layers), key=lambda layer: config.layer_windows[layer]):
        layers = list(run)
        runs.append(Run(layers[0], layers[-1], window))
    return runs


def attention_map(config: Config) -> str:
    """A character a layer, lowest first: █ looks at everything, ▄ at a window."""
    return "".join("█" if window is None else "▄" for window in config.layer_windows)


def layer_pairs(tokens: int, window: int | None) -> int:
    """Pairs of query and key that a causal layer looks at over `tokens`, each head counted once.

    n(n + 1) / 2 without a window, and nW - W(W - 1) / 2 with one of W <= n: linear in n.
    """
    reach = tokens if window is None else min(window, tokens)
    return tokens * reach - reach * (reach - 1) // 2


def attention_pairs(config: Config, tokens: int) -> int:
    """Pairs of query and key over all layers of a prompt of `tokens`."""
    return sum(layer_pairs(tokens, window) for window in config.layer_windows)


# --- the matrices of a decoder --------------------------------------------------------------------------------------


class Matrix(NamedTuple):
    """A projection: `rows` outputs, `columns` inputs, and whether a bias of `rows` goes with it."""

    name: str
    rows: int
    columns: int
    biased: bool = False

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


def _attention(config: Config) -> list[Matrix]:
    hidden = config.hidden_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    return [
        Matrix("self_attn.q_proj", queries, hidden, config.qkv_bias),
        Matrix("self_attn.k_proj", keys, hidden, config.qkv_bias),
        Matrix("self_attn.v_proj", keys, hidden, config.qkv_bias),
        Matrix("self_attn.o_proj", hidden, queries, config.attention_output_bias),
    ]


def _feed_forward(config: Config) -> list[Matrix]:
    hidden, inner, biased = config.hidden_size, config.intermediate_size, config.mlp_bias
    return [
        Matrix("mlp.gate_proj", inner, hidden, biased),
        Matrix("mlp.up_proj", inner, hidden, biased),
        Matrix("mlp.down_proj", hidden, inner, biased),
    ]


def _kinds_of_matrices(config: Config, tied: bool | None) -> Iterator[tuple[Part, int, Matrix]]:
    """Every matrix shape there is, by part, and how often it occurs."""
    yield "embeddings", 1, Matrix("model.embed_tokens", config.vocab_size, config.hidden_size)
    for matrix in _attention(config):
        yield "attention", config.num_hidden_layers, matrix
    for matrix in _feed_forward(config):
        yield "feed-forward", config.num_hidden_layers, matrix
    if not is_tied(config, tied):
        yield "head", 1, Matrix("lm_head", config.vocab_size, config.hidden_size)


def matrices(config: Config, tied: bool | None = None) -> Iterator[tuple[Part, str, Matrix]]:
    """Every matrix by part and module path, as a checkpoint names it. `tied` as in `parameters`."""
    for part, _, matrix in _kinds_of_matrices(config, tied):
        if part in ("embeddings", "head"):
            yield part, matrix.name, matrix
        else:
            for layer in range(config.num_hidden_layers):
                yield part, f"model.layers.{layer}.{matrix.name}", matrix
