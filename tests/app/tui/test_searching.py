"""Searching all conversations at the window: what was typed is found while it is typed, and opens where it was said."""

import msgspec
from textual.widgets import Input, OptionList

from app.chat.search import Found, Hit
from app.tui.screens.searching import Looked, SearchScreen
from app.tui.widgets.find_bar import FindBar
from tests.app.tui.conftest import Opener, Window
from tests.app.tui.window import converse


async def search(window: Window, typed: str, shows: str) -> SearchScreen:
    """Open the search, type, and wait until something stands there."""
    await window.pilot.press("ctrl+l")
    await window.pilot.press(*typed)
    await window.until(lambda: shows in window.page)
    screen = window.app.screen
    assert isinstance(screen, SearchScreen)
    return screen


async def test_words_are_found_in_any_conversation_and_open_at_their_message(opened: Opener, store) -> None:
    far = converse(store, "A trip to 東京 in May", "Take the train.\n\nAnd rest, said the old heron.")
    for number in range(30):
        converse(store, f"Question {number} about herrings", f"Answer {number}")
    async with opened() as window:
        await search(window, "heron", "said the old heron")
        assert "A trip to 東京" in window.page
        await window.pilot.press("enter")
        await window.until(lambda: window.app.chat.room.current == far)
        await window.until(lambda: window.app.chat.query_one(FindBar).is_open)
        assert window.app.chat.room.transcript.current == store.branch(far)[-1].id
        assert window.app.chat.query_one(FindBar).query_one(Input).value == "heron"
        await window.until(lambda: "1 of 1" in window.page)


async def test_where_there_is_little_room_the_title_gives_way_to_whose_words_they_are(opened: Opener, store) -> None:
    converse(store, "A long question about herons, herrings, their homes and their habits", "The heron waits.")
    async with opened(size=(60, 18)) as window:
        await window.pilot.press("ctrl+l")
        await window.until(lambda: "…  Today" in window.page and "model:qwen " in window.page)
        assert "after" not in window.page
        await window.pilot.press(*"heron")
        await window.until(lambda: "…  the title" in window.page)
        assert "…  starter · Today" in window.page and "…  you · Today" in window.page


async def test_words_of_two_characters_without_gaps_are_found(opened: Opener, store) -> None:
    converse(store, "我想学习日语", "好的", title="Japanese")
    async with opened() as window:
        await search(window, "学习", "one place")
        assert "我想学习日语" in window.page


async def test_a_message_of_another_branch_is_brought_into_view(opened: Opener, store) -> None:
    conversation = converse(store, "Tell me of whales", "They sing.")
    question, sung = store.branch(conversation)
    other = store.add_answer(conversation, question.id, "They dive.", "starter")
    assert store.branch(conversation)[-1].id == other.id
    async with opened() as window:
        await search(window, "sing", "They sing")
        await window.pilot.press("enter")
        await window.until(lambda: window.app.chat.room.transcript.current == sung.id)
        assert "They sing." in window.page
        assert "They dive." not in window.page


async def test_another_branch_waits_while_an_answer_is_written(opened: Opener, store) -> None:
    conversation = converse(store, "Tell me of whales", "They sing.")
    store.add_answer(conversation, store.branch(conversation)[0].id, "They dive.", "starter")
    async with opened() as window:
        await window.ask("And of seals?")
        before = [message.id for message in store.branch(conversation)]
        await search(window, "sing", "They sing")
        await window.pilot.press("enter")
        await window.until(lambda: "Press Esc to stop it" in window.notices)
        assert [message.id for message in store.branch(conversation)] == before
        window.pool.turns[-1].say("They bark.")
        window.pool.turns[-1].finish()
        await window.ended()
        assert "They bark." in window.page


