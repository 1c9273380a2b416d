"""Talking: what is asked is stored first, what comes is stored as it comes, nothing that ends an answer loses it."""

import threading
from pathlib import Path

import pytest
from textual import events
from textual.message import Message as Post

from app.chat.failures import HeldError
from app.chat.store import Store
from app.conducting.lives import AnswerEnded
from app.errors import QuietlyError
from app.tui.screens.chat import ChatScreen
from app.tui.widgets.composer import Composer
from app.tui.widgets.model_rows import ModelRows
from tests.app.tui.conftest import Opener, Window
from tests.app.tui.window import BROKEN, LARGER, STARTER, FakeLibrary, FakePool, converse


async def test_an_answer_streams_and_is_stored_with_what_it_took(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.ask("What is the capital of France?")
        question, answer = store.branch(store.conversations()[0].id)
        assert (question.content, answer.status) == ("What is the capital of France?", "writing")
        turn = window.pool.turns[0]
        turn.read(8, 12)
        await window.until(lambda: "reading the prompt 8 of 12" in window.page)
        turn.say("It is ")
        turn.say("Paris.")
        await window.until(lambda: "It is Paris." in window.page)
        await window.until(lambda: store.branch(question.conversation)[1].content == "It is Paris.")
        turn.finish()
        await window.ended()
        answer = store.branch(question.conversation)[1]
        assert (answer.content, answer.status, answer.token_ids) == ("It is Paris.", "complete", (100, 101))
        assert answer.fingerprint == "print of starter.gguf"
        assert "2.0 tok/s · TTFT 0.25 s" in window.page
        assert "ctx 14 / 8,192" in window.page


async def test_the_next_question_carries_the_whole_branch_with_exact_tokens(opened: Opener) -> None:
    async with opened() as window:
        await window.ask("One?")
        window.pool.turns[0].say("Two.")
        window.pool.turns[0].finish()
        await window.ended()
        await window.ask("Three?")
        sent = window.pool.turns[1].messages
        assert [(message.role, message.content) for message in sent] == [
            ("user", "One?"),
            ("assistant", "Two."),
            ("user", "Three?"),
        ]
        assert (sent[1].token_ids, sent[1].model) == ((100,), "print of starter.gguf")
        assert window.pool.turns[0].session == window.pool.turns[1].session
        window.pool.turns[1].finish()
        await window.ended()


async def test_escape_stops_and_keeps_what_there_is(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.ask("Tell me a long story")
        window.pool.turns[0].say("Once upon a time")
        await window.until(lambda: "Once upon" in window.page)
        await window.pilot.press("escape")
        await window.ended()
        answer = store.branch(store.conversations()[0].id)[1]
        assert (answer.content, answer.status) == ("Once upon a time", "stopped")
        assert "stopped" in window.page


async def test_ctrl_c_stops_an_answer_before_it_quits(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.ask("Tell me")
        window.pool.turns[0].say("Well")
        await window.pilot.press("ctrl+c")
        await window.ended()
        assert store.branch(store.conversations()[0].id)[1].status == "stopped"
        await window.pilot.press("ctrl+c", "ctrl+c")
        await window.until(lambda: window.app._exit)


async def test_a_dead_engine_leaves_the_window_and_the_partial_answer(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.ask("Hello?")
        window.pool.turns[0].say("Half an ans")
        await window.until(lambda: "Half an ans" in window.page)
        window.pool.turns[0].die()
        await window.ended()
        answer = store.branch(store.conversations()[0].id)[1]
        assert (answer.content, answer.status) == ("Half an ans", "interrupted")
        assert "The engine stopped unexpectedly; ask again." in window.page
        await window.ask("Once more?")
        assert [message.content for message in window.pool.turns[1].messages][1] == "Half an ans"
        window.pool.turns[1].finish()
        await window.ended()


async def test_a_refused_question_stays_and_is_asked_together_with_the_next(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.ask("First")
        window.pool.turns[0].fail("The prompt is longer than the context; shorten it.")
        await window.ended()
        assert store.branch(store.conversations()[0].id)[1].status == "failed"
        assert "longer than the context" in window.page
        await window.ask("Second")
        assert [(message.role, message.content) for message in window.pool.turns[1].messages] == [
            ("user", "First\n\nSecond")
        ]
        window.pool.turns[1].finish()
        await window.ended()


async def test_a_model_that_cannot_be_loaded_says_so_and_loses_no_question(opened: Opener, store: Store) -> None:
    pool = FakePool()
    pool.refuses[Path("/models/starter.gguf")] = "starter: the file ends early; get it again."
    async with opened(pool=pool) as window:
        await window.until(lambda: "ends early" in window.notices)
        window.composer.load_text("Are you there?")
        await window.pilot.press("enter")
        await window.until(lambda: any(len(store.branch(record.id)) == 2 for record in store.conversations()))
        await window.ended()
        question, answer = store.branch(store.conversations()[0].id)
        assert (question.content, answer.status) == ("Are you there?", "failed")
        assert "ends early" in answer.note


async def test_text_sent_while_an_answer_is_written_stays_in_the_composer(opened: Opener) -> None:
    async with opened() as window:
        await window.ask("One")
        window.composer.load_text("Two")
        await window.pilot.press("enter")
        assert window.composer.text == "Two"
        assert "An answer is being written" in window.notices
        window.pool.turns[0].finish()
        await window.ended()


async def test_a_command_that_has_to_wait_for_an_answer_stays_in_the_composer(opened: Opener) -> None:
    waiting = "/compare Qwen", "/with Qwen", "/again", "/continue", "/edit", "/branch", "/why", "/delete-everything"
    async with opened() as window:
        await window.ask("One")
        window.pool.turns[0].say("Words")
        await window.until(lambda: "Words" in window.page)
        for typed in waiting:
            await declined(window, typed, "An answer is being written")
        window.pool.turns[0].finish()
        await window.ended()


async def test_a_command_that_nothing_can_be_done_with_stays_in_the_composer(opened: Opener) -> None:
    useless = {
        "/rename A title": "no conversation yet",
        "/compare Qwen": "Ask something first",
        "/copy": "no message yet",
        "/undo": "nothing to bring back",
        "/template greeting": "no template yet",
        "/system terse": "No system prompt is kept yet",
        "/model broken": "has no config.json",
    }
    async with opened(library=FakeLibrary(STARTER, BROKEN)) as window:
        for typed, why in useless.items():
            await declined(window, typed, why)


async def declined(window: Window, typed: str, why: str) -> None:
    """Type a command that is not carried out: it says why, and stands there still."""
    window.app.clear_notifications()
    await window.command(typed)
    await window.until(lambda: why in window.notices)
    await window.until(lambda: window.composer.text == f"{typed} ")
    window.composer.load_text("")


async def test_a_command_that_the_store_refuses_stays_above_what_was_typed_meanwhile(
    opened: Opener, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    converse(store, "First", "Answer")

    def refuse(*_: object) -> None:
        window.composer.insert("And then")
        raise QuietlyError("The file is held.")

    async with opened() as window:
        monkeypatch.setattr(store, "remove_conversation", refuse)
        await window.command("/delete")
        await window.until(lambda: "The file is held." in window.notices)
        await window.until(lambda: window.composer.text == "/delete \nAnd then")
        assert window.composer.cursor_at_end_of_text


async def test_a_question_sent_just_before_the_end_of_an_answer_is_shown_follows_that_answer(
    opened: Opener, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as window:
        await window.ask("One")
        window.composer.load_text("Two")
        post = window.app.chat.post_message

        def behind_the_question(message: Post) -> bool:
            if isinstance(message, ChatScreen.Heard) and isinstance(message.news, AnswerEnded):
                post(Composer.Submitted("Two").set_sender(window.composer))
            return post(message)

        with monkeypatch.context() as quick:
            quick.setattr(window.app.chat, "post_message", behind_the_question)
            window.pool.turns[0].say("An answer")
            window.pool.turns[0].finish()
            await window.until(lambda: len(window.pool.turns) == 2 or window.notices)
        assert window.notices == ""
        assert [one.content for one in window.pool.turns[1].messages] == ["One", "An answer", "Two"]
        window.pool.turns[1].finish()
        await window.ended()


async def test_an_answer_goes_on_in_the_background_and_is_live_when_one_returns(opened: Opener, store: Store) -> None:
    other = converse(store, "Something else", "An old answer")
    async with opened() as window:
        await window.pilot.press("ctrl+n")
        await window.ask("Long one")
        first = window.app.conductor.lives[0].conversation
        window.pool.turns[0].say("Begun")
        await window.until(lambda: "Begun" in window.page)
        window.app.chat.desks.conversations.open(other)
        await window.until(lambda: "An old answer" in window.page)
        window.pool.turns[0].say(" and continued")
        await window.until(lambda: store.branch(first)[1].content == "Begun and continued")
        assert "continued" not in window.page
        window.app.chat.desks.conversations.open(first)
        await window.until(lambda: "Begun and continued" in window.page)
        window.pool.turns[0].say(" to the end.")
        await window.until(lambda: "to the end." in window.page)
        window.app.chat.desks.conversations.open(other)
        window.pool.turns[0].finish()
        await window.ended()
        assert store.branch(first)[1].status == "complete"


async def test_two_conversations_are_answered_one_after_the_other(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.ask("First")
        await window.pilot.press("ctrl+n")
        window.composer.load_text("Second")
        await window.pilot.press("enter")
        await window.until(lambda: len(window.app.conductor.lives) == 2)
        await window.until(lambda: "waiting for the engine" in window.page)
        assert len(window.pool.turns) == 1
        window.pool.turns[0].finish()
        await window.until(lambda: len(window.pool.turns) == 2)
        window.pool.turns[1].say("Now")
        window.pool.turns[1].finish()
        await window.ended()
        assert [store.branch(one.id)[1].status for one in store.conversations()] == ["complete", "complete"]


async def test_a_waiting_question_can_be_stopped(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.ask("First")
        await window.pilot.press("ctrl+n")
        window.composer.load_text("Second")
        await window.pilot.press("enter")
        await window.until(lambda: len(window.app.conductor.lives) == 2)
        await window.pilot.press("escape")
        await window.until(lambda: len(window.app.conductor.lives) == 1)
        assert store.branch(store.conversations()[0].id)[-1].status == "stopped"
        window.pool.turns[0].finish()
        await window.ended()


async def test_switching_the_model_applies_to_the_next_answer_and_the_next_start(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.ask("One")
        window.pool.turns[0].finish()
        await window.ended()
        window.app.chat.query_one(ModelRows).focus()
        await window.pilot.press("down", "enter")
        await window.until(lambda: LARGER.path in window.pool.known)
        await window.ask("Two")
        assert window.pool.turns[1].checkpoint == LARGER.path
        window.pool.turns[1].say("From the larger one")
        window.pool.turns[1].finish()
        await window.ended()
        assert store.branch(store.conversations()[0].id)[-1].model == LARGER.name
    async with opened() as window:
        assert window.app.shelf.chosen == LARGER


async def test_quitting_in_the_middle_stores_what_came_and_closes_the_engines(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.ask("One")
        window.pool.turns[0].say("Partial")
        await window.until(lambda: "Partial" in window.page)
        await window.pilot.press("ctrl+q")
    answer = store.branch(store.conversations()[0].id)[1]
    assert (answer.content, answer.status) == ("Partial", "interrupted")
    assert window.pool.closed


async def test_an_engine_that_does_not_stop_is_left_behind(
    opened: Opener, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.conducting.turns.PATIENCE", 0.05)
    async with opened() as window:
        await window.ask("One")
        monkeypatch.setattr(window.pool.turns[0], "stop", lambda: None)
        window.pool.turns[0].say("Stuck")
        await window.until(lambda: "Stuck" in window.page)
        await window.pilot.press("escape")
        await window.ended()
        assert store.branch(store.conversations()[0].id)[1].status == "stopped"


def strike(window: Window, *keys: str) -> None:
    """Keys that arrive together, as from a fast hand on a busy machine."""
    for key in keys:
        window.app.post_message(events.Key(key, key if len(key) == 1 else None))


async def test_enter_pressed_twice_sends_once(opened: Opener, store: Store) -> None:
    async with opened() as window:
        strike(window, "H", "i", "enter", "enter")
        await window.until(lambda: window.pool.turns)
        window.pool.turns[0].finish()
        await window.ended()
        assert [message.content for message in store.branch(store.latest().id)] == ["Hi", ""]
        assert window.notices == ""


async def test_what_is_typed_right_behind_a_key_goes_where_the_key_leads(opened: Opener, store: Store) -> None:
    converse(store, "Old", "Older")
    async with opened() as window:
        strike(window, "ctrl+n", "H", "e", "backspace", "i", "enter")
        await window.until(lambda: window.pool.turns)
        window.pool.turns[0].finish()
        await window.ended()
        assert [len(store.branch(one.id)) for one in store.conversations()] == [2, 2]
        assert store.branch(store.latest().id)[0].content == "Hi"
        assert window.composer.text == ""


async def test_the_window_goes_on_while_the_disk_takes_its_time(
    opened: Opener, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, ask = threading.Event(), store.ask
    monkeypatch.setattr(store, "ask", lambda *given: free.wait(10) and ask(*given))
    async with opened() as window:
        window.composer.load_text("First")
        await window.pilot.press("enter", "enter", "x")
        assert window.composer.text == "xFirst" or window.composer.text == "Firstx"
        assert not window.pool.turns
        free.set()
        await window.until(lambda: window.pool.turns)
        assert len(window.pool.turns) == 1
        window.pool.turns[0].finish()
        await window.ended()


async def test_a_file_that_is_held_for_a_while_costs_no_answer(
    opened: Opener, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, tries = store.finish, []

    def held_twice(*given: object, **more: object) -> object:
        tries.append(given)
        if len(tries) < 3:
            raise HeldError("The file is held by another program.")
        return finish(*given, **more)

    monkeypatch.setattr(store, "finish", held_twice)
    async with opened() as window:
        await window.ask("Hello?")
        window.pool.turns[0].say("Yes.")
        window.pool.turns[0].finish()
        await window.ended()
        answer = store.branch(store.latest().id)[1]
        assert (answer.content, answer.status) == ("Yes.", "complete")
        assert window.notices == ""


async def test_an_answer_that_cannot_be_saved_is_said_once_and_stays_on_the_page(
    opened: Opener, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object, **more: object) -> object:
        raise QuietlyError("The disk is full.")

    monkeypatch.setattr(store, "finish", full)
    monkeypatch.setattr(store, "write", full)
    async with opened() as window:
        await window.ask("Hello?")
        window.pool.turns[0].say("Words to keep")
        await window.ended()
        await window.until(lambda: "could not be saved" in window.notices)
        assert window.notices.count("could not be saved") == 1
        assert "Words to keep" in window.page
