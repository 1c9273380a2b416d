"""What happens meanwhile: refusals of the store, other windows on it, work that ends late, and the window's end."""

import asyncio
import threading
from pathlib import Path

import pytest
from textual import events
from textual.message import Message as Post

from app.chat.store import Attachment, Draft, Message, Store
from app.errors import QuietlyError
from app.tui.screens.comparing import Compare
from app.tui.screens.menu import Menu
from app.tui.widgets.sidebar import Sidebar
from tests.app.tui.conftest import Opener, Window
from tests.app.tui.window import BROKEN, STARTER, FakeLibrary, FakePool, converse

HOSTILE = "before \x1b]0;title\x07 \x9b31m \u202e after"


def refuse(*_: object) -> None:
    raise QuietlyError("The file is held.")


async def answered(window: Window, text: str) -> None:
    window.pool.turns[-1].say(text)
    window.pool.turns[-1].finish()
    await window.ended()


def post_from_sidebar(window: Window, message: Post) -> None:
    sidebar = window.app.chat.query_one(Sidebar)
    sidebar.post_message(message.set_sender(sidebar))


# --- drafts ---


async def test_the_draft_of_the_empty_page_outlives_a_start_in_another_conversation(
    opened: Opener, store: Store
) -> None:
    converse(store, "First", "Answer")
    store.keep_draft(None, Draft("precious"))
    async with opened() as window:
        assert window.composer.text == ""
        await window.pilot.press("ctrl+n")
        await window.until(lambda: window.composer.text == "precious")


async def test_what_was_typed_right_before_the_end_is_kept(opened: Opener, store: Store) -> None:
    conversation = converse(store, "First", "Answer")
    async with opened() as window:
        await window.pilot.press(*"half a thought", "ctrl+q")
    assert store.draft(conversation) == Draft("half a thought")


