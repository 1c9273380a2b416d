"""What a model's layers have of the tokens before: attention and its cache, or a state. As numbers and as sections.

Figures are `model.facts`'; which kind a model is of is asked here, once.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, Protocol

from app.inspecting.told import Drawn, Section, Table, Words
from app.library.catalogue import catalogue
from app.words import size
from model.config import Config, LayerQuantization, RecurrentConfig, TransformerConfig
from model.facts import (
    FULL,
    Run,
    attention_map,
    attention_pairs,
    kv_bytes,
    kv_bytes_as,
    kv_bytes_per_token,
    layer_pairs,
    layer_runs,
    parameters,
    sharing,
    state_bytes,
)

PRICED: tuple[tuple[str, LayerQuantization | None], ...] = (
    ("16 bit", None),
    ("8 bit", LayerQuantization(64, 8)),
    ("4 bit", LayerQuantization(64, 4)),
)
"""What sizes are shown for beside the stored one: MLX's usual ways of keeping a model, and our KV caches'."""
_USUAL = 8192
"""Tokens that a conversation seldom leaves, shown beside all that a model can take."""
_COMPARED = (1024, 8192, 65536)
"""Tokens at which a state is held against what attention would keep of them."""
_ALIKE = 2.0
"""Times as many parameters as another model, or as few, with which it is still one of the same size."""


class LookingBack(Protocol):
    """One model's way."""

    def as_json(self, tokens: int) -> dict[str, Any]:
        """All of it, and what a conversation of so many tokens costs: sizes in bytes."""

    def sections(self, tokens: int) -> list[Section]:
        """The same for people."""


def looking_back(config: Config) -> LookingBack:
    """How a model of this shape looks back."""
    match config:
        case TransformerConfig():
            return Attention(config)
        case RecurrentConfig():
            return State(config)
    raise TypeError(f"nobody has said how a {type(config).__name__} looks back")


# --- attention ------------------------------------------------------------------------------------------------------


class Attention:
    """A cache of keys and values, which grows with the conversation."""

    def __init__(self, config: TransformerConfig) -> None:
        self._config = config

    def as_json(self, tokens: int) -> dict[str, Any]:
        config = self._config
        return {
            "attention": {
                "kind": sharing(config),
                "heads": config.num_attention_heads,
                "kv_heads": config.num_key_value_heads,
                "head_dim": config.head_dim,
                "windows": list(config.layer_windows),
                "pangu_pi": None if config.pangu is None else asdict(config.pangu),
            },
            "at": {
                "tokens": tokens,
                "kv_bytes": kv_bytes(config, tokens),
                "kv_bytes_per_token": kv_bytes_per_token(config),
                "kv_bytes_in": {label: kv_bytes(config, tokens, _element(packing)) for label, packing in PRICED},
                "kv_bytes_as_mha": kv_bytes_as(config, "MHA", tokens),
                "kv_bytes_as_mqa": kv_bytes_as(config, "MQA", tokens),
                "attention_pairs": attention_pairs(config, tokens),
                "attention_pairs_without_windows": config.num_hidden_layers * layer_pairs(tokens, None),
            },
        }

    def sections(self, tokens: int) -> list[Section]:
        config = self._config
        read = "head" if config.num_key_value_heads == 1 else "heads"
        heads = f"{config.num_attention_heads} query heads, {config.num_key_value_heads} KV {read} of {config.head_dim}"
        return [
            Section(
                "Attention",
                (
                    Words(f"{sharing(config)}: {heads}"),
                    Drawn(attention_map(config)),
                    Words(_reach(layer_runs(config)), "dim"),
                    *_modules(config),
                ),
            ),
            Section("KV cache", (self._cache_table(tokens), Words(self._pairs(tokens), "dim"))),
        ]

    def _cache_table(self, tokens: int) -> Table:
        config = self._config
        own = sharing(config)
        lengths = [1, *([_USUAL] if tokens > _USUAL else []), tokens]
        rows = [
            (f"as it is ({own}), {label}", *(size(kv_bytes(config, length, _element(packing))) for length in lengths))
            for label, packing in PRICED
        ]
        rows += [
            (f"were it {kind}, 16 bit", *(size(kv_bytes_as(config, kind, length)) for length in lengths))
            for kind in ("MHA", "MQA")
            if kind != own
        ]
        headings = ("", "a token", *(f"{length:,} tokens" for length in lengths[1:]))
        return Table(headings, tuple(rows), "<" + ">" * len(lengths), bold=0)

    def _pairs(self, tokens: int) -> str:
        config = self._config
        pairs, most = attention_pairs(config, tokens), config.num_hidden_layers * layer_pairs(tokens, None)
        share = "" if pairs == most else f", {pairs / most:.1%} of what full attention would look at"
        return f"{pairs:,} pairs of query and key in {tokens:,} tokens, all layers{share}"


