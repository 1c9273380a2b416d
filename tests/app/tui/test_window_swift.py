"""What makes the window feel quick: an engine that begins ahead, first words at once, counting that asks for no more
than it must."""

import pytest

from app.chat.store import Store
from app.settings import Settings
from tests.app.tui.conftest import Opener
from tests.app.tui.window import STARTER, FakePool, converse


async def test_an_engine_begins_before_the_models_are_found_where_one_will_be_loaded(opened: Opener) -> None:
    async with opened() as window:
        await window.until(lambda: STARTER.path in window.pool.known)
        assert window.pool.prepared == 1
        window.app.chat.desks.models.look()
        await window.app.workers.wait_for_complete()
        assert window.pool.prepared == 1, "a later look loads nothing that was not loaded"
    async with opened(pool=FakePool(), settings=Settings(load_at_start=False)) as window:
        assert window.pool.prepared == 0


async def test_the_first_words_are_painted_as_they_come_and_not_with_the_next_stroke(opened: Opener) -> None:
    async with opened() as window:
        await window.ask("Capital of France?")
        window.app.chat._painter.pause()  # from here on nothing is painted by the clock
        window.pool.turns[0].say("Paris", part="reasoning")
        await window.until(lambda: "thinking" in window.page)
        window.pool.turns[0].finish()
        await window.ended()


async def test_the_tally_counts_what_is_in_view_and_reads_none_of_it_again(
    opened: Opener, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    converse(store, "One two?", "Three four.")
    async with opened() as window:
        await window.until(lambda: window.app.chat.room.branch and STARTER.path in window.pool.known)
        reads: list[int] = []
        monkeypatch.setattr(store, "branch", reads.append)
        for typed, count in (("five", "5 tokens"), ("five six", "6 tokens")):
            window.composer.load_text(typed)
            await window.until(lambda count=count: count in window.page)
        assert reads == []
