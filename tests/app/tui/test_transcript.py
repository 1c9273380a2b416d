"""The transcript as a person meets it: it follows, stays, copies, folds, and only ever shows text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.tui.widgets.heights import Heights
from app.tui.widgets.message import estimate
from app.tui.widgets.transcript import Entry, Transcript
from tests.app.tui.transcripts import CODE, Window, answer, conversation, drag, painted, question


async def test_a_conversation_opens_at_its_end() -> None:
    app = Window(conversation(50))
    async with app.run_test(size=(60, 18)):
        assert app.transcript.following
        assert app.rows()[-1] == ""
        assert "words" in app.rows()[-2]


async def test_a_conversation_that_fits_starts_at_the_top() -> None:
    app = Window([question(1, "Hello"), answer(2, "Hi.")])
    async with app.run_test(size=(60, 18)):
        assert app.rows()[:6] == ["▌ You  ⋯", "▌ Hello", "", "  model  ⋯", "  Hi.", ""]


async def test_it_follows_what_is_written_while_the_end_is_in_sight() -> None:
    app = Window([*conversation(5), answer(99, "")])
    async with app.run_test(size=(60, 18)) as pilot:
        app.transcript.stream(99, "one\n\n" * 30 + "LAST")
        await pilot.pause()
        assert "  LAST" in app.rows()


async def test_scrolling_up_lets_go_of_the_end_and_says_that_there_is_more() -> None:
    app = Window([*conversation(20), answer(99, "")])
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.press("up", "up", "up")
        assert not app.transcript.following
        before = app.rows()
        app.transcript.stream(99, "new\n\n" * 30)
        await painted(pilot)
        after = app.rows()
        assert after[:-1] == before[:-1]
        assert "more below" in after[-1]
        await pilot.press("end")
        assert app.transcript.following
        assert "more below" not in app.rows()[-1]
        assert "  new" in app.rows()


async def test_a_click_on_the_hint_goes_to_the_end() -> None:
    app = Window([*conversation(20), answer(99, "")])
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.press("pageup")
        app.transcript.add(answer(100, "news"))
        await pilot.click(Transcript, offset=(20, 17))
        assert app.transcript.following
        assert "  news" in app.rows()


async def test_scrolling_back_to_the_end_follows_again() -> None:
    app = Window(conversation(20))
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.press("pageup", "pagedown", "pagedown")
        assert app.transcript.following


async def test_home_shows_the_very_first_row_and_end_the_last() -> None:
    app = Window(conversation(200))
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.press("home")
        assert app.rows()[:2] == ["▌ You  ⋯", "▌ Question 0?"]
        await pilot.press("end")
        assert app.transcript.scroll_y == app.transcript.max_scroll_y


async def test_scrolling_line_by_line_shows_every_row_once() -> None:
    entries = conversation(30)
    app = Window(entries)
    async with app.run_test(size=(60, 18)):
        everything = [app.rows()[0]]
        while app.transcript.scroll_y > 0:
            app.transcript.action_scroll_up()
            everything.append(app.rows()[0])
        everything.reverse()
        shown = [row for row in everything if "Question" in row]
        assert shown == [f"▌ Question {turn}?" for turn in range(len(shown))]
        assert len(shown) >= 29


@pytest.mark.parametrize("width", [40, 60, 100, 300])
async def test_no_row_is_wider_than_the_window_and_none_narrower(width: int) -> None:
    app = Window([question(1, "日本語" * 50), answer(2, CODE + "\n\n| a | b |\n|---|---|\n| 1 | 2 |\n" + "é" * 500)])
    async with app.run_test(size=(width, 30)):
        assert {strip.cell_length for strip in app.strips()} == {app.transcript.size.width}


async def test_a_new_width_keeps_what_was_at_the_top_in_sight() -> None:
    app = Window([answer(number, f"Message {number}. " + "words " * 50) for number in range(100)])
    async with app.run_test(size=(100, 30)) as pilot:
        for _ in range(7):
            await pilot.press("pageup")
        first = next(row.split()[:2] for row in app.rows() if "Message" in row)
        for width in (60, 40, 140, 61, 300, 100):
            await pilot.resize_terminal(width, 30)
            await pilot.pause()
            assert next(row.split()[:2] for row in app.rows() if "Message" in row) == first
            assert not app.transcript.following


async def test_a_new_width_keeps_the_passage_in_the_middle_of_a_long_message() -> None:
    text = " ".join(f"word{number}" for number in range(3_000))
    app = Window([answer(1, text), answer(2, text)])
    async with app.run_test(size=(100, 30)) as pilot:
        for _ in range(9):
            await pilot.press("pageup")
        first = app.rows()[0].split()[0]
        for width in (47, 100, 62):
            await pilot.resize_terminal(width, 30)
            await pilot.pause()
            assert first in " ".join(app.rows()[:2]).split()


async def test_a_new_width_keeps_following_the_end() -> None:
    app = Window(conversation(30))
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.resize_terminal(50, 12)
        await pilot.pause()
        assert app.transcript.following
        assert app.transcript.scroll_y == app.transcript.max_scroll_y


async def test_what_is_read_does_not_move_when_messages_above_change() -> None:
    app = Window(conversation(30))
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.press("pageup", "pageup")
        before = app.rows()
        app.transcript.update(answer(1, "longer\n\n" * 40))
        app.transcript.discard(3)
        await pilot.pause()
        assert app.rows() == before


async def test_idle_moments_make_heights_exact_and_move_nothing() -> None:
    app = Window(conversation(100))
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.press("home")
        for _ in range(4):
            await pilot.press("pagedown")
        before = app.rows()
        while app.transcript._pages.sweep:
            app.transcript._busy_until = 0.0
            app.transcript._measure_idly()
        assert app.rows() == before
        await pilot.press("end")
        exact = app.transcript.virtual_size.height
        await pilot.press("home")
        while not app.transcript.following:
            app.transcript.action_page_down()
        assert app.transcript.virtual_size.height == exact


async def test_a_discarded_message_is_gone_and_an_updated_one_is_new() -> None:
    app = Window([question(1, "one"), answer(2, "two"), question(3, "three")])
    async with app.run_test(size=(60, 18)) as pilot:
        app.transcript.discard(2)
        app.transcript.update(question(3, "tres"))
        await pilot.pause()
        assert app.rows()[:6] == ["▌ You  ⋯", "▌ one", "", "▌ You  ⋯", "▌ tres", ""]


async def test_the_person_s_message_is_shown_as_typed() -> None:
    app = Window([question(1, "# not a *heading*\n    indented\n\n- kept")])
    async with app.run_test(size=(60, 18)):
        assert app.rows()[:5] == ["▌ You  ⋯", "▌ # not a *heading*", "▌     indented", "▌", "▌ - kept"]


async def test_notes_say_how_an_answer_ended() -> None:
    app = Window([answer(1, "So", note="stopped"), answer(2, "", note="The model ran out of memory.", wrong=True)])
    async with app.run_test(size=(60, 18)):
        assert "  ■ stopped" in app.rows()
        assert "  ✗ The model ran out of memory." in app.rows()


async def test_hostile_text_reaches_the_terminal_as_letters() -> None:
    evil = "a\x1b[31mred\x1b]0;title\x07\x9b2J\u202eright\u200b\r\x00 [bold]not markup[/] \udc80\U000e0041"
    note = f"note {evil}"
    app = Window([question(1, evil), Entry(2, "assistant", evil, f"```{evil}\n{evil}\n```\n{evil}", evil, note)])
    async with app.run_test(size=(60, 60)) as pilot:
        app.transcript.toggle_reasoning(2)
        await pilot.pause()
        shown = "\n".join(app.rows())
        assert "[bold]not markup[/]" in shown
        assert not any(ord(character) < 32 and character != "\n" for character in shown)
        assert not any(sign in shown for sign in "\x7f\x9b\u202e\u200b\udc80\U000e0041")


async def test_a_sequence_cut_across_pieces_of_a_live_answer_is_still_harmless() -> None:
    app = Window([answer(1, "")])
    async with app.run_test(size=(60, 18)) as pilot:
        text = "x\x1b[2Jy\n\nz\x1b]8;;http://evil\x07w"
        for end in range(len(text) + 1):
            app.transcript.stream(1, text[:end])
            await painted(pilot)
        assert not any(ord(character) < 32 for row in app.rows() for character in row)
        assert "  x[2Jy" in app.rows()


async def test_a_selection_over_messages_copies_their_text_without_bars_or_soft_breaks() -> None:
    text = "many words that go on until the row is full and further"
    app = Window([question(1, text), answer(2, CODE)])
    async with app.run_test(size=(40, 24)) as pilot:
        rows = app.rows()
        await drag(pilot, (2, 1), (30, rows.index("  and after it.")))
        assert app.screen.get_selected_text() == f'{text}\n\nmodel\nHere:\n\ndef f():\n    return "x"\n\nand after it.'


async def test_a_selection_within_a_row_copies_just_that() -> None:
    app = Window([question(1, "日本語 and more")])
    async with app.run_test(size=(40, 24)) as pilot:
        await drag(pilot, (4, 1), (6, 1))
        assert app.screen.get_selected_text() == "本語"


async def test_a_selection_stays_on_its_text_while_the_answer_grows() -> None:
    app = Window([question(1, "take this"), answer(2, "")])
    async with app.run_test(size=(40, 12)) as pilot:
        await drag(pilot, (2, 1), (5, 1))
        app.transcript.stream(2, "line\n\n" * 40)
        await painted(pilot)
        assert app.screen.get_selected_text() == "take"


async def test_what_is_selected_looks_selected() -> None:
    app = Window([question(1, "take this")])
    async with app.run_test(size=(40, 12)) as pilot:
        plain = app.strips()[1]
        ground = app.transcript.rich_style.bgcolor
        await drag(pilot, (2, 1), (5, 1))
        chosen = [segment for segment in app.strips()[1] if segment.text == "take"]
        assert chosen and chosen[0].style is not None
        assert chosen[0].style.bgcolor not in (chosen[0].style.color, ground)
        assert app.strips()[1].text == plain.text


async def test_two_clicks_select_a_word_and_three_a_message() -> None:
    app = Window([question(1, "take this"), answer(2, "not this")])
    async with app.run_test(size=(40, 12)) as pilot:
        await pilot.double_click(Transcript, offset=(3, 1))
        assert app.screen.get_selected_text() == "take"
        await pilot.triple_click(Transcript, offset=(3, 1))
        assert app.screen.get_selected_text() == "You\ntake this"


async def test_a_click_on_a_code_block_s_label_asks_to_copy_the_code() -> None:
    app = Window([answer(1, CODE)])
    async with app.run_test(size=(40, 24)) as pilot:
        label = next(number for number, row in enumerate(app.rows()) if row.endswith("copy"))
        await pilot.click(Transcript, offset=(30, label))
        assert app.copied == ['def f():\n    return "x"']


async def test_reasoning_is_folded_and_a_click_or_a_key_unfolds_it() -> None:
    app = Window([answer(1, "So.", reasoning="First this.\nThen that.")])
    async with app.run_test(size=(40, 24)) as pilot:
        assert app.rows()[:4] == ["  model  ⋯", "  ▸ Thought (4 words)", "", "  So."]
        await pilot.click(Transcript, offset=(6, 1))
        assert app.rows()[1:4] == ["┃ ▾ Thought (4 words)", "┃ ┊ First this.", "┃ ┊ Then that."]
        await pilot.press("space")
        assert "▸" in app.rows()[1]


async def test_reasoning_is_in_sight_while_it_is_written_and_folds_when_the_answer_begins() -> None:
    app = Window([answer(1, "")])
    async with app.run_test(size=(60, 24)) as pilot:
        app.transcript.stream(1, "", "\n".join(f"thought {number}" for number in range(20)))
        await painted(pilot)
        assert app.rows()[1] == "  ▾ Thinking… (40 words)"
        assert app.rows()[2:8] == [f"  ┊ thought {number}" for number in range(14, 20)]
        app.transcript.stream(1, "So.", "done")
        await painted(pilot)
        assert app.rows()[1] == "  ▸ Thought for 1 s (1 word)"


async def test_a_finished_answer_looks_as_if_it_had_been_there_at_once() -> None:
    text = "See [x].\n\n<br>\n\n" + CODE + "\n\n[x]: https://later.example\n"
    app = Window([answer(1, "")])
    async with app.run_test(size=(60, 40)) as pilot:
        for end in range(0, len(text), 7):
            app.transcript.stream(1, text[:end])
        app.transcript.finish(answer(1, text))
        await pilot.pause()
        streamed = [[*strip] for strip in app.strips()]
        app.transcript.show([answer(1, text)])
        # The offsets that selection reads name another message now; text and looks are the same.
        again = [[*strip] for strip in app.strips()]
        assert [[(s.text, _looks(s)) for s in row] for row in streamed] == [
            [(s.text, _looks(s)) for s in row] for row in again
        ]
        assert "⟨https://later.example⟩" in "\n".join(app.rows())


async def test_a_theme_change_changes_colours_and_no_text() -> None:
    app = Window([question(1, "Hello"), answer(2, CODE)])
    async with app.run_test(size=(60, 24)) as pilot:
        before = app.strips()
        for theme in ("textual-light", "ansi-dark", "ansi-light", "nord"):
            app.theme = theme
            await pilot.pause()
            after = app.strips()
            assert [strip.text for strip in after] == [strip.text for strip in before]
            assert [_looks(s) for strip in after for s in strip] != [_looks(s) for strip in before for s in strip]


@pytest.mark.soak
async def test_a_storm_of_mouse_and_resizes_over_a_live_answer_breaks_nothing() -> None:
    app = Window([*conversation(10), answer(99, "")])
    async with app.run_test(size=(60, 18)) as pilot:
        text = ""
        for step in range(10):
            text += f"word {step} **bold**\n\n```py\nx = {step}\n" + ("```\n\n" if step % 3 else "")
            app.transcript.stream(99, text, "thinking" * (step % 5))
            at = (step * 7 % 58, step * 5 % 17)
            await pilot.mouse_down(Transcript, offset=at)
            await pilot.hover(Transcript, offset=(at[1], at[1]))
            await pilot.mouse_up(Transcript, offset=(at[1], at[1]))
            if step % 10 == 0:
                await pilot.resize_terminal(60 + step % 7, 18)
            if step % 5 == 4:
                app.transcript.finish(answer(99, text))
        app.screen.get_selected_text()
        assert app.is_running


async def test_a_transcript_that_is_not_shown_yet_takes_everything() -> None:
    app = Window()
    async with app.run_test(size=(60, 18)) as pilot:
        app.transcript.display = False
        await pilot.pause()
        app.transcript.show([])
        app.transcript.add(question(1, "Hello"))
        app.transcript.add(answer(2, ""))
        app.transcript.stream(2, "Hi")
        app.transcript.finish(answer(2, "Hi there"))
        app.transcript.display = True
        await pilot.pause()
        assert app.rows()[:5] == ["▌ You  ⋯", "▌ Hello", "", "  model  ⋯", "  Hi there"]


MONSTERS = {
    "one word": "x" * 100_000,
    "one line": "word " * 20_000,
    "much code": "```\n" + "y = 1\n" * 8_000,
    "nested": "> - " * 300 + "z",
    "bars": "| a " * 400,
}


@pytest.mark.parametrize("name", MONSTERS)
async def test_monstrous_messages_are_shown(name: str) -> None:
    app = Window([question(1, MONSTERS[name]), answer(2, MONSTERS[name])])
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.press("home")
        assert app.rows()[0] == "▌ You  ⋯"
        await pilot.press("end")
        assert app.transcript.following


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 50)), max_size=40))
def test_rows_and_messages_are_found_from_each_other_whatever_changes(steps: list[tuple[int, int]]) -> None:
    heights, model = Heights(), list[int]()
    for what, height in steps:
        if what < 5 or not model:
            heights.append(height)
            model.append(height)
        elif what < 8:
            heights[height % len(model)] = model[height % len(model)] = height
        else:
            heights.remove(height % len(model))
            del model[height % len(model)]
        assert heights.total == sum(model)
        if model:
            index = height % len(model)
            assert heights.locate(sum(model[:index])) == (index, 0)
            assert heights.locate(sum(model[: index + 1]) - 1) == (index, model[index] - 1)


@settings(max_examples=30)
@given(st.text(max_size=500), st.integers(10, 200))
def test_an_estimate_is_a_height(text: str, width: int) -> None:
    assert estimate(answer(1, text), width, False) > 0


def _looks(segment: object) -> object:
    style = getattr(segment, "style", None)
    return None if style is None else (style.color, style.bgcolor, style.bold, style.italic, style.underline)
