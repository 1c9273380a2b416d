"""What a shape costs: parameters, bytes of weights, bytes of KV cache. From a `Config` alone, without MLX.

Figures are exact for the shapes `model.config` describes; what an allocator rounds up is not in them.
"""

from dataclasses import dataclass

from model.config import Config, LayerQuantization

FULL = 2
"""Bytes of an unquantised element as published checkpoints store it (float16, bfloat16)."""


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


def parameters(config: Config, tied: bool | None = None) -> Parameters:
    """The parameter count of each part. `tied` decides where the config does not say; absent both, untied."""
    layers, hidden = config.num_hidden_layers, config.hidden_size
    return Parameters(
        embeddings=config.vocab_size * hidden,
        attention=layers * sum(rows * columns + bias * rows for rows, columns, bias in _attention(config)),
        feed_forward=layers * sum(rows * columns + bias * rows for rows, columns, bias in _feed_forward(config)),
        norms=layers * (2 * hidden + (2 * config.head_dim if config.qk_norm else 0)) + hidden,
        head=0 if is_tied(config, tied) else config.vocab_size * hidden,
    )


def is_tied(config: Config, tied: bool | None = None) -> bool:
    """Whether the head is the embedding matrix, as far as a config can tell."""
    return bool(config.tie_word_embeddings if config.tie_word_embeddings is not None else tied)


def weight_bytes(config: Config, quantization: LayerQuantization | None = None, tied: bool | None = None) -> int:
    """Bytes of the weights with every matrix stored as `quantization` says (None: 16 bits).

    Vectors stay at 16 bits, and so do matrices whose rows are no multiple of the group, as in mlx-lm.
    """
    per_layer = [*_attention(config), *_feed_forward(config)]
    table = (config.vocab_size, config.hidden_size, False)
    matrices = per_layer * config.num_hidden_layers + [table] * (1 if is_tied(config, tied) else 2)
    total = 0.0
    for rows, columns, bias in matrices:
        fits = quantization is not None and columns % quantization.group_size == 0
        total += rows * columns * (quantization.bits_per_weight / 8 if quantization and fits else FULL)
        total += rows * FULL if bias else 0
    return int(total) + parameters(config, tied).norms * FULL


def stored_bytes(config: Config, tied: bool | None = None) -> int:
    """Bytes of the weights by the config's own quantisation; what overrides its rule is not looked at."""
    return weight_bytes(config, config.quantization.default if config.quantization else None, tied)


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


_Matrix = tuple[int, int, bool]
"""Rows (outputs), columns (inputs), whether a bias of `rows` goes with it."""


def _attention(config: Config) -> list[_Matrix]:
    hidden = config.hidden_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    biased = config.qkv_bias
    return [
        (queries, hidden, biased),
        (keys, hidden, biased),
        (keys, hidden, biased),
        (hidden, queries, config.attention_output_bias),
    ]


def _feed_forward(config: Config) -> list[_Matrix]:
    hidden, inner, biased = config.hidden_size, config.intermediate_size, config.mlp_bias
    return [(inner, hidden, biased), (inner, hidden, biased), (hidden, inner, biased)]
