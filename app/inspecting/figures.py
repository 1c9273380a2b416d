"""What is known about a model as numbers for programs, and as sections for people. Figures are `model.facts`'."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from app.chat.text import one_line, visible
from app.inspecting.looking_back import PRICED, looking_back
from app.inspecting.reading import Inspection, Shape, Undescribed
from app.inspecting.rows import measure
from app.inspecting.told import Section, Source, Table, Words
from app.inspecting.vocabulary import Control, controls
from app.words import size
from model.config import UNBOUNDED, Config
from model.facts import Row, composition, parameters, stored_element

if TYPE_CHECKING:
    from model.tokenizer import Tokenizer

_NAMED = 40
"""Special tokens that people are shown; JSON has all."""
_NAME_CELLS = 40


# --- as data --------------------------------------------------------------------------------------------------------


def as_json(told: Inspection, text: str | None = None) -> dict[str, Any]:
    """Everything that is shown, as numbers: sizes in bytes, shares from 0 to 1; null is a context without a limit.

    `text` is measured in tokens.
    """
    return {
        "name": told.name,
        **(_shape_as_json(told.shape, told.context) if isinstance(told.shape, Shape) else _stored_as_json(told.shape)),
        "tokenizer": None if isinstance(told.tokenizer, str) else _tokenizer_as_json(told.tokenizer, text),
    }


def _shape_as_json(shape: Shape, tokens: int) -> dict[str, Any]:
    config, tied = shape.config, shape.tied
    rows = composition(config, config.quantization, tied, stored_element(config))
    return {
        "architecture": config.model_type,
        "context": None if config.context >= UNBOUNDED else config.context,
        "trained": config.trained,
        "vocabulary": config.vocab_size,
        "tied": tied,
        "parameters": parameters(config, tied).total,
        "stored": _stored(config),
        "bytes": sum(row.nbytes for row in rows),
        "composition": [row._asdict() for row in rows],
        "bytes_as": {label: _total(composition(config, packing, tied)) for label, packing in PRICED},
        **looking_back(config).as_json(tokens),
    }


def _stored_as_json(found: Undescribed) -> dict[str, Any]:
    count = sum(part.parameters for part in found.parts)
    return {
        "problem": found.why,
        "parameters": count,
        "bytes": sum(part.nbytes for part in found.parts),
        "composition": [part._asdict() | {"share": part.parameters / count} for part in found.parts],
    }


def _tokenizer_as_json(tokenizer: "Tokenizer", text: str | None) -> dict[str, Any]:
    template = tokenizer.template
    told = {
        "kind": tokenizer.kind,
        "tokens": tokenizer.size,
        "special": [{"id": one.id, "name": one.name, "roles": one.roles} for one in controls(tokenizer)],
        "chat_template": template.source if template else None,
        "can_choose_thinking": tokenizer.can_choose_thinking(),
    }
    if text is not None:
        tokens = len(tokenizer.encode_plain(text))
        told["text"] = {
            "characters": len(text),
            "bytes": len(text.encode(errors="replace")),
            "tokens": tokens,
            "tokens_per_character": tokens / len(text) if text else None,
        }
    return told


def _stored(config: Config) -> str:
    """How the checkpoint keeps its weights, in a word or two."""
    if config.quantization is None:
        return config.dtype or "16 bit"
    rule = config.quantization.default
    mixed = any(config.quantization.overrides.values())
    return f"{rule.bits} bit in groups of {rule.group_size}{', some layers otherwise' if mixed else ''}"


def _total(rows: Iterable[Row]) -> int:
    return sum(row.nbytes for row in rows)


# --- for people -----------------------------------------------------------------------------------------------------


def sections(told: Inspection, text: str | None = None) -> list[Section]:
    """What it is, what it is made of, how it looks back, what a conversation costs, what its tokens are.

    `text` is measured in tokens.
    """
    if isinstance(told.shape, Shape):
        shown = _shape_sections(told.name, told.shape, told.context)
    else:
        shown = [
            Section(_name(told.name), (Words(visible(told.shape.why)),)),
            Section("Parameters", (_stored_table(told.shape),)),
        ]
    if isinstance(told.tokenizer, str):
        return [*shown, Section("Tokenizer", (Words(visible(told.tokenizer), "dim"),))]
    rows = told.shape.config.vocab_size if isinstance(told.shape, Shape) else 0
    return [*shown, _tokenizer_section(told.tokenizer, rows, text), _template_section(told.tokenizer)]


def _shape_sections(name: str, shape: Shape, tokens: int) -> list[Section]:
    config, tied = shape.config, shape.tied
    count = parameters(config, tied).total
    return [
        Section(
            _name(name),
            (
                Words(f"{visible(config.model_type)}, {_short(count)} parameters ({count:,})"),
                Words(
                    f"{config.num_hidden_layers} layers, hidden {config.hidden_size:,}, feed-forward "
                    f"{config.intermediate_size:,}, vocabulary {config.vocab_size:,}, {_context(config)}; "
                    f"stored in {visible(_stored(config))}"
                ),
            ),
        ),
        Section("Parameters", (_composition_table(config, tied),)),
        *looking_back(config).sections(tokens),
    ]


def _context(config: Config) -> str:
    """How long a conversation may be."""
    if config.context >= UNBOUNDED:
        return f"no limit of context, trained to {config.trained:,} tokens"
    return f"context {config.context:,} tokens"


def _composition_table(config: Config, tied: bool) -> Table:
    stored = composition(config, config.quantization, tied, stored_element(config))
    priced = [composition(config, packing, tied) for _, packing in PRICED]
    rows: list[tuple[str, ...]] = []
    for index, row in enumerate(stored):
        if row.part == "head" and tied:
            rows.append(("head", "the embeddings", *[""] * (2 + len(priced))))
        else:
            sizes = (size(row.nbytes), *(size(kind[index].nbytes) for kind in priced))
            rows.append((row.part, f"{row.parameters:,}", f"{row.share:.1%}", *sizes))
    totals = [size(_total(kind)) for kind in (stored, *priced)]
    rows.append(("all", f"{sum(row.parameters for row in stored):,}", "", *totals))
    headings = ("part", "parameters", "share", "as stored", *(label for label, _ in PRICED))
    return Table(headings, tuple(rows), "<" + ">" * (2 + len(totals)), bold=len(rows) - 1)


def _stored_table(found: Undescribed) -> Table:
    count = sum(part.parameters for part in found.parts)
    rows = [
        (part.part, f"{part.parameters:,}", f"{part.parameters / count:.1%}", size(part.nbytes)) for part in found.parts
    ]
    rows.append(("all", f"{count:,}", "", size(sum(part.nbytes for part in found.parts))))
    return Table(("part", "parameters", "share", "as stored"), tuple(rows), "<>>>", bold=len(rows) - 1)


def _tokenizer_section(tokenizer: "Tokenizer", rows: int, text: str | None) -> Section:
    said = f"{tokenizer.kind}, {tokenizer.size:,} tokens"
    if rows > tokenizer.size:
        said += f"; {rows - tokenizer.size:,} more rows of the matrix stand for none"
    measured = () if text is None else (Words(measure(text, len(tokenizer.encode_plain(text))), "bold"),)
    return Section("Tokenizer", (Words(said), *measured, *_special(controls(tokenizer))))


def _special(known: Sequence[Control]) -> tuple[Table | Words, ...]:
    if not known:
        return (Words("It has no special tokens.", "dim"),)
    # Those with a task first: a vocabulary may have hundreds that are kept in reserve.
    listed = sorted(known, key=lambda control: not control.roles)[:_NAMED]
    rows = tuple((str(one.id), one_line(one.name, _NAME_CELLS), ", ".join(one.roles)) for one in listed)
    table = Table(("id", "special token", "used as"), rows, "><<")
    more = len(known) - len(listed)
    return (table, Words(f"and {more:,} more", "dim")) if more else (table,)


def _template_section(tokenizer: "Tokenizer") -> Section:
    template = tokenizer.template
    if template is None:
        return Section("Chat template", (Words("There is none: this model was not made for conversations.", "dim"),))
    thinking = "; it can be asked to reason first, or not to" if tokenizer.can_choose_thinking() else ""
    source = visible(template.source)
    lines = source.count("\n") + 1
    said = f"{len(template.source):,} characters in {'one line' if lines == 1 else f'{lines:,} lines'}{thinking}"
    return Section("Chat template", (Words(said, "dim"), Source(source)))


def _name(name: str) -> str:
    return one_line(name, 80) or "This model"


def _short(count: int) -> str:
    """A count as models are named by it: 7.6 B, 135 M."""
    if count >= 10**9:
        return f"{count / 10**9:.1f} B"
    return f"{count / 10**6:.0f} M" if count >= 10**7 else f"{count / 10**6:.1f} M"
