"""`quietly inspect`: what a model is made of and what it costs, told from its configuration alone.

It reads config.json and the headers beside it, never weights, and loads no MLX. Figures are `model.facts`'; this is how
they are shown.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.chat.text import visible
from app.errors import QuietlyError
from app.words import size
from model.config import Config, LayerQuantization, parse_config, read_fields, read_object
from model.errors import ModelError
from model.facts import (
    Row,
    Run,
    attention_map,
    attention_pairs,
    composition,
    is_tied,
    kv_bytes,
    kv_bytes_as,
    kv_bytes_per_token,
    layer_pairs,
    layer_runs,
    parameters,
    sharing,
    stored_element,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PRICED: tuple[tuple[str, LayerQuantization | None], ...] = (
    ("16 bit", None),
    ("8 bit", LayerQuantization(64, 8)),
    ("4 bit", LayerQuantization(64, 4)),
)
"""What sizes are shown for beside the stored one: MLX's usual ways of keeping a model."""
_WIDEST_MAP = 64


@dataclass(frozen=True)
class Inspection:
    """All that is told about one model at one context length. Sizes are bytes."""

    name: str
    config: Config
    tied: bool
    context: int


def inspect(reference: str, context: int | None, folders: Iterable[Path]) -> Inspection:
    """Read what `reference` means: a config.json, a folder with one, or an installed model by name.

    `context` is in tokens, by default what the model was trained for. QuietlyError where there is no such model, its
    configuration cannot be true, or its shape is not one that `model.config` describes.
    """
    try:
        name, fields, folder = _fields(reference, folders)
        config = parse_config(fields, name)
    except ModelError as error:
        raise QuietlyError(str(error)) from None
    return Inspection(name, config, is_tied(config, _has_no_head(folder)), context or config.context)


def _fields(reference: str, folders: Iterable[Path]) -> tuple[str, dict[str, object], Path]:
    path = Path(reference).expanduser()
    if path.suffix == ".json":
        name = path.absolute().parent.name if path.name == "config.json" else path.stem
        return name, read_object(path, name), path.parent
    from app.library.local import find

    found = find(reference, folders)
    folder = found.path
    if folder.suffix == ".gguf" and not folder.is_dir():
        return found.name, _gguf_fields(folder), folder.parent
    return found.name, read_fields(folder), folder


def _gguf_fields(path: Path) -> dict[str, object]:
    """What config.json would say, from the file's header."""
    from gguf import GGMLQuantizationType

    from model.weights.gguf_blocks import packing
    from model.weights.gguf_header import read
    from model.weights.gguf_settings import ROPE_FACTORS, config_of, our_name

    header = read(path)
    tensors = {our_name(path, tensor.name): tensor for tensor in header.tensors if tensor.name != ROPE_FACTORS}
    known = {kind.value: kind for kind in GGMLQuantizationType}
    forms = {
        name: form
        for name, tensor in tensors.items()
        if len(tensor.shape) == 2
        and tensor.kind in known
        and (form := packing(known[tensor.kind], tensor.shape[1], None))
    }
    # Factors of a stretched rope change angles, not costs.
    return config_of(header, {name: tensor.shape for name, tensor in tensors.items()}, forms, None)


def _has_no_head(folder: Path) -> bool | None:
    """Whether the weights lack a head, so that the embeddings are it; None where there are no weights to tell."""
    from model.weights.safetensors import shards

    try:
        files = shards(folder)
    except ModelError:
        return None
    return not any("lm_head.weight" in tensors for tensors in files.values())


# --- as data --------------------------------------------------------------------------------------------------------


def as_json(told: Inspection) -> dict[str, Any]:
    """Everything that is shown, as numbers: sizes in bytes, shares from 0 to 1."""
    config, tokens = told.config, told.context
    rows = composition(config, config.quantization, told.tied, stored_element(config))
    return {
        "name": told.name,
        "architecture": config.model_type,
        "context": config.context,
        "vocabulary": config.vocab_size,
        "tied": told.tied,
        "parameters": parameters(config, told.tied).total,
        "stored": _stored(config),
        "bytes": sum(row.nbytes for row in rows),
        "composition": [row._asdict() for row in rows],
        "bytes_as": {
            label: sum(row.nbytes for row in composition(config, packing, told.tied)) for label, packing in _PRICED
        },
        "attention": {
            "kind": sharing(config),
            "heads": config.num_attention_heads,
            "kv_heads": config.num_key_value_heads,
            "head_dim": config.head_dim,
            "windows": list(config.layer_windows),
        },
        "at": {
            "tokens": tokens,
            "kv_bytes": kv_bytes(config, tokens),
            "kv_bytes_per_token": kv_bytes_per_token(config),
            "kv_bytes_as_mha": kv_bytes_as(config, "MHA", tokens),
            "kv_bytes_as_mqa": kv_bytes_as(config, "MQA", tokens),
            "attention_pairs": attention_pairs(config, tokens),
            "attention_pairs_without_windows": config.num_hidden_layers * layer_pairs(tokens, None),
        },
    }