def _modules(config: TransformerConfig) -> Iterator[Words]:
    """What PanGu-π has beside attention and in the feed-forward."""
    if (pangu := config.pangu) is not None:
        shortcuts, activations = pangu.num_shortcuts, pangu.num_series_activations
        yield Words(
            f"past attention {shortcuts} {'shortcut' if shortcuts == 1 else 'shortcuts'}, "
            f"{pangu.shortcut_size(config.hidden_size):,} wide; in the feed-forward {activations} "
            f"{'activation' if activations == 1 else 'activations'} in series",
            "dim",
        )


def _element(packing: LayerQuantization | None) -> float:
    """Bytes of a number, its share of the scales included."""
    return FULL if packing is None else packing.bits_per_weight / 8


def _reach(runs: list[Run]) -> str:
    """Which layers look how far, in words; counts only where they alternate too often to be listed."""

    def reach(window: int | None) -> str:
        return "█ everything" if window is None else f"▄ the last {window:,} tokens"

    if len(runs) == 1:
        return f"all layers: {reach(runs[0].window)}"
    if len(runs) <= 4:
        return "; ".join(
            f"layers {run.first} to {run.last}: {reach(run.window)}"
            if run.first < run.last
            else f"layer {run.first}: {reach(run.window)}"
            for run in runs
        )
    counts: Counter[int | None] = Counter()
    for run in runs:
        counts[run.window] += run.last - run.first + 1
    return "; ".join(f"{count} layers: {reach(window)}" for window, count in counts.items())


# --- a state --------------------------------------------------------------------------------------------------------


class State:
    """Numbers that stand for all tokens so far, as many after a million as after one."""

    def __init__(self, config: RecurrentConfig) -> None:
        self._config = config
        self._bytes = state_bytes(config)
        self._rivals = [Rival("MHA as wide and as deep", _as_wide(config)), *_as_large(config)]

    def as_json(self, tokens: int) -> dict[str, Any]:
        config = self._config
        return {
            "state": {
                "bytes": self._bytes,
                "numbers_a_layer": {"float32": config.state_numbers, "as_computed": config.shift_numbers},
            },
            "at": {"tokens": tokens, "state_bytes": self._bytes},
            "beside_attention": [
                {
                    "name": rival.name,
                    "kv_bytes_per_token": rival.each,
                    "kv_bytes": {str(length): rival.each * length for length in _lengths(tokens)},
                    "tokens_in_as_many_bytes": self._bytes // rival.each,
                }
                for rival in self._rivals
            ],
        }

    def sections(self, tokens: int) -> list[Section]:
        config, lengths = self._config, _lengths(tokens)
        rows = [("its state", *[size(self._bytes)] * len(lengths))]
        rows += [
            (f"KV cache of {rival.name}", *(size(rival.each * length) for length in lengths)) for rival in self._rivals
        ]
        headings = ("", *(f"{length:,} tokens" for length in lengths))
        outgrown = " and ".join(
            f"that of {rival.name} with {self._bytes // rival.each + 1:,}" for rival in self._rivals
        )
        return [
            Section(
                "State",
                (
                    Words(f"no attention and no KV cache: {size(self._bytes)} after one token and after a million"),
                    Words(
                        f"{config.state_numbers:,} numbers a layer in float32, and {config.shift_numbers:,} of the "
                        "token before in the type that is computed in",
                        "dim",
                    ),
                ),
            ),
            Section(
                "Beside attention",
                (
                    Table(headings, tuple(rows), "<" + ">" * len(lengths), bold=0),
                    Words(f"Caches in 16 bit. A cache outgrows this state: {outgrown} tokens.", "dim"),
                ),
            ),
        ]


class Rival(NamedTuple):
    """Attention that a state is held against: bytes that each token adds to its KV cache, in 16 bit."""

    name: str
    each: int


def _lengths(tokens: int) -> Sequence[int]:
    return sorted({*_COMPARED, tokens})


def _as_wide(config: RecurrentConfig) -> int:
    """Of as many layers with attention over the same width, a KV head for each query head."""
    return 2 * config.num_hidden_layers * config.hidden_size * FULL


def _as_large(config: RecurrentConfig) -> Iterator[Rival]:
    """The Qwen2 of the catalogue that has most nearly as many parameters, where one is of that size."""
    count = parameters(config).total
    known = {offer.name: offer.config for offer in catalogue() if isinstance(offer.config, TransformerConfig)}
    apart = {
        name: abs(math.log(parameters(shape).total / count))
        for name, shape in known.items()
        if shape.model_type == "qwen2"
    }
    name = min(apart, key=lambda name: apart[name])
    if apart[name] <= math.log(_ALIKE):
        yield Rival(name, kv_bytes_per_token(known[name]))
