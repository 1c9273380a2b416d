"""Quantising at the window: how many bits are chosen, it is seen to work, Escape ends it, and what it cost is shown."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from app.errors import QuietlyError
from app.library.local import InstalledModel, find
from app.quantising import Bits, Compared, Packed, Quantised, Step, Uncompared
from app.settings import Paths
from app.tui.screens.quantising import QuantiseScreen
from tests.app.tui.test_panels import HOSTILE, Desk, click
from tests.app.tui.window import a_model
from tests.checkpoints import speaking_checkpoint
from tests.waiting import until

MODEL = a_model(
    "Large-bf16",
    Path("/models/Large-bf16"),
    parameters=7_600_000_000,
    weights=15_200_000_000,
    stored="bfloat16",
)
PACKED = Packed(15_200_000_000, 4_300_000_000, 0.0913, "model.layers.27.mlp.down_proj", 0.1312)
MADE = Quantised(Path("/models/Large-4bit"), 4, 64, PACKED, Compared(231, 0.961, 0.0213))


class Work:
    """Quantising as the test plays it: it goes on when told to, to this end."""

    def __init__(self, end: Quantised | QuietlyError) -> None:
        self.begun: list[Bits] = []
        self.ended = asyncio.Event()
        self.given_up = False
        self._end, self._progress = end, lambda step: None

    async def __call__(self, model: InstalledModel, bits: Bits, *, progress: Callable[[Step], None]) -> Quantised:
        self.begun.append(bits)
        self._progress = progress
        try:
            await self.ended.wait()
        except asyncio.CancelledError:
            self.given_up = True
            raise
        if isinstance(self._end, QuietlyError):
            raise self._end
        return self._end

    def tell(self, step: Step) -> None:
        self._progress(step)


async def finished(pilot: Pilot[None], work: Work) -> None:
    work.ended.set()
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


@pytest.mark.parametrize("size", [(60, 18), (110, 40), (300, 80)])
async def test_it_is_chosen_seen_to_work_and_told_in_figures(size: tuple[int, int]) -> None:
    work = Work(MADE)
    app = Desk(QuantiseScreen(MODEL, work))
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        for words in ("Quantise Large-bf16", "14.2 GiB in bfloat16", "4 bit", "4.0 GiB", "8 bit", "7.5 GiB", "Esc"):
            assert words in app.page
        await pilot.press("down", "up", "enter")
        await pilot.pause()
        assert work.begun == [4] and "Starting" in app.page
        work.tell(Step("pack", 1_073_741_824, 4_294_967_296))
        await pilot.pause()
        assert "1.0 GiB of 4.0 GiB written" in app.page and "25%" in app.page
        work.tell(Step("compare", 512 * 1024**2, 4_294_967_296))
        await pilot.pause()
        assert "512 MiB of 4.0 GiB read" in app.page and "12%" in app.page
        await finished(pilot, work)
        for words in ("Large-4bit", "14.2 GiB before, 4.0 GiB now (28%)", "9.13%", "13.1% in model.layers.27"):
            assert words in app.page
        assert "the same at 96.1% of 231 places" in app.page and "0.0213 nats" in app.page and "Close" in app.page
        await pilot.press("escape")
        assert app.results == [MADE.path]


async def test_eight_bits_are_chosen_by_mouse_and_the_screen_is_closed_by_it() -> None:
    work = Work(replace_comparison(Uncompared("Large-bf16 itself takes 30 GiB of memory.")))
    app = Desk(QuantiseScreen(MODEL, work))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await click(pilot, "8 bit")
        await pilot.pause()
        assert work.begun == [8]
        await finished(pilot, work)
        assert "Large-bf16 itself takes 30 GiB of memory." in app.page
        await click(pilot, "Close")
        await pilot.pause()
        assert app.results == [MADE.path]


def replace_comparison(comparison: Uncompared) -> Quantised:
    return Quantised(MADE.path, MADE.bits, MADE.group_size, MADE.packed, comparison)


@pytest.mark.parametrize("keys", [["escape"], ["enter"]])
async def test_escape_ends_it_and_so_does_its_button(keys: list[str]) -> None:
    work = Work(MADE)
    app = Desk(QuantiseScreen(MODEL, work))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        await pilot.pause()
        assert work.begun
        await pilot.press(*keys)
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        assert work.given_up and app.results == [None]


async def test_escape_before_anything_began_only_leaves() -> None:
    work = Work(MADE)
    app = Desk(QuantiseScreen(MODEL, work))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("escape")
        await pilot.pause()
        assert app.results == [None] and not work.begun


async def test_enter_twice_begins_once() -> None:
    work = Work(MADE)
    app = Desk(QuantiseScreen(MODEL, work))
    async with app.run_test(size=(80, 24)) as pilot:
        options = app.screen.query_one("#bits")
        options.action_select()
        options.action_select()
        await pilot.pause()
        assert work.begun == [4] and not work.given_up and app.results == []


async def test_what_went_wrong_is_said_and_it_can_be_tried_again() -> None:
    work = Work(QuietlyError(f"There is no room: {HOSTILE}"))
    app = Desk(QuantiseScreen(replace(MODEL, name=HOSTILE, stored=HOSTILE), work))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        await pilot.pause()
        await finished(pilot, work)
        assert "There is no room" in app.page and "[bold]" in app.page and "\x1b" not in app.page
        await pilot.press("down", "enter")
        await pilot.pause()
        await finished(pilot, work)
        assert work.begun == [4, 8] and "There is no room" in app.page


async def test_a_real_model_is_quantised_and_its_folder_handed_back(tmp_path: Path, places: Paths) -> None:
    model = find(str(speaking_checkpoint(tmp_path / "Speaker", hidden_size=64, intermediate_size=128)))
    app = Desk(QuantiseScreen(model))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        assert "Speaker-4bit" in app.page and "Divergence" in app.page
        await pilot.press("escape")
        assert app.results == [places.models / "Speaker-4bit"]
        assert find("Speaker-4bit").problem is None


async def test_closing_the_window_ends_it(tmp_path: Path, places: Paths) -> None:
    model = find(str(speaking_checkpoint(tmp_path / "Speaker", hidden_size=64, intermediate_size=128)))
    app = Desk(QuantiseScreen(model))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        await until(lambda: list(places.models.glob(".*.quantising")))
    await until(lambda: not list(places.models.iterdir()))
