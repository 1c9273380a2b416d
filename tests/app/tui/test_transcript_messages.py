"""What can be done with a message of the transcript: choosing it, its versions, its menu, links and selection."""

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.style import Style

from app.tui.markdown.rows import cells
from app.tui.markdown.spots import spots
from app.tui.widgets.message import Entry, render
from app.tui.widgets.transcript import Transcript
from tests.app.tui.transcripts import CODE, Window, answer, conversation, drag, painted, question

LINKS = "See [the docs](https://docs.example) and [x](ftp://x.example), [again](https://docs.example)."


def marked(app: Window) -> list[int]:
    """The lines of the window at which the sign of the current message stands."""
    return [line for line, row in enumerate(app.rows()) if row.startswith("❯")]


async def test_the_heading_shows_the_version_and_leaves_out_the_arrow_that_leads_nowhere() -> None:
    versions = [replace(answer(key, "So."), place=(key, 3)) for key in (1, 2, 3)]
    app = Window([*versions, replace(answer(4, "So."), edited=True)])
    async with app.run_test(size=(60, 18)):
        headings = [row.split() for row in app.rows() if "model" in row]
        assert headings == [
            ["model", "1/3", "›", "⋯"],
            ["model", "‹", "2/3", "›", "⋯"],
            ["model", "‹", "3/3", "⋯"],
            ["model", "edited", "⋯"],
        ]


async def test_a_click_on_an_arrow_asks_for_the_version_and_one_on_the_dots_for_the_menu() -> None:
    app = Window([replace(answer(7, "So."), place=(2, 3))])
    async with app.run_test(size=(60, 18)) as pilot:
        for sign in "‹›⋯":
            await pilot.click(Transcript, offset=app.at(sign))
        assert app.asked == [("branch", 7, -1), ("branch", 7, 1), ("menu", 7)]


async def test_left_right_and_enter_act_on_the_current_message() -> None:
    app = Window([replace(question(1, "one"), place=(1, 2)), answer(2, "two")])
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.press("left", "right")
        assert app.asked == []
        app.transcript.set_current(1)
        await pilot.press("left", "right", "enter")
        assert app.asked == [("branch", 1, 1), ("menu", 1)]


async def test_enter_with_no_current_message_takes_the_last_one_in_sight() -> None:
    app = Window(conversation(20))
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.press("enter")
        assert app.asked == [("menu", 39)]
        assert app.transcript.current == 39


async def test_nothing_is_marked_until_a_message_is_chosen_and_the_mark_is_a_sign() -> None:
    app = Window(conversation(3))
    async with app.run_test(size=(80, 50)) as pilot:
        assert app.transcript.current is None
        assert marked(app) == []
        await pilot.press("k")
        assert app.transcript.current == 5
        assert marked(app) == [app.rows().index("❯ model  ⋯")]
        assert any(row.startswith("┃ Answer 2.") for row in app.rows())
        await pilot.press("k", "k", "j")
        assert app.transcript.current == 4
        app.transcript.show(conversation(3))
        assert app.transcript.current is None
        assert marked(app) == []


async def test_going_from_message_to_message_keeps_each_in_sight_and_stops_at_the_ends() -> None:
    app = Window(conversation(12))
    async with app.run_test(size=(60, 18)) as pilot:
        for expected in range(23, -1, -1):
            await pilot.press("k")
            assert app.transcript.current == expected
            assert len(marked(app)) == 1 or expected == 23
        await pilot.press("k")
        assert app.transcript.current == 0
        for expected in range(1, 24):
            await pilot.press("j")
            assert app.transcript.current == expected
            assert len(marked(app)) == 1
        await pilot.press("j")
        assert app.transcript.current == 23


async def test_a_message_in_sight_is_chosen_without_a_scroll() -> None:
    app = Window(conversation(30))
    async with app.run_test(size=(60, 30)) as pilot:
        app.transcript.jump_to(14)
        before = [row[2:] for row in app.rows()]
        whole = app.at("You")[1]
        await pilot.click(Transcript, offset=(3, whole))
        assert marked(app) == [whole]
        assert [row[2:] for row in app.rows()] == before


async def test_a_message_longer_than_the_window_is_shown_from_its_heading() -> None:
    app = Window([question(1, "one"), answer(2, "long\n\n" * 60), question(3, "three")])
    async with app.run_test(size=(60, 18)) as pilot:
        app.transcript.set_current(3)
        await pilot.press("k")
        assert app.rows()[0] == "❯ model  ⋯"
        assert not app.transcript.following


async def test_notices_are_passed_over() -> None:
    app = Window([question(1, "one"), Entry(-1, "notice", "", "Something was said."), answer(2, "two")])
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.press("k", "k")
        assert app.transcript.current == 1
        await pilot.click(Transcript, offset=app.at("Something"))
        assert app.transcript.current == 1


async def test_a_live_answer_does_not_take_the_place_of_the_current_message() -> None:
    app = Window([*conversation(8), answer(99, "")])
    async with app.run_test(size=(60, 18)) as pilot:
        app.transcript.set_current(5)
        before = app.rows()
        app.transcript.stream(99, "new\n\n" * 30)
        await painted(pilot)
        app.transcript.finish(answer(99, "done"))
        assert app.transcript.current == 5
        assert app.rows()[:-1] == before[:-1]


async def test_a_current_message_that_is_taken_away_is_current_no_more() -> None:
    app = Window(conversation(3))
    async with app.run_test(size=(60, 18)):
        app.transcript.set_current(3)
        app.transcript.discard(3)
        assert app.transcript.current is None
        app.transcript.set_current(12345)
        assert app.transcript.current is None


