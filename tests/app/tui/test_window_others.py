"""A window beside another one: what it sends follows what it shows, and it learns what the other has done."""

from textual.events import AppBlur, AppFocus

from app.chat.store import Store
from tests.app.tui.conftest import Opener, Window
from tests.app.tui.window import converse


def ask_elsewhere(store: Store, conversation: int, question: str, answer: str) -> None:
    """What another window stores where a question is asked there and answered."""
    with Store.open(store.path) as other:
        asked = other.ask(conversation, other.conversation(conversation).head, question)
        begun = other.begin_answer(conversation, asked.id, "starter", {})
        other.finish(begun.id, "complete", answer=answer)


async def answered(window: Window, text: str) -> None:
    window.pool.turns[-1].say(text)
    window.pool.turns[-1].finish()
    await window.ended()


async def test_a_question_is_a_version_beside_one_that_another_window_has_asked(opened: Opener, store: Store) -> None:
    conversation = converse(store, "Begin", "Begun")
    async with opened() as window:
        ask_elsewhere(store, conversation, "Theirs", "Never seen here")
        await window.ask("Mine")
        assert [one.content for one in window.pool.turns[-1].messages] == ["Begin", "Begun", "Mine"]
        await answered(window, "An answer")
        await window.until(lambda: "‹ 2/2" in window.page)
        assert "Theirs" not in window.page
        await window.ask("More")
        assert [one.content for one in window.pool.turns[-1].messages][2:] == ["Mine", "An answer", "More"]
        await answered(window, "Another")
    assert {"Theirs", "Never seen here", "Mine", "More"} < {one.content for one in store.whole(conversation)}


async def test_words_that_another_window_has_added_are_shown_before_anything_is_sent(
    opened: Opener, store: Store
) -> None:
    conversation = converse(store, "Begin", "Begun")
    async with opened() as window:
        with Store.open(store.path) as other:
            answer = other.resume(other.branch(conversation)[-1].id, "starter", {})
            other.finish(answer.id, "complete", answer="Begun, and gone on")
        window.composer.load_text("Mine")
        await window.pilot.press("enter")
        await window.until(lambda: "has other words now" in window.notices and "and gone on" in window.page)
        assert window.composer.text == "Mine" and not window.pool.turns
        await window.ask("Mine")
        assert [one.content for one in window.pool.turns[-1].messages] == ["Begin", "Begun, and gone on", "Mine"]
        await answered(window, "An answer")


async def test_a_conversation_that_another_window_has_deleted_is_called_by_its_title(
    opened: Opener, store: Store
) -> None:
    conversation = converse(store, "Begin", "Begun", title="The blue sky")
    async with opened() as window:
        with Store.open(store.path) as other:
            other.remove_conversation(conversation)
        window.composer.load_text("Mine")
        await window.pilot.press("enter")
        await window.until(lambda: "“The blue sky” is not here" in window.notices)
        assert window.composer.text == "Mine"
        await window.until(lambda: "Conversation 1" not in window.notices)


async def test_what_is_in_view_stays_though_another_window_has_deleted_it_or_what_is_to_be_opened(
    opened: Opener, store: Store
) -> None:
    gone = converse(store, "Old", "Older", title="The green sea")
    here = converse(store, "Begin", "Begun", title="The blue sky")
    async with opened() as window:
        with Store.open(store.path) as other:
            other.remove_conversation(gone)
        window.app.chat.desks.conversations.open(gone)
        await window.until(lambda: "“The green sea” is not here" in window.notices)
        await window.until(lambda: "The green sea" not in window.page)
        assert window.app.chat.room.current == here and "Begun" in window.page
        with Store.open(store.path) as other:
            other.remove_conversation(here)
        await window.command("/continue")
        await window.until(lambda: "“The blue sky” is not here" in window.notices)
        assert "Begun" in window.page


async def test_a_window_that_is_returned_to_lists_what_another_one_has_begun(opened: Opener, store: Store) -> None:
    converse(store, "Begin", "Begun")
    async with opened() as window:
        with Store.open(store.path) as other:
            other.create(title="From elsewhere")
        assert "From elsewhere" not in window.page
        window.app.post_message(AppBlur())
        window.app.post_message(AppFocus())
        await window.until(lambda: "From elsewhere" in window.page)
        await window.ask("Mine")  # it may be written in at once
        await answered(window, "An answer")
