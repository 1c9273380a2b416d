"""What a shape costs: parameters, bytes of weights, of KV cache or state, pairs in attention. From a `Config` alone.

Figures are exact for the shapes `model.config` describes; what an allocator rounds up is not in them. It knows no MLX,
and what an architecture is made of only from `model.anatomy`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import Literal, NamedTuple

from model.anatomy import PARTS, Matrix, Part, anatomy
from model.config import Config, LayerQuantization, Quantization, RecurrentConfig, TransformerConfig

FULL = 2
"""Bytes of an unquantised element as published checkpoints store it (float16, bfloat16)."""
FLOAT32 = 4
"""Bytes of a number of a recurrent state, whatever the weights are."""

Sharing = Literal["MHA", "GQA", "MQA"]
"""How many query heads read one KV head: one (multi-head), some (grouped-query), all (multi-query attention)."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How many parameters each part has. Tied embeddings are counted once, with `head` at 0."""

    embeddings: int
    attention: int
    recurrence: int
    feed_forward: int
    norms: int
    head: int

    @property
    def total(self) -> int:
        return self.embeddings + self.attention + self.recurrence + self.feed_forward + self.norms + self.head

    def of(self, part: Part) -> int:
        """The count of one part."""
        counts = (self.embeddings, self.attention, self.recurrence, self.feed_forward, self.norms, self.head)
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


@lru_cache(maxsize=256)
def parameters(config: Config, tied: bool | None = None) -> Parameters:
    """The parameter count of each part. `tied` decides where the config does not say; absent both, untied."""
    whole = anatomy(config, is_tied(config, tied))
    counts = Counter(whole.vectors)
    for piece in whole.pieces:
        counts[piece.part] += piece.times * piece.matrix.parameters
    return Parameters(*(counts[part] for part in PARTS))


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
    rows are no multiple of the group, as in mlx-lm, nor those that quantising keeps.
    """
    counts = parameters(config, tied)
    whole = anatomy(config, is_tied(config, tied))
    sizes = Counter({part: count * element for part, count in whole.vectors.items()})
    if isinstance(quantization, Quantization):
        for part, path, matrix in whole.matrices():
            sizes[part] += matrix.nbytes(packing_of(quantization, path, matrix), element)
    else:
        for piece in whole.pieces:
            packing = None if piece.matrix.kept else quantization
            sizes[piece.part] += piece.times * piece.matrix.nbytes(packing, element)
    has = {piece.part for piece in whole.pieces} | {"norms", "head"}
    total = counts.total
    return tuple(Row(part, counts.of(part), counts.of(part) / total, sizes[part]) for part in PARTS if part in has)


def packing_of(quantization: Quantization, path: str, matrix: Matrix) -> LayerQuantization | None:
    """How the matrix at `path` is stored: by the rule, but for what quantising keeps, and what is said of it alone."""
    if matrix.kept:
        return quantization.overrides.get(path)
    return quantization.of(path)


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


def matrices(config: Config, tied: bool | None = None) -> Iterator[tuple[Part, str, Matrix]]:
    """Every matrix by part and module path, as a checkpoint names it. `tied` as in `parameters`."""
    return anatomy(config, is_tied(config, tied)).matrices()


# --- what a conversation holds --------------------------------------------------------------------------------------


def state_bytes(config: RecurrentConfig, element: float = FULL) -> int:
    """Bytes of a recurrent model's state, however long the conversation: `element` bytes for a number of those that are
    in the type computed in."""
    return int(config.num_hidden_layers * (config.state_numbers * FLOAT32 + config.shift_numbers * element))


def layer_kv_bytes(config: TransformerConfig, layer: int, tokens: int, element: float = FULL) -> int:
    """Bytes of one layer's keys and values after `tokens`; a sliding layer holds its window at most."""
    window = config.layer_windows[layer]
    held = tokens if window is None else min(tokens, window)
    return int(2 * config.num_key_value_heads * config.head_dim * held * element)


def kv_bytes(config: TransformerConfig, tokens: int, element: float = FULL) -> int:
    """Bytes of the whole KV cache after `tokens`, with `element` bytes a number (2: float16, 4: float32)."""
    return sum(layer_kv_bytes(config, layer, tokens, element) for layer in range(config.num_hidden_layers))


def kv_bytes_per_token(config: TransformerConfig, element: float = FULL) -> int:
    """Bytes each further token adds before any window is full."""
    return kv_bytes(config, 1, element)


def sharing(config: TransformerConfig) -> Sharing:
    """Which attention this is. With a single head, all three are the same, and it is called multi-head."""
    if config.num_key_value_heads == config.num_attention_heads:
        return "MHA"
    return "MQA" if config.num_key_value_heads == 1 else "GQA"


def kv_bytes_as(config: TransformerConfig, kind: Literal["MHA", "MQA"], tokens: int, element: float = FULL) -> int:
    """Bytes that the KV cache of `tokens` would take if the same heads shared keys and values as `kind` does.

    MHA: a KV head for every query head (arXiv 1706.03762); MQA: one for all of them (arXiv 1911.02150).
    """
    heads = config.num_attention_heads if kind == "MHA" else 1
    return kv_bytes(replace(config, num_key_value_heads=heads), tokens, element)


# --- attention ------------------------------------------------------------------------------------------------------


def layer_runs(config: TransformerConfig) -> list[Run]:
    """The layers in runs of the same reach, lowest first."""
    runs: list[Run] = []
    for window, run in groupby(range(config.num_hidden_layers), key=lambda layer: config.layer_windows[layer]):
        layers = list(run)
        runs.append(Run(layers[0], layers[-1], window))
    return runs


def attention_map(config: TransformerConfig) -> str:
    """A character a layer, lowest first: █ looks at everything, ▄ at a window."""
    return "".join("█" if window is None else "▄" for window in config.layer_windows)


def layer_pairs(tokens: int, window: int | None) -> int:
    """Pairs of query and key that a causal layer looks at over `tokens`, each head counted once.

    n(n + 1) / 2 without a window, and nW - W(W - 1) / 2 with one of W <= n: linear in n.
    """
    reach = tokens if window is None else min(window, tokens)
    return tokens * reach - reach * (reach - 1) // 2


def attention_pairs(config: TransformerConfig, tokens: int) -> int:
    """Pairs of query and key over all layers of a prompt of `tokens`."""
    return sum(layer_pairs(tokens, window) for window in config.layer_windows)