def _stored(config: Config) -> str:
    """How the checkpoint keeps its weights, in a word or two."""
    if config.quantization is None:
        return config.dtype or "16 bit"
    rule = config.quantization.default
    mixed = any(config.quantization.overrides.values())
    return f"{rule.bits} bit in groups of {rule.group_size}{', some layers otherwise' if mixed else ''}"


# --- on screen ------------------------------------------------------------------------------------------------------


def show(told: Inspection) -> None:
    """Print it for people: what it is, what it is made of, what its attention sees, what a conversation costs."""
    from rich.console import Console

    console = Console(highlight=False)
    config = told.config
    count = parameters(config, told.tied).total
    console.print(f"[bold]{_plain(told.name)}[/]  {_plain(config.model_type)}, {_short(count)} parameters ({count:,})")
    console.print(
        f"{config.num_hidden_layers} layers, hidden {config.hidden_size:,}, feed-forward {config.intermediate_size:,}, "
        f"vocabulary {config.vocab_size:,}, context {config.context:,} tokens; stored in {_plain(_stored(config))}"
    )
    console.print()
    console.print(_composition_table(told))
    console.print()
    _show_attention(console, config)
    console.print()
    console.print(_cache_table(told))
    tokens = told.context
    pairs, most = attention_pairs(config, tokens), config.num_hidden_layers * layer_pairs(tokens, None)
    share = "" if pairs == most else f", {pairs / most:.1%} of what full attention would look at"
    console.print(f"{pairs:,} pairs of query and key in {tokens:,} tokens, all layers{share}", style="dim")


def _composition_table(told: Inspection) -> "Table":
    from rich.table import Table

    config, tied = told.config, told.tied
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("part", "parameters", "share", "as stored", *(label for label, _ in _PRICED)):
        table.add_column(heading, justify="left" if heading == "part" else "right", no_wrap=True)
    stored = composition(config, config.quantization, tied, stored_element(config))
    priced = [composition(config, packing, tied) for _, packing in _PRICED]
    for index, row in enumerate(stored):
        if row.part == "head" and tied:
            table.add_row("head", "the embeddings", "", "", *[""] * len(priced), style="dim")
            continue
        sizes = [size(row.nbytes), *(size(rows[index].nbytes) for rows in priced)]
        table.add_row(row.part, f"{row.parameters:,}", f"{row.share:.1%}", *sizes)
    totals = [size(_total(rows)) for rows in (stored, *priced)]
    table.add_row("all", f"{sum(row.parameters for row in stored):,}", "", *totals, style="bold")
    return table


def _show_attention(console: "Console", config: Config) -> None:
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    console.print(
        f"[bold]Attention[/]  {sharing(config)}: {heads} query heads, {kv_heads} KV heads of {config.head_dim}"
    )
    drawn = attention_map(config)
    for start in range(0, len(drawn), _WIDEST_MAP):
        console.print(f"  {drawn[start : start + _WIDEST_MAP]}")
    console.print(f"  {_reach(layer_runs(config))}", style="dim")


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


def _cache_table(told: Inspection) -> "Table":
    from rich.table import Table

    config, tokens = told.config, told.context
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("KV cache, 16 bit", no_wrap=True)
    for heading in ("a token", f"{tokens:,} tokens"):
        table.add_column(heading, justify="right", no_wrap=True)
    own = sharing(config)
    table.add_row(f"as it is ({own})", size(kv_bytes_per_token(config)), size(kv_bytes(config, tokens)), style="bold")
    for kind in ("MHA", "MQA"):
        if kind != own:
            row = (kv_bytes_as(config, kind, 1), kv_bytes_as(config, kind, tokens))
            table.add_row(f"were it {kind}", *map(size, row))
    return table


def _total(rows: Iterable[Row]) -> int:
    return sum(row.nbytes for row in rows)


def _plain(text: str) -> str:
    """A stranger's word inside our markup."""
    from rich.markup import escape

    return escape(visible(text))


def _short(count: int) -> str:
    """A count as models are named by it: 7.6 B, 135 M."""
    if count >= 10**9:
        return f"{count / 10**9:.1f} B"
    return f"{count / 10**6:.0f} M" if count >= 10**7 else f"{count / 10**6:.1f} M"
