"""Who is told that a long answer has ended, and how."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events
from textual.app import App

from app.tui.notifying import announce, should_announce, signal


@given(st.floats(0, 1e6), st.booleans(), st.floats(0, 1e6))
def test_only_long_answers_out_of_sight_are_told_and_zero_switches_it_off(
    seconds: float, focused: bool, after: float
) -> None:
    assert should_announce(seconds, focused, after) == (not focused and after > 0 and seconds >= after)
    assert not should_announce(seconds, focused, 0)


@pytest.mark.parametrize("environment", [{"TERM_PROGRAM": "ghostty"}, {"TERM": "xterm-kitty"}])
def test_terminals_that_show_notifications_get_the_words(environment: dict[str, str]) -> None:
    assert signal("Answer ready", environment) == "\x1b]9;Answer ready\x07"


@pytest.mark.parametrize("environment", [{}, {"TERM_PROGRAM": "Apple_Terminal"}, {"TERM_PROGRAM": "tmux"}])
def test_all_others_get_the_bell(environment: dict[str, str]) -> None:
    assert signal("Answer ready", environment) == "\x07"


class Away(App[None]):
    """A window that remembers what its terminal was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []

    def on_mount(self) -> None:
        assert self._driver is not None
        self._driver.write = self.sent.append

    @property
    def notices(self) -> list[str]:
        return [notice.message for notice in self._notifications]


async def test_a_window_that_is_looked_at_says_it_quietly_and_only_where_it_is_news(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM_PROGRAM", "iTerm.app")
    app = Away()
    async with app.run_test() as pilot:
        announce(app, "Bread", 42, 20, in_view=True)
        announce(app, "Bread", 4, 20)
        assert app.notices == []
        announce(app, "Bread", 42, 20)
        await pilot.pause()
        assert app.notices == ["Answer ready in Bread · 42 s"] and not any("\x1b]9" in sent for sent in app.sent)


async def test_a_window_nobody_looks_at_has_the_terminal_tell_it_safely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM_PROGRAM", "iTerm.app")
    app = Away()
    async with app.run_test() as pilot:
        app.post_message(events.AppBlur())
        await pilot.pause()
        announce(app, "A\x07\x1b]0;title\x9c\u202e " + "long " * 100, 185, 20, in_view=True)
        await pilot.pause()
        (sent,) = [sent for sent in app.sent if "\x1b]9" in sent]
        words = sent.removeprefix("\x1b]9;").removesuffix("\x07")
        assert words.isprintable() and words.endswith("· 3 min 5 s") and len(words) < 120
        app.post_message(events.AppFocus())
        await pilot.pause()
        app.sent.clear()
        announce(app, "Bread", 42, 20, in_view=True)
        assert app.sent == []
