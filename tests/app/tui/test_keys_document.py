"""The document of keys says what the keys are."""

import re
from pathlib import Path

import pytest
from textual.binding import Binding

from app.chat.store import Store
from app.settings import Paths, Settings, load_settings
from app.tui.actions import ACTIONS
from app.tui.app import QuietlyApp
from app.tui.keys import keymap, known
from tests.app.tui.conftest import Window
from tests.app.tui.window import STARTER, FakeLibrary, FakePool, converse
from tests.documents import DOCUMENTS, Table, quoted, tables

DOCUMENT = (DOCUMENTS / "keys.md").read_text()


def with_columns(*names: str) -> list[Table]:
    return [table for table in tables(DOCUMENT) if tuple(table[0]) == names]


def keys(written: str) -> str:
    """The keys of a cell as a binding has them."""
    return ",".join(quoted(written))


def test_every_action_stands_there_with_its_keys_and_its_command() -> None:
    rows = [row for table in with_columns("does", "keys", "typed", "id") for row in table]
    assert [(row["does"], keys(row["keys"]), keys(row["typed"]), keys(row["id"])) for row in rows] == [
        (
            action.label.rstrip("…"),
            action.keys,
            f"{action.typed} {action.argument}".strip(),
            action.id,
        )
        for action in ACTIONS
    ]


def test_every_other_key_that_can_be_changed_stands_there() -> None:
    there = {
        keys(row["id"]): (row["does"], keys(row["keys"]))
        for table in with_columns("does", "keys", "id")
        for row in table
    }
    acts = {action.id for action in ACTIONS}
    others: dict[str, Binding] = {
        id: binding for bindings in known().values() for id, binding in bindings.items() if id not in acts
    }
    assert there == {id: (binding.description, binding.key) for id, binding in others.items()}


@pytest.fixture
def example(tmp_path: Path) -> Settings:
    """The settings that the document shows, as they are read from a file."""
    file = tmp_path / "settings.toml"
    file.write_text(DOCUMENT.split("```toml\n")[1].split("```")[0])
    settings, sentences = load_settings(file)
    assert sentences == []
    return settings


def test_the_example_can_be_followed_whole(example: Settings) -> None:
    chosen, sentences = keymap(example.keys, known())
    assert sentences == [] and chosen.keys() == example.keys.keys()


async def test_the_window_follows_the_example(example: Settings, store: Store, tmp_path: Path) -> None:
    converse(store, "Capital of France?", "Paris.")
    pool, library = FakePool(), FakeLibrary(STARTER)
    app = QuietlyApp(store, lambda: pool, library, Paths.below(tmp_path), settings=example)
    async with app.run_test() as pilot:
        window = Window(app, pool, library, pilot)
        await window.ready()
        await window.until(lambda: "Paris." in window.page)
        await pilot.press("ctrl+n")
        assert "Paris." in window.page
        await pilot.press("alt+n")
        await window.until(lambda: "New conversation" in window.page and "Paris." not in window.page)


def test_nothing_stands_on_keys_alone_that_macos_takes() -> None:
    for bindings in known().values():
        for id, binding in bindings.items():
            assert not all(map(taken_by_macos, binding.key.split(","))), id


def taken_by_macos(key: str) -> bool:
    """Function keys, and Ctrl with the arrows or the space bar."""
    held, _, name = key.rpartition("+")
    return re.fullmatch(r"f\d+", name) is not None or (
        held == "ctrl" and name in {"left", "right", "up", "down", "space"}
    )
