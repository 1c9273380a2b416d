"""A conversation that is shown again after something in it has changed: what stayed is not made again."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.style import Style

from app.tui.widgets.message import Entry
from app.tui.widgets.pages import Pages
from app.tui.widgets.shown import Shown
from tests.app.tui.transcripts import Window, answer, conversation, painted, question


async def test_only_what_has_changed_is_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = conversation(40)
    app = Window(entries)
    async with app.run_test(size=(60, 18)) as pilot:
        while app.transcript._pages.sweep:
            await painted(pilot)
        rendered, render = set[int](), Shown.render

        def noted(shown: Shown, *others: object, **more: object) -> object:
            rendered.add(shown.entry.key)
            return render(shown, *others, **more)

        monkeypatch.setattr(Shown, "render", noted)
        changed = [*entries[:-1], replace(entries[-1], key=1000, text="Something else.", place=(2, 2))]
        app.transcript.show(changed)
        while app.transcript._pages.sweep:
            await painted(pilot)
        assert 1000 in rendered and min(rendered) > 70, "what is out of sight keeps its height"
        assert "  Something else." in app.rows() and app.transcript.following
        assert app.transcript.keys() == [entry.key for entry in changed]


async def test_an_answer_that_is_being_written_is_shown_as_it_is_stored_when_it_is_shown_again() -> None:
    entries = conversation(3)
    app = Window(entries)
    async with app.run_test(size=(60, 18)) as pilot:
        app.transcript.stream(entries[-1].key, "half of it")
        await painted(pilot)
        app.transcript.show(entries)
        await painted(pilot)
        assert "half of it" not in "\n".join(app.rows())


BRANCHES = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["a", "a b " * 20, "- x\n- y"])), max_size=6)


def measured(pages: Pages) -> list[int]:
    return [pages.measure(index) for index in range(len(pages))]


@given(st.lists(BRANCHES, min_size=2, max_size=5))
def test_a_page_that_is_shown_again_and_again_is_as_one_that_is_shown_once(
    branches: list[list[tuple[int, str]]],
) -> None:
    used = _pages()
    for branch in branches:
        shown = [_entry(10 * place + which, text) for place, (which, text) in enumerate(branch)]
        fresh = _pages()
        used.replace(shown)
        fresh.replace(shown)
        assert [message.entry for message in used.messages] == shown
        assert measured(used) == measured(fresh) and used.heights.total == fresh.heights.total
        assert [used.index(message) for message in used.messages] == list(range(len(shown)))


def _pages() -> Pages:
    pages = Pages()
    pages.width, pages.palette = 30, _Palette()
    return pages


class _Palette(dict[str, Style]):
    def __missing__(self, part: str) -> Style:
        return Style()


def _entry(key: int, text: str) -> Entry:
    return question(key, text) if key % 2 else answer(key, text)
