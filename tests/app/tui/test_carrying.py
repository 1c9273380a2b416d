"""Carrying conversations out and in at the window."""

from pathlib import Path

import pytest
from textual.widgets import Button

from app.carrying import read
from app.tui.screens.form import Form
from app.tui.screens.progress import ProgressScreen
from tests.app.tui.conftest import Opener, Window
from tests.app.tui.window import converse


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "Downloads"
    folder.mkdir()
    return folder


async def export_as(window: Window, **wanted: object) -> None:
    """Fill in the form of an export, and send it off."""
    await window.command("/export-as")
    form = window.app.screen
    assert isinstance(form, Form)
    form.fill(wanted)
    form.query_one("#save", Button).press()
    await window.until(lambda: not isinstance(window.app.screen, Form | ProgressScreen))
    await window.pilot.pause()


async def test_one_key_exports_what_is_in_view(opened: Opener, store, downloads: Path) -> None:
    converse(store, "What is tea?", "Leaves in water.")
    async with opened() as window:
        await window.pilot.press("ctrl+s")
        await window.until(lambda: "Exported to" in window.notices)
    (file,) = downloads.iterdir()
    assert file.name == "What is tea.md"
    assert "Leaves in water." in file.read_text()


@pytest.mark.parametrize(("format", "suffix"), [("markdown", ".md"), ("json", ".json"), ("html", ".html")])
async def test_all_conversations_go_to_a_folder_in_any_format(
    opened: Opener, store, downloads: Path, tmp_path: Path, format: str, suffix: str
) -> None:
    for number in range(5):
        converse(store, f"Question {number}", f"Answer {number}")
    folder = tmp_path / "everything"
    folder.mkdir()
    async with opened() as window:
        await export_as(window, what="all", format=format, folder=str(folder))
        assert "Exported 5 conversations" in window.notices
    assert sorted(file.name for file in folder.iterdir()) == [f"Question {number}{suffix}" for number in range(5)]


async def test_all_branches_go_along_where_that_is_wanted(opened: Opener, store, downloads: Path) -> None:
    conversation = converse(store, "Tell me of whales", "They sing.")
    store.add_answer(conversation, store.branch(conversation)[0].id, "They dive.", "starter")
    async with opened() as window:
        await export_as(window, branches="all")
        await export_as(window)
    whole, one = sorted(downloads.iterdir(), key=lambda file: -file.stat().st_size)
    assert "They sing." in whole.read_text()
    assert "They sing." not in one.read_text()


async def test_where_nothing_can_be_written_it_is_said(opened: Opener, store, downloads: Path) -> None:
    converse(store, "What is tea?", "Leaves in water.")
    async with opened() as window:
        await export_as(window, folder=str(downloads / "not there"))
        assert "not there" in window.notices


async def test_what_was_exported_comes_back_once(opened: Opener, store, downloads: Path) -> None:
    conversation = converse(store, "What is tea?", "Leaves in water.")
    async with opened() as window:
        await window.pilot.press("ctrl+s")
        await window.until(lambda: "Exported to" in window.notices)
        (file,) = downloads.iterdir()
        store.delete(conversation)
        await window.command(f"/import {file}")
        await window.until(lambda: "One conversation was imported." in window.notices)
        await window.command(f"/import {file}")
        await window.until(lambda: "Nothing new was imported; one was here already." in window.notices)
    (tale,) = read(file)
    (found,) = store.conversations()
    assert [message.content for message in store.branch(found.id)] == [message.content for message in tale.messages]


async def test_a_file_that_is_no_export_is_refused_in_a_sentence(opened: Opener, tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text('{"a": 1}')
    async with opened() as window:
        await window.command(f"/import {tmp_path / 'notes.json'}")
        await window.until(lambda: "notes.json" in window.notices)
        assert window.app.screen is window.app.chat


async def test_a_file_to_import_can_be_picked(opened: Opener, store, downloads: Path) -> None:
    converse(store, "What is tea?", "Leaves in water.")
    async with opened() as window:
        await window.pilot.press("ctrl+s")
        await window.until(lambda: "Exported to" in window.notices)
        await window.command("/import")
        await window.until(lambda: "What is tea.md" in window.page and "Import conversations" in window.page)
        await window.pilot.press(*"What", "tab", "enter")
        await window.until(lambda: "one was here already" in window.notices)


async def test_an_import_can_be_ended(opened: Opener, store, downloads: Path) -> None:
    for number in range(3):
        converse(store, f"Question {number}", f"Answer {number}")
    async with opened() as window:
        begun = window.app.chat.desks.carrying

        def slow(report) -> None:
            while True:
                report(1, 3)

        results: list[object] = []
        window.app.push_screen(ProgressScreen("Importing", slow), results.append)
        await window.until(lambda: "1 of 3" in window.page)
        await window.pilot.press("escape")
        await window.until(lambda: results == [None])
        assert begun is window.app.chat.desks.carrying