async def test_who_is_on_the_way_down_the_list_stays_there_while_more_is_found(opened: Opener) -> None:
    hits = [Hit(n, f"Title {n}", n, "user", None, 0.0, "content", "a heron", ((2, 7),)) for n in (1, 2, 3)]
    async with opened() as window:
        screen = SearchScreen(
            [], lambda _: Looked(Found(tuple(hits), False), 1), lambda: None, lambda _: "Today", "heron"
        )
        window.app.push_screen(screen)
        await window.until(lambda: "Title 3" in window.page)
        await window.pilot.press("down")
        hits.insert(0, msgspec.structs.replace(hits[0], title="Title 0", message=4))
        await window.until(lambda: "Title 0" in window.page)
        options = screen.query_one(OptionList)
        assert options.highlighted == 2 and "Title 2" in str(options.highlighted_option.prompt)


async def test_without_words_the_conversations_stand_there_newest_first(opened: Opener, store) -> None:
    first = converse(store, "The older one", "Yes.")
    converse(store, "The newer one", "Yes.")
    async with opened() as window:
        screen = await search(window, "", "after:2026")
        assert [option.prompt.plain.split("  ")[0] for option in screen.query_one(OptionList).options] == [
            "The newer one",
            "The older one",
        ]
        await window.pilot.press("down", "enter")
        await window.until(lambda: window.app.chat.room.current == first)
        assert not window.app.chat.query_one(FindBar).is_open


async def test_what_was_just_said_is_found(opened: Opener) -> None:
    async with opened() as window:
        await window.ask("Where do ptarmigans live?")
        window.pool.turns[-1].say("In the north.")
        window.pool.turns[-1].finish()
        await window.ended()
        await search(window, "ptarm", "2 places")


async def test_enter_right_behind_the_words_waits_for_them(opened: Opener, store) -> None:
    wanted = converse(store, "A heron", "Yes.")
    converse(store, "A stork", "Yes.")
    async with opened() as window:
        await window.pilot.press("ctrl+l", *"heron", "enter")
        await window.until(lambda: window.app.chat.room.current == wanted)


async def test_it_says_when_nothing_is_found_and_leaves_things_as_they_were(opened: Opener, store) -> None:
    converse(store, "A heron", "Yes.")
    async with opened() as window:
        before = window.app.chat.room.current
        await search(window, "flamingo", "nothing found")
        await window.pilot.press("enter", "escape")
        await window.pilot.pause()
        assert window.app.screen is window.app.chat
        assert window.app.chat.room.current == before


ANYTHING = ('"', "(", "a* OR", "-", "model:", "after:never", "NEAR(a b)", "content:x", "^")


async def test_anything_may_be_typed(opened: Opener, store) -> None:
    converse(store, "A heron", "Yes.")
    async with opened() as window:
        await window.command("/search heron")
        await window.until(lambda: "2 places" in window.page)
        screen = window.app.screen
        for typed in ANYTHING:
            screen.query_one(Input).value = typed
            await window.until(lambda: screen._looking is None or screen._soon is not None)
            await window.until(lambda: screen._looking is not None and screen._looking.done())
            assert screen.query_one(Input).value == typed
        assert not window.notices


async def test_hostile_words_are_shown_as_they_are(opened: Opener, store) -> None:
    converse(store, "[bold]markup[/bold] \x1b]0;x\x07 heron", "Yes.")
    async with opened() as window:
        await search(window, "heron", "[bold]markup[/bold]")
        assert "\x1b]0" not in window.page


async def test_a_day_that_never_was_is_said_once_it_is_written_out(opened: Opener, store) -> None:
    converse(store, "A heron", "Yes.")
    async with opened(size=(50, 20)) as window:
        await window.command("/search heron after:2026-13-4")
        await window.until(lambda: "2 places" in window.page)
        await window.pilot.press("end", "5")
        await window.until(lambda: "2026-13-45 is no day; write one that there" in window.page)
        assert "is, as 2026-01-31." in window.page
        assert window.app.screen.query_one(OptionList).option_count == 0
        await window.pilot.press("backspace")
        await window.until(lambda: "2 places" in window.page and "no day" not in window.page)
