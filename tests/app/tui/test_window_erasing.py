"""Deleting everything at the window: after a word, and then it closes."""

import threading

import pytest

from app.chat.store import Draft, Store, Template
from app.settings import Paths, private_folder
from app.tui.screens.asking import AskLine
from tests.app.living import keep_read
from tests.app.tui.conftest import Opener
from tests.app.tui.window import FakePool, converse

MARK = "quokkas"


async def test_everything_goes_and_the_window_closes(
    opened: Opener, store: Store, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def write_and_close(pool: FakePool) -> None:
        keep_read(private_folder(places.sessions), 1)

    monkeypatch.setattr(FakePool, "close", write_and_close)
    converse(store, f"Why do {MARK} smile?", f"{MARK} look like that.")
    store.keep_template(Template("mine", MARK))
    async with opened() as window:
        window.composer.load_text(f"and {MARK} again")
        await window.command("/delete-everything")
        assert isinstance(window.app.screen, AskLine)
        await window.pilot.press(*"delete", "enter")
        await window.until(lambda: not window.app.is_running or window.app._exit)
    assert store.conversations() == [] and store.templates() == []
    assert store.draft(None) == Draft()
    assert not places.sessions.exists()
    for file in places.data.rglob("*"):
        assert file.is_dir() or MARK.encode() not in file.read_bytes(), file


async def test_a_window_that_is_closed_meanwhile_keeps_nothing_either(
    opened: Opener, store: Store, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app import erasing

    goes_on, erase = threading.Event(), erasing.erase_everything

    def slowly(places: Paths, store: Store) -> tuple[erasing.Left, ...]:
        left = erase(places, store)
        goes_on.wait(10)
        return left

    monkeypatch.setattr(erasing, "erase_everything", slowly)
    converse(store, f"Why do {MARK} smile?", f"{MARK} look like that.")
    async with opened() as window:
        window.composer.load_text(f"and {MARK} again")
        window.app.chat.do("window.erase")
        await window.until(lambda: isinstance(window.app.screen, AskLine))
        await window.pilot.press(*"delete", "enter")
        await window.until(lambda: not store.conversations())
        await window.pilot.press("ctrl+q")
        await window.until(lambda: window.app._exit)
        goes_on.set()
    with Store.open(places.database) as kept:
        assert kept.draft(None) == Draft()
    for file in places.data.rglob("*"):
        assert file.is_dir() or MARK.encode() not in file.read_bytes(), file


async def test_any_other_word_deletes_nothing(opened: Opener, store: Store) -> None:
    converse(store, "Kept?", "Yes.")
    async with opened() as window:
        await window.command("/delete-everything")
        await window.pilot.press(*"no", "enter")
        await window.until(lambda: "Nothing was deleted." in window.notices)
        await window.command("/delete-everything")
        await window.pilot.press("escape")
        await window.pilot.pause()
        assert window.app.screen is window.app.chat
    assert len(store.conversations()) == 1


async def test_not_while_an_answer_is_written(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.ask("Go on")
        await window.command("/delete-everything")
        await window.until(lambda: "stop it first" in window.notices)
    assert len(store.conversations()) == 1


async def test_another_window_on_the_file_stops_it(opened: Opener, store: Store, places: Paths) -> None:
    converse(store, "Kept?", "Yes.")
    with Store.open(places.database):
        async with opened() as window:
            await window.command("/delete-everything")
            await window.pilot.press(*"delete", "enter")
            await window.until(lambda: window.notices)
            assert window.app.screen is window.app.chat
    assert len(store.conversations()) == 1
