"""What stands in the composer: drafts, history, commands, attachments, templates, tokens; and temporary chats."""

from pathlib import Path

import pytest
from textual import events

from app.chat.store import Attachment, Draft, Store, Template
from app.tui.screens.asking import AskLine
from app.tui.screens.menu import Menu
from tests.app.tui.conftest import Opener
from tests.app.tui.window import FakePool, converse


async def test_a_draft_outlives_the_window(opened: Opener, store: Store) -> None:
    converse(store, "First", "Answer")
    async with opened() as window:
        await window.pilot.press(*"half a thought")
        await window.until(lambda: store.draft(store.conversations()[0].id) == Draft("half a thought"))
    async with opened() as window:
        await window.until(lambda: window.composer.text == "half a thought")
        await window.ask("half a thought, sent")
        assert store.draft(store.conversations()[0].id) == Draft()
        window.pool.turns[0].finish()
        await window.ended()


async def test_what_was_asked_is_recalled_in_any_conversation(opened: Opener, store: Store) -> None:
    converse(store, "An old question", "Answer")
    async with opened() as window:
        await window.ask("A newer one")
        window.pool.turns[0].finish()
        await window.ended()
        await window.pilot.press("ctrl+n", "up")
        assert window.composer.text == "A newer one"
        await window.pilot.press("up")
        assert window.composer.text == "An old question"
        await window.pilot.press("down", "down")
        assert window.composer.text == ""


async def test_commands_are_completed_and_a_question_may_begin_with_a_slash(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.pilot.press(*"/tem")
        await window.until(lambda: "/temporary" in window.page and "/template" in window.page)
        await window.pilot.press("escape")
        window.composer.load_text("")
        await window.ask("/etc/hosts holds what?")
        assert store.branch(store.conversations()[0].id)[0].content == "/etc/hosts holds what?"
        window.pool.turns[0].finish()
        await window.ended()


async def test_a_file_goes_along_with_the_question(opened: Opener, store: Store, tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("# Notes\n\nThe password is swordfish.")
    async with opened() as window:
        await window.command(f"/attach {notes}")
        await window.until(lambda: "notes.md" in window.page)
        await window.until(lambda: "tokens" in window.page)
        await window.ask("What is the password?")
        asked = window.pool.turns[0].messages[-1].content
        assert "swordfish" in asked and "notes.md" in asked and asked.endswith("What is the password?")
        question = store.branch(store.conversations()[0].id)[0]
        assert question.content == "What is the password?"
        assert question.attachments == (Attachment("notes.md", "# Notes\n\nThe password is swordfish."),)
        window.pool.turns[0].finish()
        await window.ended()
        await window.until(lambda: "notes.md" in window.page)
        await window.ask("And again?")
        assert "swordfish" in window.pool.turns[1].messages[0].content
        assert not store.branch(store.conversations()[0].id)[2].attachments
        window.pool.turns[1].finish()
        await window.ended()


async def test_a_file_may_go_alone(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.pilot.press("enter")
        window.app.chat.desks.writing.add(Attachment("notes.md", "The password is swordfish."))
        await window.ask("")
        assert "swordfish" in window.pool.turns[0].messages[-1].content
        assert [one.title for one in store.conversations()] == ["notes.md"]
        window.pool.turns[0].finish()
        await window.ended()


async def test_a_file_that_cannot_be_read_is_said(opened: Opener, tmp_path: Path) -> None:
    async with opened() as window:
        await window.command(f"/attach {tmp_path / 'nowhere.txt'}")
        await window.until(lambda: "nowhere.txt" in window.notices)


@pytest.mark.parametrize(("key", "attached"), [("a", True), ("i", False)])
async def test_a_long_paste_is_offered_as_an_attachment(opened: Opener, key: str, attached: bool) -> None:
    text = "A long line of a log.\n" * 1000
    async with opened() as window:
        window.composer.post_message(events.Paste(text))
        await window.until(lambda: isinstance(window.app.screen, Menu))
        await window.pilot.press(key)
        await window.until(lambda: window.app.screen is window.app.chat)
        await window.until(lambda: ("Pasted text 1" in window.page) is attached)
        assert window.composer.text == ("" if attached else text)


async def test_attachments_stay_with_the_draft_and_can_be_taken_away(
    opened: Opener, store: Store, tmp_path: Path
) -> None:
    converse(store, "First", "Answer")
    (tmp_path / "list.txt").write_text("milk")
    async with opened() as window:
        await window.command(f"/attach {tmp_path / 'list.txt'}")
        await window.pilot.press("ctrl+n")  # reading it may take longer than this
        await window.until(lambda: store.draft(store.conversations()[0].id).attachments)
        await window.until(lambda: "list.txt" not in window.page)
        window.app.chat.desks.conversations.open(store.conversations()[0].id)
        await window.until(lambda: "list.txt" in window.page)
        window.app.chat.desks.writing.remove(0)
        await window.until(lambda: "list.txt" not in window.page)
        await window.until(lambda: store.draft(store.conversations()[0].id) == Draft())


async def test_a_template_is_kept_used_and_removed(opened: Opener, store: Store) -> None:
    async with opened() as window:
        window.composer.load_text("Translate to French: ")
        window.app.chat.do("writing.keep")
        await window.until(lambda: isinstance(window.app.screen, AskLine))
        await window.pilot.press(*"french", "enter")
        await window.until(lambda: store.templates() == [Template("french", "Translate to French: ")])
        window.composer.load_text("")
        await window.command("/template fren")
        await window.until(lambda: window.composer.text == "Translate to French: ")
        window.app.chat.do("writing.forget")
        await window.until(lambda: len(window.app.screen_stack) > 1 and "french" in window.page)
        await window.pilot.press("down", "enter")
        await window.until(lambda: not store.templates())


async def test_tokens_are_counted_while_typing(opened: Opener) -> None:
    async with opened() as window:
        await window.pilot.press(*"three words here")
        await window.until(lambda: "3 tokens" in window.page)


async def test_what_will_be_dropped_is_said_before_it_is(opened: Opener, store: Store) -> None:
    converse(store, "one two three four", "five six seven eight")
    pool = FakePool()
    pool.context = 10
    async with opened(pool=pool) as window:
        await window.pilot.press(*"nine ten eleven twelve")
        await window.until(lambda: "the oldest message will not be read" in window.page)


async def test_a_temporary_chat_leaves_nothing(opened: Opener, store: Store, tmp_path: Path) -> None:
    converse(store, "A stored one", "Answer")
    async with opened() as window:
        await window.command("/temporary")
        await window.until(lambda: "not stored" in window.page)
        await window.pilot.press(*"a secret draft")
        await window.ask("A secret question")
        window.pool.turns[0].say("A secret answer")
        window.pool.turns[0].finish()
        await window.ended()
        await window.until(lambda: "A secret answer" in window.page and "not stored" in window.page)
        await window.pilot.press("ctrl+n")
        await window.until(lambda: "not stored" in window.page)  # in the list, while the window is open
        window.app.chat.desks.conversations.open(window.app.stores.conversations()[0].id)
        await window.until(lambda: "A secret answer" in window.page)
    assert [one.title for one in store.conversations()] == ["A stored one"]
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or b"secret" not in file.read_bytes()
    async with opened() as window:
        await window.until(lambda: "A stored one" in window.page)
        assert "secret" not in window.page
