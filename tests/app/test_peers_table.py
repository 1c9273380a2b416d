"""The table of peers says what we can do only where a test shows it."""

import ast
from pathlib import Path

from tests.documents import DOCUMENTS, Table, quoted, tables

ROOT = Path(__file__).parents[2]
PEERS = (DOCUMENTS / "peers.md").read_text()
FEATURES, SHOWN = "feature", "shown by"
SAID = {"yes", "partly", "no", "·"}


def with_column(name: str) -> list[Table]:
    return [table for table in tables(PEERS) if name in table[0]]


def functions(file: Path) -> set[str]:
    """The names of the tests in a file."""
    return {
        node.name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_cell_is_one_of_the_words_that_are_explained() -> None:
    rows = [row for table in with_column("Quietly") for row in table]
    assert len(rows) > 40
    for row in rows:
        assert {said for name, said in row.items() if name != FEATURES} <= SAID, row[FEATURES]
        assert row["Quietly"] != "·", row[FEATURES]


def test_what_we_have_is_shown_by_tests_that_exist() -> None:
    ours = {row[FEATURES]: row["Quietly"] for table in with_column("Quietly") for row in table}
    shown = {row[FEATURES]: quoted(row[SHOWN]) for table in with_column(SHOWN) for row in table}
    assert sum(map(len, with_column("Quietly"))) == len(ours), "a feature is named twice"
    assert set(shown) <= {feature for feature, said in ours.items() if said != "no"}
    for feature, said in ours.items():
        assert said != "yes" or shown.get(feature), f"nothing shows: {feature}"
    for feature, named in shown.items():
        for test in named:
            file, _, function = test.partition("::")
            assert file.startswith("tests/") and function.startswith("test_"), test
            assert function in functions(ROOT / file), f"{feature}: {test} is gone"
