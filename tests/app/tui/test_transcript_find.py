"""Finding text in the transcript: every occurrence that can be seen is marked, counted and gone to."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.style import Style

from app.chat.text import visible
from app.tui.widgets.finding import Finding, Marks, count, fold
from app.tui.widgets.message import Entry, render
from app.tui.widgets.shown import Shown
from app.tui.widgets.transcript import Transcript
from tests.app.tui.transcripts import Window, answer, conversation, painted, question

LETTERS = st.text(st.sampled_from("abAB éÉİΣσς日本Ａａ１　-\u200b\r\n*_`"), max_size=200)
NEEDLES = st.text(st.sampled_from("abAé日本Ａσ "), min_size=1, max_size=3)


def marks_in(app: Window) -> list[tuple[str, bool]]:
    """(letters, whether it is the present one) of what is marked in sight."""
    palette = app.transcript._pages.palette
    grounds = palette["found"].bgcolor, palette["present"].bgcolor
    return [
        (segment.text, bool(segment.style.reverse))
        for strip in app.strips()
        for segment in strip
        if segment.style is not None and segment.style.underline and segment.style.bgcolor in grounds
    ]


@given(st.text(max_size=100))
def test_folding_keeps_every_character_in_its_place(text: str) -> None:
    assert len(fold(visible(text))) == len(visible(text))


@given(LETTERS, NEEDLES)
def test_raw_text_is_counted_as_it_is_seen(text: str, needle: str) -> None:
    assert count(text, fold(needle)) == fold(visible(text)).count(fold(needle))


@settings(max_examples=100)
@given(LETTERS, LETTERS, NEEDLES, st.integers(8, 60))
def test_exactly_the_occurrences_are_marked_however_rows_are_wrapped(
    text: str, reasoning: str, query: str, width: int
) -> None:
    needle = fold(query)
    rendered = render(Entry(1, "user", "ab", text, reasoning), width, defaultdict(Style), unfolded=True)
    marks = Marks(rendered, needle)
    for span, found in ((rendered.reasoning, marks.reasoning), (rendered.text, marks.text)):
        rows = rendered.rows[span.first : span.stop]
        assert found == fold("".join(row.content + row.join for row in rows)).count(needle)
    letters = defaultdict[int, str](str)
    for number in sorted(marks.rows):
        for mark in marks.rows[number]:
            assert rendered.rows[number].start <= mark.start < mark.stop <= rendered.rows[number].stop
            letters[mark.ordinal] += rendered.rows[number].text[mark.start : mark.stop]
    assert set(letters) <= set(range(marks.reasoning + marks.text))
    # Only white space that a wrap has swallowed may be missing.
    assert all(fold("".join(found.split())) == "".join(needle.split()) for found in letters.values())


@given(st.lists(st.tuples(LETTERS, LETTERS, st.booleans()), min_size=1, max_size=5), NEEDLES, st.sampled_from([-1, 1]))
@settings(max_examples=60)
def test_steps_go_round_through_every_occurrence_once(
    texts: list[tuple[str, str, bool]], query: str, step: int
) -> None:
    palette = defaultdict[str, Style](Style)
    messages = []
    for serial, (text, reasoning, plain) in enumerate(texts):
        messages.append(Shown(Entry(serial, "user" if plain else "assistant", "", text, reasoning), serial))
    finding = Finding(query)
    for message in messages:
        message.rendered = message.render(40, palette)
        finding.marks(message, message.rendered)
    total = finding.place(messages)[1]
    at = finding.seek(messages, 0, 0, 1, lambda message: message.render(40, palette))
    assert (at is None) == (total == 0)
    places = []
    for _ in range(total):
        assert at is not None
        finding.present = messages[at[0]], at[1]
        places.append(finding.place(messages)[0])
        at = finding.seek(messages, at[0], at[1] + step, step, lambda message: message.render(40, palette))
    assert sorted(places) == list(range(1, total + 1))
    assert places == [(step * number) % total + 1 for number in range(total)]


async def test_what_is_found_is_marked_and_the_present_one_differently() -> None:
    app = Window([question(1, "The sky, the SKY"), answer(2, "A **sky** is a `Sky`.")])
    async with app.run_test(size=(60, 18)):
        assert app.transcript.find("sky") == (1, 4)
        assert marks_in(app) == [("sky", True), ("SKY", False), ("sky", False), ("Sky", False)]
        assert app.transcript.find_step(1) == (2, 4)
        assert app.transcript.find_step(1) == (3, 4)
        assert [here for _, here in marks_in(app)] == [False, False, True, False]
        assert [app.transcript.find_step(1) for _ in range(2)] == [(4, 4), (1, 4)]
        assert app.transcript.find_step(-1) == (4, 4)
        app.transcript.end_find()
        assert marks_in(app) == []


async def test_names_and_controls_are_not_found_nor_is_what_is_not_there() -> None:
    app = Window([question(1, "one"), answer(2, "two\n\n```python\nx\n```")])
    async with app.run_test(size=(60, 18)):
        for query in ("You", "model", "copy", "python", "**", "three"):
            assert app.transcript.find(query) == (0, 0)
        assert app.transcript.find_step(1) == (0, 0)
        assert app.transcript.find("") == (0, 0)
        assert marks_in(app) == []


async def test_letters_over_a_soft_wrap_are_found_in_both_rows() -> None:
    app = Window([question(1, "many words that go on until the row is full and further")])
    async with app.run_test(size=(40, 12)):
        wrapped = app.rows()[1].split()[-1], app.rows()[2].split()[1]
        assert app.transcript.find(" ".join(wrapped)) == (1, 1)
        assert marks_in(app) == [(wrapped[0], True), (wrapped[1], True)]


@pytest.mark.parametrize(("query", "marked"), [("日本", ["日本", "日本"]), ("abc", ["ＡＢＣ", "abc"])])
async def test_wide_letters_are_found_whichever_width_they_have(query: str, marked: list[str]) -> None:
    app = Window([question(1, "日本 ＡＢＣ と abc 日本")])
    async with app.run_test(size=(60, 12)):
        assert app.transcript.find(query) == (1, 2)
        assert [text for text, _ in marks_in(app)] == marked


async def test_it_begins_with_what_is_in_sight_and_brings_the_others_there() -> None:
    app = Window(conversation(60))
    async with app.run_test(size=(60, 18)):
        app.transcript.jump_to(60)
        place, number = app.transcript.find("Question")
        assert (place, number) == (31, 60)
        for turn in (31, 32, 33, 34, 35, 36):
            assert app.transcript.find_step(1)[0] == turn + 1
            assert [text for text, here in marks_in(app) if here] == ["Question"]
            assert any(f"Question {turn}?" in row for row in app.rows())
        assert not app.transcript.following


async def test_a_query_that_grows_stays_where_it_has_led() -> None:
    app = Window(conversation(60))
    async with app.run_test(size=(60, 18)):
        app.transcript.jump_to(0)
        assert app.transcript.find("question 4")[0] == 1
        app.transcript.find_step(1)
        assert app.transcript.find("question 40?") == (1, 1)
        assert any("Question 40?" in row for row in app.rows())


async def test_folded_reasoning_is_found_and_unfolded_only_when_one_goes_there() -> None:
    app = Window([question(1, "the needle"), answer(2, "a needle", reasoning="First a needle.\nThen that.")])
    async with app.run_test(size=(60, 18)):
        assert app.transcript.find("needle") == (1, 3)
        assert any("▸" in row for row in app.rows())
        assert app.transcript.find_step(1) == (2, 3)
        assert any("▾" in row for row in app.rows())
        assert [here for _, here in marks_in(app)] == [False, True, False]
        app.transcript.toggle_reasoning(2)
        assert app.transcript.find_step(1) == (3, 3)
        assert [here for _, here in marks_in(app)] == [False, True]


async def test_it_survives_growth_resizing_and_another_theme() -> None:
    app = Window([*conversation(10), answer(99, "")])
    async with app.run_test(size=(60, 18)) as pilot:
        app.transcript.jump_to(6)
        assert app.transcript.find("Question 3") == (1, 1)
        app.transcript.stream(99, "Question 3 again, and question 3\n\n" * 20)
        await painted(pilot)
        assert [here for _, here in marks_in(app)] == [True]
        for width in (40, 90):
            await pilot.resize_terminal(width, 18)
            await pilot.pause()
            assert [here for _, here in marks_in(app)] == [True]
        app.theme = "textual-light"
        await pilot.pause()
        assert [here for _, here in marks_in(app)] == [True]
        assert app.transcript.find_step(1) == (2, 41)
        assert app.transcript.find_step(-1) == (1, 41)
        app.transcript.discard(6)
        assert app.transcript.find_step(1)[1] == 40


async def test_the_end_of_a_search_leaves_the_view() -> None:
    app = Window(conversation(60))
    async with app.run_test(size=(60, 18)):
        app.transcript.jump_to(20)
        app.transcript.find("Question 50")
        before = app.rows()
        app.transcript.end_find()
        assert app.rows() == before


async def test_signs_that_are_never_seen_do_not_hold_the_search_up() -> None:
    app = Window([answer(key, "**bold**") for key in range(500)])
    async with app.run_test(size=(60, 18)):
        app.transcript.find("**")
        rendered = sum(message.rendered is not None for message in app.transcript._pages.messages)
        assert rendered < 150


def test_a_transcript_with_nothing_in_it_finds_nothing() -> None:
    assert Transcript().find("x") == (0, 0)
    assert Transcript().find_step(1) == (0, 0)
