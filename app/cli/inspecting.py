"""`quietly inspect` and `quietly tokens`: what a model is made of, and what its tokens are."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.chat.text import one_line
from app.cli.shared import opened, print_json, settings_in_force, tell
from app.errors import QuietlyError
from app.inspecting.told import Drawn, Source, Table, Words, laid
from app.settings import paths

if TYPE_CHECKING:
    from app.engine.protocol import EmbeddingsFound
    from app.inspecting.vocabulary import Piece

_WIDEST = 1 << 16
"""Cells of a line that goes to no terminal."""


def inspect(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A model by name or folder, a GGUF or .pth file, or a config.json."),
    ],
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE", help="With --diversity: a text to read; by default the tour that comes with Quietly."
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(min=1, max=1 << 40, metavar="TOKENS", help="How long a conversation; by default all it can take."),
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A text of yours, to be counted in its tokens.")
    ] = None,
    diversity: Annotated[
        bool,
        typer.Option("--diversity", help="Open the model instead, and tell how much the states of its layers differ."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Show what a model is made of, what it costs, and its tokens. Its configuration and its tokenizer tell that."""
    if diversity:
        from app.cli.diversity import show_diversity

        if context is not None or (file and text is not None):
            raise QuietlyError("--diversity goes with one text, a file or --text, and with --json: leave the rest out.")
        return show_diversity(model, file, text, as_json)
    if file is not None:
        raise QuietlyError(f"{one_line(file, 40)} is read with --diversity alone: add that, or leave the file out.")
    from app.inspecting import figures
    from app.inspecting.reading import inspect as read
    from app.shelf import Shelf

    with opened() as store:
        told = read(model, context, Shelf(store).folders)
    if as_json:
        print_json(figures.as_json(told, text))
        return None
    for number, section in enumerate(figures.sections(told, text)):
        _print([*([Words("")] if number else []), Words(section.title, "bold"), *section.parts])
    return None


def tokens(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="What is to be made tokens of, as if you had written it in a chat.")
    ],
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", metavar="MODEL", help="A model by name or folder, or a tokenizer.json."),
    ] = None,
    near: Annotated[
        int | None,
        typer.Option(min=1, metavar="NUMBER", help="Find the rows nearest to that of this token of the text, from 1."),
    ] = None,
    words: Annotated[
        str | None, typer.Option(metavar="WORD,...", help="Words to compare, with commas between them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Show a text as tokens. Of each its bytes, its id, and the length of its row in the embedding matrix.

    Rows are read from the loaded model. Where there are no weights, only what the tokenizer knows is shown.
    """
    from app.inspecting import rows
    from app.inspecting.vocabulary import open_tokenizer, spell, spell_word, split_words

    name, path = _located(model)
    tokenizer = open_tokenizer(path, name)
    pieces, compared = spell(tokenizer, text), split_words(words or "")
    if near is not None and near > len(pieces):
        count = "1 token" if len(pieces) == 1 else f"{len(pieces)} tokens"
        raise QuietlyError(f"The text has {count}, so there is no token {near}: name one of them.")
    chosen = None if near is None else pieces[near - 1]
    found = _rows_of(
        path, pieces, [spell_word(tokenizer, word) for word in compared], chosen, needed=bool(near or compared)
    )
    pairs = rows.pairs(compared, found.cosines) if found else []
    if as_json:
        told = {"model": name, **rows.as_json(pieces, found, chosen, pairs)}
        print_json(told)
        return
    shown: list[Words | Table | Drawn | Source] = [Words(rows.measure(text, len(pieces)), "bold")]
    shown.append(rows.pieces_table(pieces, found.norms if found else ()))
    if found:
        shown.append(rows.matrix(found))
    if found and found.one_hot and chosen:
        shown += [Words(""), Words(f"Token {near}, {rows.piece_name(chosen.spelling)}", "bold")]
        shown += [rows.neighbours_table(found.near), *rows.one_hot_words(found, found.one_hot)]
    if pairs:
        shown += [Words(""), rows.pairs_table(pairs)]
    _print(shown)


def _located(reference: str | None) -> tuple[str, Path]:
    """The model that was named, else the one that answers in the window."""
    from app.inspecting.reading import located
    from app.library.local import installed
    from app.shelf import Shelf

    with opened() as store:
        shelf = Shelf(store)
        if reference is not None:
            return located(reference, shelf.folders)
        shelf.fill(installed(shelf.folders))
    if shelf.chosen is None:
        raise QuietlyError("No model yet: `quietly models get starter` brings a tiny one, or name one with --model.")
    return shelf.chosen.name, shelf.chosen.path


def _rows_of(
    path: Path, pieces: "Sequence[Piece]", words: "Sequence[Sequence[Piece]]", near: "Piece | None", needed: bool
) -> "EmbeddingsFound | None":
    """What stands in the rows; where there are none to be had, an error if they are `needed`, else None and a word."""
    from app.engines import engines

    async def look() -> "EmbeddingsFound":
        settings = settings_in_force()
        pool = engines(paths(), lambda: settings)
        try:
            return await pool.embeddings(
                path,
                [piece.id for piece in pieces],
                words=[[piece.id for piece in word] for word in words],
                near=near.id if near else None,
            )
        finally:
            await pool.close()

    try:
        if path.suffix == ".json" or (path.is_dir() and not any(path.glob("*.safetensors"))):
            raise QuietlyError(f"There are no weights in {path}, so no rows of an embedding matrix either.")
        return asyncio.run(look())
    except QuietlyError as error:
        if needed:
            raise
        tell(str(error))
        return None


def _print(parts: Iterable[Words | Table | Drawn | Source]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    width = console.width if console.is_terminal else _WIDEST
    for line in laid(list(parts), width):
        console.print(
            Text(line.text, style="" if line.tone == "plain" else line.tone), soft_wrap=not console.is_terminal
        )
