"""Two windows over the same conversations: neither takes the other for dead, and neither loses a word."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.chat.store import Message, Store
from app.settings import Paths
from tests.babbling import babble_on, babbling_checkpoint, letters
from tests.terminal import WINDOW
from tests.watching import WatchedTerminal

pytestmark = pytest.mark.soak

ENTER, ESCAPE, CTRL_N, CTRL_Q = "\r", "\x1b", "\x0e", "\x11"


@pytest.fixture
def opened(places: Paths, tmp_path: Path) -> Iterator[Callable[[], WatchedTerminal]]:
    """Open one more window of an installation whose model speaks without end."""
    model = babbling_checkpoint(places.models / "babbler")
    with Store.open(places.database) as store:
        store.remember("model", str(model))
    windows: list[WatchedTerminal] = []

    def window() -> WatchedTerminal:
        windows.append(WatchedTerminal(WINDOW, tmp_path))
        return windows[-1]

    yield window
    for window in windows:
        window.close()


def ask(window: WatchedTerminal, question: str) -> str:
    """Ask and wait for some of the answer; returns what is on the screen of it."""
    window.until("● babbler")
    window.type(question + ENTER)
    window.until("writing")
    while not (shown := "".join(babble_on(window.text))):
        window.watch(0.1)
    return shown


def answers(places: Paths) -> list[Message]:
    """The answers of all conversations, the oldest first."""
    with Store.open(places.database) as store:
        found = [message for record in store.conversations() for message in store.branch(record.id)]
    return sorted((message for message in found if message.role == "assistant"), key=lambda message: message.id)


def test_a_second_window_leaves_the_answer_of_the_first_to_it(
    opened: Callable[[], WatchedTerminal], places: Paths
) -> None:
    first = opened()
    ask(first, "the first question")
    second = opened()
    second.until("the first question", "● babbler")
    assert "interrupted" not in second.text
    assert [message.status for message in answers(places)] == ["writing"]

    second.type(CTRL_N)
    second.until("New conversation")
    ask(second, "the second question")
    first.watch(0.3)
    assert [message.status for message in answers(places)] == ["writing", "writing"]
    shown = []
    for window in (first, second):
        window.type(ESCAPE)
        window.until("stopped", gone="writing")
        window.watch(0.5)  # the last frame is whole
        shown.append(babble_on(window.text))
        window.type(CTRL_Q)
        assert window.ends() == 0
    ended = answers(places)
    assert [message.status for message in ended] == ["stopped", "stopped"]
    for runs, message in zip(shown, ended, strict=True):
        assert runs and all(words in letters(message.content) for words in runs)


def test_the_answer_of_a_killed_window_is_interrupted_for_the_next(
    opened: Callable[[], WatchedTerminal], places: Paths
) -> None:
    first = opened()
    ask(first, "the first question")
    first.watch(1.0)
    second = opened()
    second.until("the first question", "● babbler")
    first.watch(0.2)
    shown = first.screen_before(first.kill() - 0.5)
    third = opened()
    third.until("the first question", "interrupted", "● babbler")
    for window in (second, third):
        window.type(CTRL_Q)
        assert window.ends() == 0
    (answer,) = answers(places)
    assert answer.status == "interrupted"
    assert all(words in letters(answer.content) for words in babble_on(shown))
