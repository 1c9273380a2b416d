"""What can be done with what was said: edit, answer again, continue, branch, delete, copy, quote, look into."""

import threading
from pathlib import Path

import pytest
from textual import events
from textual.command import CommandPalette

from app.chat.store import Message, Store
from app.tui.screens.asking import Confirm
from app.tui.screens.menu import Menu
from app.tui.screens.probabilities import Probabilities
from tests.app.tui.conftest import Opener, Window
from tests.app.tui.window import LARGER, converse
from tests.waiting import PATIENCE


def branch_of(store: Store) -> list[Message]:
    return store.branch(store.conversations()[0].id)


def said(store: Store) -> list[str]:
    return [message.content for message in branch_of(store)]


async def answered(window: Window, text: str, reason: str = "stop") -> None:
    """Let the latest turn say `text` and end."""
    window.pool.turns[-1].say(text)
    window.pool.turns[-1].finish(reason)
    await window.ended()


async def asked(window: Window, question: str, answer: str, reason: str = "stop") -> None:
    await window.ask(question)
    await answered(window, answer, reason)


async def to_messages(window: Window) -> None:
    """Leave the composer for the latest message."""
    await window.pilot.press("ctrl+t")
    await window.until(lambda: window.app.chat.room.transcript.current is not None)


async def next_turn(window: Window, *keys: str) -> None:
    """Press `keys` and wait until the engine was asked."""
    turns = len(window.pool.turns)
    await window.pilot.press(*keys)
    await window.until(lambda: len(window.pool.turns) > turns)