async def test_jump_to_puts_a_message_at_the_top_and_chooses_none() -> None:
    app = Window(conversation(40))
    async with app.run_test(size=(60, 18)):
        app.transcript.jump_to(10)
        assert app.rows()[:2] == ["▌ You  ⋯", "▌ Question 5?"]
        assert app.transcript.current is None
        assert not app.transcript.following
        app.transcript.jump_to(12345)
        assert app.rows()[1] == "▌ Question 5?"


async def test_it_tells_which_messages_there_are_and_what_they_hold() -> None:
    app = Window([question(1, "one"), answer(2, f"{CODE}\n\n{LINKS}")])
    async with app.run_test(size=(60, 18)):
        transcript = app.transcript
        assert transcript.keys() == [1, 2]
        assert transcript.entry(1) == question(1, "one")
        assert transcript.codes(2) == ['def f():\n    return "x"']
        assert transcript.links(2) == ["https://docs.example", "ftp://x.example"]
        assert (transcript.entry(3), transcript.codes(3), transcript.links(3)) == (None, [], [])


@pytest.mark.parametrize(
    ("letters", "url"),
    [
        ("the docs", "https://docs.example"),
        ("⟨https://docs", "https://docs.example"),
        ("ftp:", "ftp://x.example"),
    ],
)
async def test_a_click_on_a_link_or_its_target_asks_for_it_whatever_its_scheme(letters: str, url: str) -> None:
    app = Window([answer(1, LINKS)])
    async with app.run_test(size=(120, 18)) as pilot:
        await pilot.click(Transcript, offset=app.at(letters))
        assert app.asked == [("link", url)]
        await pilot.click(Transcript, offset=app.at("See"))
        assert len(app.asked) == 1


async def test_a_link_behind_wide_letters_is_hit_where_it_is_drawn() -> None:
    app = Window([question(1, "日本語 https://x.example/ 日本語")])
    async with app.run_test(size=(60, 18)) as pilot:
        left, line = app.at("https")
        await pilot.click(Transcript, offset=(left - 1, line))
        assert app.asked == []
        await pilot.click(Transcript, offset=(left, line))
        assert app.asked == [("link", "https://x.example/")]


async def test_what_came_along_is_said_in_a_line_of_its_own() -> None:
    app = Window([replace(question(1, "Sum up."), attachments=("notes.md · 12 tokens",))])
    async with app.run_test(size=(60, 18)) as pilot:
        assert app.rows()[:4] == ["▌ You  ⋯", "▌ + notes.md · 12 tokens", "▌ Sum up.", ""]
        await pilot.press("k")
        assert app.rows()[:2] == ["❯ You  ⋯", "┃ + notes.md · 12 tokens"]


async def test_a_note_is_quiet_unless_something_went_wrong() -> None:
    app = Window([answer(1, "So", note="The context is full."), answer(2, "", note="It broke.", wrong=True)])
    async with app.run_test(size=(60, 18)):
        assert "  ■ The context is full." in app.rows()
        assert "  ✗ It broke." in app.rows()


async def test_a_selection_is_told_once_when_the_button_is_let_go() -> None:
    app = Window([question(1, "take this")])
    async with app.run_test(size=(40, 12)) as pilot:
        await drag(pilot, (2, 1), (5, 1))
        await pilot.pause()
        assert app.asked == [("selection", "take")]
        await pilot.click(Transcript, offset=(2, 6))
        assert app.asked == [("selection", "take")]


async def test_two_clicks_tell_the_word_they_select() -> None:
    app = Window([question(1, "take this")])
    async with app.run_test(size=(40, 12)) as pilot:
        await pilot.double_click(Transcript, offset=(3, 1))
        await pilot.pause()
        assert app.asked == [("selection", "take")]


async def test_headings_are_copied_without_their_controls() -> None:
    app = Window([replace(answer(1, "So."), place=(1, 2), edited=True)])
    async with app.run_test(size=(60, 12)) as pilot:
        await pilot.triple_click(Transcript, offset=(3, 1))
        assert app.screen.get_selected_text() == "model\nSo."


HEADINGS = st.text(st.sampled_from("ab 日本é"), max_size=40)


@settings(max_examples=60)
@given(
    HEADINGS,
    st.integers(8, 120),
    st.tuples(st.integers(1, 12), st.integers(0, 900)),
    st.booleans(),
    st.sampled_from(["user", "assistant"]),
)
def test_every_control_of_a_heading_is_drawn_within_the_width_and_says_what_it_does(
    heading: str, width: int, place: tuple[int, int], edited: bool, role: str
) -> None:
    entry = Entry(1, "user" if role == "user" else "assistant", heading, "text", edited=edited)
    entry = replace(entry, place=(place[0], place[0] + place[1]), attachments=(heading, heading))
    rows = render(entry, width, defaultdict(Style)).rows
    assert all(sum(cells(segment.text) for segment in row.segments) <= width for row in rows)
    drawn = {(row.text[start:stop].strip(), spot.kind, spot.value) for row in rows for start, stop, spot in spots(row)}
    expected = {("⋯", "menu", 0)}
    if width >= 24:
        expected |= {("‹", "branch", -1)} if place[0] > 1 else set()
        expected |= {("›", "branch", 1)} if place[1] else set()
        assert drawn == expected
    else:
        assert drawn >= expected
