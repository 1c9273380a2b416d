"""Tokens and the rows of the embedding matrix that stand for them, in words and tables and as data.

It gets the tokens of a text and what an engine found in the rows, and computes nothing but pairs.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from app.chat.text import one_line
from app.inspecting.told import Table, Words
from app.inspecting.vocabulary import Piece
from app.spelling import spelled_bytes
from app.words import size, tokens

if TYPE_CHECKING:
    from app.engine.protocol import EmbeddingsFound, Neighbour, OneHot

_PIECE_CELLS = 24
_BYTES_SHOWN = 12
"""Of one token, in hexadecimal; the longest have a hundred."""
_NUMBER = 4
"""Bytes of one, as float32."""


class Pair(NamedTuple):
    """How nearly two words point the same way."""

    first: str
    second: str
    cosine: float


def measure(text: str, count: int) -> str:
    """How many tokens a text is, and a character of it."""
    characters = f"{len(text):,} {'character' if len(text) == 1 else 'characters'}"
    return f"{tokens(count)} in {characters}: {count / len(text):.2f} a character" if text else tokens(count)


def piece_name(spelling: bytes, cells: int = _PIECE_CELLS) -> str:
    """A token as it is written in a table."""
    return one_line(spelled_bytes(spelling), cells) or "∅"


def piece_bytes(spelling: bytes) -> str:
    """Its bytes in hexadecimal."""
    more = "…" if len(spelling) > _BYTES_SHOWN else ""
    return f"{spelling[:_BYTES_SHOWN].hex(' ')}{more}"


def pieces_table(pieces: Sequence[Piece], norms: Sequence[float] = ()) -> Table:
    """A row a token, counted from 1; the norms of the rows only where they are known."""
    known = [f"{norm:.3f}" for norm in norms] or [""] * len(pieces)
    rows = tuple(
        (str(number), piece_name(piece.spelling), str(piece.id), norm, piece_bytes(piece.spelling))
        for number, (piece, norm) in enumerate(zip(pieces, known, strict=True), start=1)
    )
    return Table(("", "token", "id", "norm" if norms else "", "bytes"), rows, "><>><")


def matrix(found: "EmbeddingsFound") -> Words:
    """What the tokens are looked up in."""
    return Words(
        f"The embedding matrix has {found.rows:,} rows of {found.width:,} numbers; held as {found.stored} it takes "
        f"{size(found.memory)}.",
        "dim",
    )


def neighbours_table(found: "Sequence[Neighbour]") -> Table:
    """The tokens whose rows point most nearly the same way."""
    rows = tuple((piece_name(one.spelling), str(one.token), f"{one.cosine:.3f}") for one in found)
    return Table(("nearest rows", "id", "cosine"), rows, "<>>")


def one_hot_words(found: "EmbeddingsFound", one_hot: "OneHot") -> tuple[Words | Table, ...]:
    """What it takes to multiply a one-hot vector with the matrix, beside looking the row up."""
    same = "is the row that is looked up" if not one_hot.difference else "differs from the row that is looked up by"
    by = "" if not one_hot.difference else f" {one_hot.difference:.1g} at most"
    table = Table(
        ("", "given", "matrix read", "products"),
        (
            ("one-hot", size(one_hot.vector), size(one_hot.matrix), f"{found.rows * found.width:,}"),
            ("looked up", size(_NUMBER), size(one_hot.row), "0"),
        ),
        "<>>>",
    )
    return Words(f"A one-hot vector times the matrix {same}{by}."), table


def pairs(words: Sequence[str], cosines: Sequence[Sequence[float]]) -> list[Pair]:
    """Every two of the words, the nearest first."""
    found = [
        Pair(words[first], words[second], cosines[first][second])
        for first, second in combinations(range(len(words)), 2)
    ]
    return sorted(found, key=lambda pair: -pair.cosine)


def pairs_table(found: Sequence[Pair]) -> Table:
    rows = tuple((one_line(pair.first, 20), one_line(pair.second, 20), f"{pair.cosine:.3f}") for pair in found)
    return Table(("word", "word", "cosine"), rows, "<<>")


def as_json(
    pieces: Sequence[Piece], found: "EmbeddingsFound | None", near: Piece | None, compared: Sequence[Pair]
) -> dict[str, Any]:
    """All of it as numbers: bytes in hexadecimal, sizes in bytes. `near` is the token that neighbours are of."""
    norms = found.norms if found else [None] * len(pieces)
    told: dict[str, Any] = {
        "tokens": [_piece(piece) | {"norm": norm} for piece, norm in zip(pieces, norms, strict=True)],
        "matrix": None,
    }
    if found is None:
        return told
    told["matrix"] = {"rows": found.rows, "width": found.width, "stored": found.stored, "bytes": found.memory}
    if near is not None and found.one_hot is not None:
        told["near"] = _piece(near) | {
            "nearest": [_piece(Piece(one.token, one.spelling)) | {"cosine": one.cosine} for one in found.near],
            "one_hot": {
                "largest_difference": found.one_hot.difference,
                "vector_bytes": found.one_hot.vector,
                "matrix_bytes": found.one_hot.matrix,
                "row_bytes": found.one_hot.row,
            },
        }
    if compared:
        told["cosines"] = [pair._asdict() for pair in compared]
    return told


def _piece(piece: Piece) -> dict[str, Any]:
    return {"id": piece.id, "text": piece.text, "bytes": piece.spelling.hex()}
