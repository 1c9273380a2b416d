"""A child with a mouse, over an answer that is being written: nothing falls over, nothing is lost, nothing is torn.

The events go in where a terminal's bytes do: reports of an SGR mouse, parsed and passed on by the driver.
"""

import asyncio
import random
import re
from collections.abc import Iterator

import pytest

from app.chat.store import Store
from app.tui.driver import PasteParser
from app.tui.widgets.transcript import Transcript
from tests.app.tui.conftest import Opener, Window
from tests.app.tui.window import ANSWER, FakeTurn, converse

SEED = 4
HOPS = 6
"""Turns of the event loop that a gesture gets: more than it has widgets to go through."""
SIZES = ((90, 24), (60, 18), (100, 30), (80, 24))
DRAFT = "half a thought"
LEFT, RIGHT, MOVE, DRAG, WHEEL_UP, WHEEL_DOWN = 0, 2, 35, 32, 64, 65

TABLE = "| city | people |\n| --- | ---: |\n| Paris | 2,100,000 |\n| Lyon | 520,000 |\n"
LINKS = "See [the city](https://example.org/paris) and <https://example.org/a_rather_long_address>, or [there][1].\n"
STORY = f"{ANSWER}\n{TABLE}\n{LINKS}\n> quoted words\n> over two lines\n\n1. one\n2. two\n   - inner\n\n"


def storm(dice: random.Random) -> Iterator[list[tuple[int, int, int, str]]]:
    """Gestures, each as (button, x, y, end) with x and y as parts of 1000 of the transcript's width and height."""
    x = y = 500
    while True:
        x, y = (x, y) if dice.random() < 0.2 else (dice.randrange(1000), dice.randrange(1000))
        press, release = (LEFT, x, y, "M"), (LEFT, x, y, "m")
        match dice.randrange(7):
            case 0:
                yield [press, release]
            case 1:
                yield [press, release] * dice.randint(2, 3)
            case 2:
                way = [(DRAG, dice.randrange(1000), dice.randrange(1000), "M") for _ in range(dice.randint(1, 6))]
                yield [press, *way, (LEFT, *way[-1][1:3], "m")]
            case 3:
                yield [(dice.choice([WHEEL_UP, WHEEL_DOWN]), x, y, "M")] * dice.randint(1, 5)
            case 4:
                yield [(MOVE, dice.randrange(1000), y, "M") for _ in range(dice.randint(1, 5))]
            case 5:
                yield [(RIGHT, x, y, "M"), (RIGHT, x, y, "m")]
            case _:
                yield [dice.choice([press, release])]  # half a gesture: the other half was lost


class Mouse:
    """Sends mouse reports to where the transcript is."""

    def __init__(self, window: Window) -> None:
        self._app = window.app
        self._transcript = window.app.chat.query_one(Transcript)
        self._parser = PasteParser()

    def send(self, button: int, across: int, down: int, end: str) -> None:
        region = self._transcript.region
        x = region.x + across * region.width // 1000 + 1
        y = region.y + down * region.height // 1000 + 1
        driver = self._app._driver
        assert driver is not None
        for event in self._parser.feed(f"\x1b[<{button};{x};{y}{end}"):
            driver.process_message(event)


class Writer:
    """Plays an answer, a few words at a time, with some thoughts before it."""

    def __init__(self, turn: FakeTurn, dice: random.Random) -> None:
        self._turn, self._dice = turn, dice
        self.answer = self.reasoning = ""

    def write(self) -> None:
        if len(self.reasoning) < 400:
            self.reasoning += "a thought "
            self._turn.say("a thought ", "reasoning")
            return
        begin = len(self.answer) % len(STORY)
        piece = STORY[begin : begin + self._dice.randint(1, 30)]
        self.answer += piece
        self._turn.say(piece)


async def all_rows(window: Window, unfolded: set[int]) -> list[str]:
    """The whole transcript from top to bottom, with the reasoning of `unfolded` unfolded.

    How long a thought took is known only where it was seen, and a message is marked only where someone chose it.
    """
    transcript = window.app.chat.query_one(Transcript)
    window.app.screen.clear_selection()
    for key in unfolded_in(transcript) ^ unfolded:
        transcript.toggle_reasoning(key)
    transcript.action_scroll_end()
    await window.pilot.pause()
    rows: list[str] = []
    transcript.action_scroll_home()
    while True:
        top, height = round(transcript.scroll_y), transcript.size.height
        del rows[top:]
        rows += [re.sub(r"^[❯┃]| for \d+ s", "", transcript.render_line(y).text).strip() for y in range(height)]
        if top + height >= transcript.virtual_size.height:
            return rows
        transcript.action_page_down()
        await window.pilot.pause()


async def leave_question(window: Window) -> None:
    """Leave what a click has asked, unless another click is leaving it already: Esc on the page stops the answer."""
    if window.app.screen is not window.app.chat:
        await window.pilot.pause()
    if window.app.screen is not window.app.chat:
        await window.pilot.press("escape")


def unfolded_in(transcript: Transcript) -> set[int]:
    return {shown.entry.key for shown in transcript._pages.messages if shown.unfolded}


@pytest.mark.parametrize("events", [100, pytest.param(5000, marks=pytest.mark.soak)])
async def test_a_mouse_storm_over_a_growing_answer_breaks_and_loses_nothing(
    opened: Opener, store: Store, events: int
) -> None:
    dice = random.Random(SEED)
    conversation = converse(store, "Tell me about Paris", STORY)
    async with opened(size=SIZES[0]) as window:
        await window.ask("And now at length")
        window.composer.load_text(DRAFT)
        writer, mouse = Writer(window.pool.turns[0], dice), Mouse(window)
        gestures, sent = storm(dice), 0
        while sent < events:
            if dice.random() < 0.25:
                writer.write()
            for event in next(gestures):
                mouse.send(*event)
                sent += 1
            for _ in range(HOPS):
                await asyncio.sleep(0)
            if dice.random() < 0.02:
                await window.pilot.resize_terminal(*dice.choice(SIZES))
            await leave_question(window)
        await window.pilot.resize_terminal(*SIZES[0])
        window.pool.turns[0].finish()
        await window.ended()
        await leave_question(window)
        assert window.app.is_running and window.app.screen is window.app.chat
        assert window.composer.text == DRAFT
        unfolded = unfolded_in(window.app.chat.query_one(Transcript))
        after = await all_rows(window, unfolded)

    branch = store.branch(conversation)
    assert [message.status for message in branch[1::2]] == ["complete", "complete"]
    assert branch[1].content == STORY
    assert (branch[3].content, branch[3].reasoning) == (writer.answer, writer.reasoning)
    async with opened(size=SIZES[0]) as window:
        assert after == await all_rows(window, unfolded)