async def test_what_was_marked_is_not_meant_any_more_once_something_is_asked(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await asked(window, "One?", "Once.")
        await to_messages(window)
        await window.pilot.press("ctrl+t")
        await asked(window, "Two?", "Twice.")
        turns = len(window.pool.turns)
        await window.command("/again")
        await window.until(lambda: len(window.pool.turns) > turns)
        await answered(window, "Two times.")
        assert said(store) == ["One?", "Once.", "Two?", "Two times."]


async def test_a_page_that_is_emptied_leaves_the_keyboard_to_the_composer(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await asked(window, "One?", "Once.")
        await to_messages(window)
        await window.pilot.press("k", "D")
        await window.until(lambda: not window.app.chat.room.branch)
        assert window.composer.has_focus
        await window.command("/undo")
        await window.until(lambda: "Once." in window.page)
        assert window.composer.has_focus and said(store) == ["One?", "Once."]


async def test_a_question_is_edited_and_resent_as_a_branch(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await asked(window, "Capital of France", "Paris.")
        await asked(window, "And of Spane?", "Where?")
        window.composer.load_text("half a thought")
        await to_messages(window)
        await window.pilot.press("k", "e")
        await window.until(lambda: window.composer.text == "And of Spane?")
        await window.until(lambda: "Editing your question" in window.page)
        window.composer.load_text("And of Spain?")
        await next_turn(window, "enter")
        assert [message.content for message in window.pool.turns[-1].messages] == [
            "Capital of France",
            "Paris.",
            "And of Spain?",
        ]
        await answered(window, "Madrid.")
        assert said(store) == ["Capital of France", "Paris.", "And of Spain?", "Madrid."]
        assert window.composer.text == "half a thought"
        await window.until(lambda: "‹ 2/2" in window.page)
        await to_messages(window)
        await window.pilot.press("k", "left")
        await window.until(lambda: "Where?" in window.page)
        assert said(store)[2:] == ["And of Spane?", "Where?"]


async def test_escape_leaves_what_is_edited_as_it_was(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await asked(window, "One", "Two")
        window.composer.load_text("mine")
        await to_messages(window)
        await window.pilot.press("k", "e")
        await window.until(lambda: window.composer.text == "One")
        await window.pilot.press("x", "escape")
        await window.until(lambda: window.composer.text == "mine")
        assert said(store) == ["One", "Two"] and "Editing" not in window.page


async def test_an_answer_is_edited_and_continued_from(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await asked(window, "A story", "Once there was a cat")
        await to_messages(window)
        await window.pilot.press("e")
        await window.until(lambda: window.composer.text == "Once there was a cat")
        window.composer.load_text("Once there was a fox")
        await window.pilot.press("enter")
        await window.until(lambda: said(store) == ["A story", "Once there was a fox"])
        await window.until(lambda: "edited" in window.page)
        await window.command("/continue")
        await window.until(lambda: len(window.pool.turns) == 2)
        turn = window.pool.turns[-1]
        assert (turn.messages[-1].role, turn.messages[-1].content) == ("assistant", "Once there was a fox")
        assert turn.messages[-1].token_ids is None
        turn.restate()
        await answered(window, ", and it slept.")
        assert said(store)[-1] == "Once there was a fox, and it slept."


async def test_an_answer_comes_again_and_both_stay(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await asked(window, "A number", "One")
        await to_messages(window)
        await next_turn(window, "r")
        await answered(window, "Two")
        assert said(store) == ["A number", "Two"]
        await window.until(lambda: "‹ 2/2" in window.page)
        await window.pilot.press("left")
        await window.until(lambda: "1/2 ›" in window.page)
        assert said(store) == ["A number", "One"]


async def test_an_answer_comes_again_from_another_model(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await asked(window, "A number", "One")
        await window.command("/with Qwen")
        await window.until(lambda: len(window.pool.turns) == 2)
        assert window.pool.turns[1].checkpoint == LARGER.path
        await answered(window, "Two")
        assert branch_of(store)[-1].model == LARGER.name
        assert window.app.shelf.chosen is not None and window.app.shelf.chosen.path != LARGER.path


async def test_a_stopped_answer_goes_on_where_it_ended(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.ask("Count")
        window.pool.turns[0].say("one two")
        await window.until(lambda: "one two" in window.page)
        await window.pilot.press("escape")
        await window.ended()
        ids = branch_of(store)[-1].token_ids
        await window.command("/continue")
        await window.until(lambda: len(window.pool.turns) == 2)
        last = window.pool.turns[1].messages[-1]
        assert (last.content, last.token_ids) == ("one two", ids)
        window.pool.turns[1].restate()
        await answered(window, " three")
        (_, answer) = branch_of(store)
        assert (answer.content, answer.status) == ("one two three", "complete")
        assert "stopped" not in window.page


async def test_an_answer_to_which_nothing_is_added_says_so(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await asked(window, "Count", "one two")
        await window.command("/continue")
        await window.until(lambda: len(window.pool.turns) == 2)
        window.pool.turns[1].restate()
        window.pool.turns[1].finish()
        await window.until(lambda: "nothing to add" in window.notices)
        assert said(store) == ["Count", "one two"]


async def test_an_answer_that_dies_while_it_is_continued_keeps_all_it_had(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await asked(window, "Count", "one two", reason="length")
        await window.command("/continue")
        await window.until(lambda: len(window.pool.turns) == 2)
        window.pool.turns[1].die()
        await window.ended()
        answer = branch_of(store)[-1]
        assert (answer.content, answer.status, answer.token_ids) == ("one two", "interrupted", (100,))


async def test_a_branch_begins_after_any_message(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await asked(window, "One", "Two")
        await asked(window, "Three", "Four")
        await to_messages(window)
        await window.pilot.press("k", "k", "b")
        await window.until(lambda: said(store) == ["One", "Two"])
        await asked(window, "Five", "Six")
        assert said(store) == ["One", "Two", "Five", "Six"]
        await window.until(lambda: "‹ 2/2" in window.page)


async def test_a_message_is_deleted_with_what_follows_and_comes_back(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await asked(window, "One", "Two")
        await asked(window, "Three", "Four")
        before = branch_of(store)
        await to_messages(window)
        await window.pilot.press("k", "D")
        await window.until(lambda: said(store) == ["One", "Two"])
        await window.until(lambda: "Three" not in window.page)
        assert window.pool.forgotten == [f"conversation-{store.conversations()[0].id}"]  # models have read those words
        await window.pilot.press("u")
        await window.until(lambda: branch_of(store) == before)
        await window.until(lambda: "Four" in window.page)


async def test_letters_act_on_messages_only_where_the_messages_have_the_focus(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await asked(window, "One", "Two")
        window.composer.focus()
        await window.pilot.press(*"dredxb")
        assert window.composer.text == "dredxb" and said(store) == ["One", "Two"]
        assert len(window.pool.turns) == 1


async def test_copying_gives_the_markdown_the_text_or_the_code(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as window:
        await asked(window, "Code?", "Here is **some**:\n\n```python\nprint(1)\n```\n")
        await to_messages(window)
        for key, copied in (
            ("c", "Here is **some**:\n\n```python\nprint(1)\n```\n"),
            ("y", "print(1)"),
        ):
            await window.pilot.press(key)
            await window.until(lambda copied=copied: window.app.clipboard == copied)
        await window.pilot.press("C")
        await window.until(lambda: window.app.clipboard.startswith("Here is some:"))
        assert "print(1)" in window.app.clipboard and "```" not in window.app.clipboard


async def test_what_is_copied_last_is_what_is_pasted_however_slow_the_clipboard_is(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, held = threading.Event(), list[str]()

    def copy(text: str) -> bool:
        assert text != "One" or free.wait(PATIENCE)
        held.append(text)
        return text == "Two"  # the terminal is asked for the other one

    monkeypatch.setattr("app.tui.clipboard.copy", copy)
    async with opened() as window:
        window.app.copy_to_clipboard("One")
        window.app.copy_to_clipboard("Two")
        await window.pilot.pause()
        free.set()
        await window.until(lambda: len(held) == 2)
        assert held == ["One", "Two"] and window.app.clipboard == "Two"


async def test_a_quotation_goes_into_the_composer(opened: Opener) -> None:
    async with opened() as window:
        await asked(window, "One", "First line\n\nSecond line")
        window.composer.load_text("About this:")
        await to_messages(window)
        await window.pilot.press("q")
        await window.until(lambda: window.composer.has_focus)
        assert window.composer.text == "About this:\n\n> First line\n>\n> Second line\n\n"


async def test_a_link_opens_only_after_a_question(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[str] = []

    def follow(url: str) -> None:
        followed.append(url)

    monkeypatch.setattr("app.tui.links.open_link", follow)
    async with opened() as window:
        await asked(window, "Links?", "See [this](https://example.org/page) and [that](https://example.net/).")
        await to_messages(window)
        await window.pilot.press("o")
        await window.until(lambda: isinstance(window.app.screen, CommandPalette))
        await window.pilot.press("escape")
        window.app.chat.desks.messages.open_link("https://example.org/page")
        await window.until(lambda: isinstance(window.app.screen, Confirm) and "https://example.org/page" in window.page)
        await window.pilot.press("escape")
        assert not followed
        window.app.chat.desks.messages.open_link("https://example.org/page")
        await window.until(lambda: isinstance(window.app.screen, Confirm))
        await window.pilot.press("y")
        await window.until(lambda: followed == ["https://example.org/page"])
        window.app.chat.desks.messages.open_link("javascript:alert(1)")
        await window.pilot.pause()
        assert not isinstance(window.app.screen, Confirm) and len(followed) == 1


async def test_the_menu_of_a_message_says_what_can_be_done(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await asked(window, "One", "Two")
        await to_messages(window)
        await window.pilot.press("enter")
        await window.until(lambda: isinstance(window.app.screen, Menu) and "Answer again" in window.page)
        assert "no code here" in window.page
        await next_turn(window, "r")
        await answered(window, "Three")
        assert said(store) == ["One", "Three"]


async def test_another_token_is_chosen_and_the_answer_goes_on_from_there(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.ask("Why?")
        for word in ("w100 ", "w101 ", "w102 "):
            window.pool.turns[0].say(word)
        window.pool.turns[0].finish()
        await window.ended()
        await to_messages(window)
        await window.pilot.press("p")
        await window.until(lambda: isinstance(window.app.screen, Probabilities))
        await window.pilot.press("right")
        await window.until(lambda: "seven" in window.page and "w101" in window.page)
        await window.pilot.press("tab", "down", "enter")
        await window.until(lambda: len(window.pool.turns) == 2)
        last = window.pool.turns[1].messages[-1]
        assert (last.content, last.token_ids) == ("w100 seven ", (100, 7))
        window.pool.turns[1].restate()
        await answered(window, "and on")
        assert said(store)[-1] == "w100 seven and on"
        await window.until(lambda: "‹ 2/2" in window.page)


async def test_nothing_is_changed_under_an_answer_that_is_being_written(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await asked(window, "One", "Two")
        await window.ask("Three")
        window.pool.turns[1].say("Fo")
        await window.until(lambda: "Fo" in window.page)
        await to_messages(window)
        for key in "erxbDp":
            await window.pilot.press(key)
        assert "Press Esc to stop it first" in window.notices
        await answered(window, "ur")
        assert said(store) == ["One", "Two", "Three", "Four"] and len(window.pool.turns) == 2


async def test_words_are_found_in_the_conversation(opened: Opener, store: Store) -> None:
    converse(store, "Where is the word?", "\n\n".join(f"Paragraph {number}: the word." for number in range(60)))
    async with opened() as window:
        await window.until(lambda: "Paragraph 59" in window.page)
        await window.pilot.press("ctrl+f", *"WORD")
        await window.until(lambda: "of 61" in window.page)
        await window.pilot.press("enter")
        await window.pilot.press("escape")
        await window.until(lambda: window.composer.has_focus)
        await window.command("/find 17:")
        await window.until(lambda: "1 of 1" in window.page and "Paragraph 17" in window.page)


async def test_what_is_typed_right_behind_the_key_is_looked_for(opened: Opener, store: Store) -> None:
    converse(store, "Where is it?", "Here: needle.")
    async with opened() as window:
        await to_messages(window)
        window.app.post_message(events.Key("ctrl+f", None))
        for letter in "needle":
            window.app.post_message(events.Key(letter, letter))
        await window.until(lambda: "1 of 1" in window.page)
        assert window.composer.text == "" and said(store) == ["Where is it?", "Here: needle."]


async def test_two_models_answer_side_by_side_and_one_is_kept(opened: Opener, store: Store, tmp_path: Path) -> None:
    from app.tui.screens.comparing import Compare

    async with opened(size=(140, 40)) as window:
        await asked(window, "Which is larger?", "The first")
        await window.command("/compare Qwen")
        await window.until(lambda: isinstance(window.app.screen, Compare))
        await window.until(lambda: len(window.pool.turns) == 2)
        assert window.pool.turns[1].checkpoint == LARGER.path
        window.pool.turns[1].say("The second")
        await window.until(lambda: "The first" in window.page and "The second" in window.page)
        window.pool.turns[1].finish()
        await window.ended()
        await window.pilot.press("1")
        await window.until(lambda: not isinstance(window.app.screen, Compare))
        await window.until(lambda: said(store) == ["Which is larger?", "The first"])
        assert "1/2 ›" in window.page
