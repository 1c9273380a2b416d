"""Reading the tables of our Markdown documents, so that tests can hold them to the code."""

import re
from collections.abc import Iterator
from pathlib import Path

DOCUMENTS = Path(__file__).parents[1] / "assets" / "docs"

Table = list[dict[str, str]]
"""A row is its cells by the names of their columns."""


def tables(text: str) -> Iterator[Table]:
    """The tables of a Markdown text, each without its heading; cells are as they are written."""
    lines = [*text.splitlines(), ""]
    block: list[str] = []
    for line in lines:
        if line.startswith("|"):
            block.append(line)
        elif block:
            names, _, *rows = map(cells, block)
            assert all(len(row) == len(names) for row in rows), f"A row of the table {names} has another length."
            yield [dict(zip(names, row, strict=True)) for row in rows]
            block = []


def cells(row: str) -> list[str]:
    """The cells of one row; a bar behind a backslash is part of its cell."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]


def quoted(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)