async def test_a_draft_that_cannot_be_stored_comes_back_with_its_conversation(
    opened: Opener, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, first = converse(store, "Other", "Answer"), converse(store, "First", "Answer")
    async with opened() as window:
        await window.pilot.press(*"precious")
        with monkeypatch.context() as held:
            held.setattr(store, "keep_draft", refuse)
            window.app.chat.desks.conversations.open(other)
            await window.until(lambda: "The file is held." in window.notices and window.composer.text == "")
        window.app.chat.desks.conversations.open(first)
        await window.until(lambda: window.composer.text == "precious")


async def test_a_conversation_whose_draft_cannot_be_read_is_not_opened_over_another_text(
    opened: Opener, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = converse(store, "First", "Answer")
    async with opened() as window:
        await window.command("/temporary")
        await window.pilot.press(*"secret")
        with monkeypatch.context() as held:
            held.setattr(store, "draft", refuse)
            window.app.chat.desks.conversations.open(conversation)
            await window.until(lambda: "The file is held." in window.notices)
        room = window.app.chat.room
        assert (room.current, room.temporary, window.composer.text) == (None, True, "secret")
        window.app.chat.desks.conversations.open(conversation)
        await window.until(lambda: window.composer.text == "")
    assert store.draft(conversation) == Draft()


async def test_what_is_typed_in_a_temporary_chat_stays_there_while_a_question_is_being_stored(
    opened: Opener, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, ask = threading.Event(), store.ask

    def slowly(conversation: int, parent: int | None, content: str, attachments: tuple[Attachment, ...]) -> Message:
        free.wait(10)
        return ask(conversation, parent, content, attachments)

    monkeypatch.setattr(store, "ask", slowly)
    async with opened() as window:
        window.composer.load_text("A question")
        await window.pilot.press("enter")
        window.app.chat.desks.conversations.open(None, temporary=True)
        await window.pilot.press(*"secret")
        free.set()
        await window.until(lambda: window.pool.turns)
        await answered(window, "An answer")
        assert window.composer.text == "secret" and window.app.chat.room.temporary
    assert store.draft(None) == Draft()
    assert [store.draft(one.id) for one in store.conversations()] == [Draft()]


async def test_a_question_waits_for_the_file_that_goes_along(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    import app.attaching

    free = asyncio.Event()

    async def slowly(path: Path) -> Attachment:
        await free.wait()
        return Attachment(path.name, "swordfish")

    monkeypatch.setattr(app.attaching, "read", slowly)
    async with opened() as window:
        await window.command("/attach /notes.txt")
        window.composer.load_text("What is the password?")
        await window.pilot.press("enter")
        await window.until(lambda: "still being read" in window.notices)
        assert not window.pool.turns and window.composer.text == "What is the password?"
        free.set()
        await window.until(lambda: "notes.txt" in window.page)
        await window.ask("What is the password?")
        assert "swordfish" in window.pool.turns[-1].messages[-1].content
        await answered(window, "It is swordfish.")


# --- hostile text in the composer ---


@pytest.mark.parametrize("key", ["e", "q"])
async def test_a_models_text_in_the_composer_is_as_harmless_as_in_the_transcript(
    opened: Opener, store: Store, key: str
) -> None:
    converse(store, "Question", HOSTILE)
    async with opened() as window:
        await window.pilot.press("ctrl+t", key)
        await window.until(lambda: "after" in window.composer.text)
        assert not set(window.composer.text) & set("\x1b\x07\x9b\u202e")
    assert store.branch(store.conversations()[0].id)[-1].content == HOSTILE


async def test_a_long_paste_and_a_draft_from_the_file_are_harmless_too(opened: Opener, store: Store) -> None:
    conversation = converse(store, "Question", "Answer")
    store.keep_draft(conversation, Draft(HOSTILE))
    async with opened() as window:
        await window.until(lambda: "after" in window.composer.text)
        window.composer.post_message(events.Paste(f"{HOSTILE}\n" * 400))
        await window.until(lambda: isinstance(window.app.screen, Menu))
        await window.pilot.press("i")
        await window.until(lambda: window.composer.text.count("after") == 401)
        assert not set(window.composer.text) & set("\x1b\x07\x9b\u202e")


# --- what is refused, and what another window has deleted ---


async def test_an_answer_is_written_on_where_its_conversation_cannot_be_deleted(
    opened: Opener, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as window:
        await window.ask("Question")
        monkeypatch.setattr(store, "remove_conversation", refuse)
        await window.command("/delete")
        await window.until(lambda: "The file is held." in window.notices)
        await answered(window, "All of it")
        last = store.branch(store.conversations()[0].id)[-1]
        assert (last.status, last.content) == ("complete", "All of it")


@pytest.mark.parametrize("ask", [Sidebar.MenuAsked, Sidebar.RenameAsked, Sidebar.DeleteAsked, Sidebar.PinAsked])
async def test_a_row_of_a_conversation_that_is_gone_says_so(
    opened: Opener, store: Store, ask: type[Sidebar.MenuAsked]
) -> None:
    gone = converse(store, "Gone", "Answer")
    converse(store, "Here", "Answer")
    async with opened() as window:
        store.delete(gone)
        post_from_sidebar(window, ask(gone))
        await window.until(lambda: "is not here" in window.notices)
        assert window.app.screen is window.app.chat


async def test_an_answer_may_end_after_another_window_has_deleted_its_conversation(
    opened: Opener, store: Store
) -> None:
    async with opened() as window:
        await window.ask("Question")
        await window.pilot.press("ctrl+n")
        with Store.open(store.path) as other:
            other.remove_conversation(other.conversations()[0].id)
        await answered(window, "Nobody reads it")
        await window.until(lambda: "could not be saved" in window.notices)
        await window.until(lambda: "Question" not in window.page)


# --- answers and engines ---


async def test_an_answer_that_is_stopped_before_it_took_a_step_ends(opened: Opener, store: Store) -> None:
    conversation = converse(store, "Question", "Answer")
    async with opened() as window:
        answer = await window.app.conductor.answer(store.branch(conversation)[0], window.app.shelf.models[0])
        window.app.conductor.stop(conversation)
        await window.ended()
        assert store.branch(conversation)[-1].id == answer.id
        assert store.branch(conversation)[-1].status == "stopped"


async def test_looking_into_an_answer_waits_aside_for_a_busy_engine(opened: Opener, store: Store) -> None:
    async with opened() as window:
        await window.ask("First")
        await answered(window, "Answer")
        first = window.app.chat.room.current
        await window.pilot.press("ctrl+n")
        await window.ask("Second")
        window.app.chat.desks.conversations.open(first)
        await window.pilot.press("ctrl+t", "p")
        await window.until(lambda: "Reading the answer again" in window.notices)
        await window.pilot.press("ctrl+n")
        await window.until(lambda: window.app.chat.room.current is None)
        await answered(window, "Answer")
        await window.until(lambda: all(one.is_finished for one in window.app.workers))
        assert window.app.screen is window.app.chat  # whoever has gone on is not interrupted


async def test_a_model_that_cannot_answer_is_not_asked_again_with(opened: Opener) -> None:
    async with opened(library=FakeLibrary(STARTER, BROKEN)) as window:
        await window.ask("Question")
        await answered(window, "Answer")
        await window.command("/with broken")
        await window.until(lambda: "has no config.json" in window.notices)
        assert len(window.pool.turns) == 1


async def test_side_by_side_shows_an_answer_that_failed_before_the_other_had_begun(
    opened: Opener, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, begin, failed = FakePool(), store.begin_answer, threading.Event()

    def after_the_first(conversation: int, parent: int, model: str, settings: dict[str, object]) -> Message:
        if model != STARTER.name:
            failed.wait(10)
        return begin(conversation, parent, model, settings)

    async with opened(pool=pool) as window:
        await window.ask("Question")
        pool.turns[-1].finish()  # without a word: the side by side begins with a new answer of this model too
        await window.ended()
        monkeypatch.setattr(store, "begin_answer", after_the_first)
        pool.refuses[STARTER.path] = "starter is broken."
        pool.known.clear()
        await window.command("/compare Qwen")
        await window.until(
            lambda: any(one.status == "failed" for one in store.children(1, store.conversations()[0].id))
        )
        await window.ended()
        failed.set()
        await window.until(lambda: isinstance(window.app.screen, Compare) and "starter is broken." in window.page)
        await answered(window, "Answer")


async def test_an_answer_beside_which_no_other_can_begin_is_shown(
    opened: Opener, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = store.begin_answer

    def only_the_first(conversation: int, parent: int, model: str, settings: dict[str, object]) -> Message:
        if model != STARTER.name:
            refuse()
        return begin(conversation, parent, model, settings)

    async with opened() as window:
        await window.ask("Question")
        window.pool.turns[-1].finish()
        await window.ended()
        monkeypatch.setattr(store, "begin_answer", only_the_first)
        await window.command("/compare Qwen")
        await window.until(lambda: "The file is held." in window.notices)
        window.pool.turns[-1].say("Words in sight")
        await window.until(lambda: "Words in sight" in window.page)
        window.pool.turns[-1].finish()
        await window.ended()


async def test_a_key_held_down_begins_one_answer(opened: Opener, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    free, begin = threading.Event(), store.begin_answer

    def slowly(conversation: int, parent: int, model: str, settings: dict[str, object]) -> Message:
        free.wait(10)
        return begin(conversation, parent, model, settings)

    async with opened() as window:
        await window.ask("Question")
        await answered(window, "Answer")
        monkeypatch.setattr(store, "begin_answer", slowly)
        await window.pilot.press("ctrl+t", "r", "r")
        free.set()
        await window.until(lambda: len(window.pool.turns) == 2)
        await answered(window, "Another")
        assert len(store.children(1, store.conversations()[0].id)) == 2


async def test_undo_waits_for_an_answer_in_the_same_conversation(opened: Opener, store: Store) -> None:
    conversation = converse(store, "First", "Old answer")
    async with opened() as window:
        await window.pilot.press("ctrl+t", "D")
        await window.until(lambda: "Deleted the answer" in window.notices)
        await window.ask("Second")
        await window.command("/undo")
        await window.until(lambda: "Undo again when it has ended" in window.notices)
        await answered(window, "New answer")
        assert store.branch(conversation)[-1].content == "New answer"
        await window.command("/undo")
        await window.until(lambda: store.branch(conversation)[-1].content == "Old answer")
