"""A text as tokens, over the window: typed, walked by keys, with what stands in the rows of each."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from textual.widgets import Input

from app.engine.pool import Pool
from app.engine.protocol import EmbeddingsFound, Neighbour, OneHot, Progress
from app.errors import QuietlyError
from app.settings import Paths
from app.tui.screens.tokens import TokensScreen
from tests.app.tui.desk import Desk
from tests.checkpoints import speaking_checkpoint
from tests.waiting import until_shown

SIZES = [(60, 18), (100, 30), (300, 80)]


class Model(NamedTuple):
    name: str
    path: Path


class Engines:
    """Rows as the test says, when it lets them."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[int, ...], int | None]] = []
        self.refuses = ""
        self.go = asyncio.Event()
        self.go.set()

    async def embeddings(
        self,
        checkpoint: Path,
        token_ids: Sequence[int],
        *,
        words: Sequence[Sequence[int]],
        near: int | None,
        progress: Callable[[Progress], None],
    ) -> EmbeddingsFound:
        self.asked.append((tuple(token_ids), near))
        progress(Progress(1, "load", 43, 100))
        await self.go.wait()
        if self.refuses:
            raise QuietlyError(self.refuses)
        return EmbeddingsFound(
            1,
            258,
            32,
            33_024,
            "float32",
            tuple(id / 100 for id in token_ids),
            tuple(tuple(1.0 if one == other else 0.25 for other in words) for one in words),
            (Neighbour(5, b" \xe6", 0.987), Neighbour(6, b"[bold]\x1b", 0.5)) if near is not None else (),
            OneHot(0.0, 1_032, 33_024, 128) if near is not None else None,
        )


def desk(engines: Engines | Pool, model: Model, text: str = "") -> Desk[TokensScreen]:
    return Desk(TokensScreen(engines, model, text=text))


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model("speaking", speaking_checkpoint(tmp_path_factory.mktemp("speaking") / "speaking"))


@pytest.fixture
def engines() -> Engines:
    return Engines()


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_each_token_has_its_id_its_bytes_and_its_norm(
    engines: Engines, speaking: Model, size: tuple[int, int]
) -> None:
    app = desk(engines, speaking)
    async with app.run_test(size=size) as pilot:
        await pilot.press(*"hé")
        for wanted in (
            "3 tokens in 2 characters: 1.50 a character",
            "1 h 71 0.710 68",
            "2 ‹C3› 127 1.270 c3",
            "␣‹E6› 5 0.987",
        ):
            await until_shown(pilot, lambda wanted=wanted: wanted in " ".join(app.page.split()))


async def test_where_there_is_little_room_no_sentence_is_cut(engines: Engines, speaking: Model) -> None:
    app = desk(engines, speaking, "hello there, heron")
    async with app.run_test(size=(50, 30)) as pilot:
        await until_shown(pilot, lambda: "18 tokens in 18 characters: 1.00 a" in app.page)
        page = app.page
        assert page[page.index("1.00 a") :].split("\n")[1].strip(" │") == "character"
        for wanted in ("↑↓ token · Tab moves on · Esc closes", "with commas between them", "hello there, heron"):
            assert wanted in page, wanted


async def test_the_rows_of_the_token_under_the_cursor_are_shown(engines: Engines, speaking: Model) -> None:
    app = desk(engines, speaking, "hello")
    async with app.run_test(size=(120, 40)) as pilot:
        await until_shown(pilot, lambda: "h, id 71" in app.page)
        for wanted in ("[bold]‹001B›", "A one-hot vector times the matrix is the row", "32.2 KiB", "8,256", "128 B"):
            assert wanted in app.page, wanted
        await pilot.press("down")
        await until_shown(pilot, lambda: "e, id 68" in app.page)
        await pilot.press("pagedown")
        await until_shown(pilot, lambda: "o, id 78" in app.page)
        await pilot.press("up", "pageup")
        await until_shown(pilot, lambda: "h, id 71" in app.page)


async def test_words_are_compared(engines: Engines, speaking: Model) -> None:
    app = desk(engines, speaking)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("tab", "tab", *"king, queen, [red]")
        await until_shown(pilot, lambda: "[red]" in app.page and "0.250" in app.page)
        assert app.page.count("0.250") == 3 and app.focused is app.opened.query_one("#words", Input)
        await pilot.press("tab", *"h")
        await until_shown(pilot, lambda: "h, id 71" in app.page)
        assert app.page.count("0.250") == 3


async def test_while_an_engine_is_busy_only_the_last_question_waits(engines: Engines, speaking: Model) -> None:
    app = desk(engines, speaking)
    async with app.run_test(size=(100, 30)) as pilot:
        engines.go.clear()
        await pilot.press("h")
        await until_shown(pilot, lambda: "loading 43 %" in app.page)
        await pilot.press(*"ello there")
        await until_shown(pilot, lambda: "11 tokens in 11 characters" in app.page)
        assert [len(ids) for ids, _ in engines.asked] == [1]
        engines.go.set()
        await until_shown(pilot, lambda: "norm" in app.page)
        assert [len(ids) for ids, _ in engines.asked] == [1, 11]


async def test_a_model_that_cannot_be_loaded_still_has_tokens(engines: Engines, speaking: Model) -> None:
    engines.refuses = "speaking is too big for this machine; choose a smaller one."
    app = desk(engines, speaking, "hé")
    async with app.run_test(size=(100, 30)) as pilot:
        await until_shown(pilot, lambda: "too big for this machine" in app.page)
        assert "c3" in app.page and "norm" not in app.page
        engines.refuses = ""
        await pilot.press("end", "o")
        await until_shown(pilot, lambda: "norm" in app.page and "too big" not in app.page)


async def test_a_model_without_a_tokenizer_is_one_sentence(engines: Engines, tmp_path: Path) -> None:
    (tmp_path / "mute").mkdir()
    (tmp_path / "mute" / "config.json").write_text("{}")
    app = desk(engines, Model("mute", tmp_path / "mute"), "hello")
    async with app.run_test(size=(100, 30)) as pilot:
        await until_shown(pilot, lambda: "mute has no tokenizer.json" in app.page)
        assert engines.asked == []


async def test_an_empty_line_shows_nothing(engines: Engines, speaking: Model) -> None:
    app = desk(engines, speaking, "h")
    async with app.run_test(size=(100, 30)) as pilot:
        await until_shown(pilot, lambda: "h, id 71" in app.page)
        await pilot.press("end", "backspace")
        await until_shown(pilot, lambda: "id 71" not in app.page and "tokens in" not in app.page)
        await pilot.press("h")
        await until_shown(pilot, lambda: "h, id 71" in app.page)


@pytest_asyncio.fixture
async def pool(places: Paths) -> AsyncIterator[Pool]:
    pool = Pool(places)
    yield pool
    await pool.close()


async def test_a_real_engine_answers_and_leaving_leaves_nothing(pool: Pool, speaking: Model) -> None:
    app = desk(pool, speaking, "hello")
    async with app.run_test(size=(120, 40)) as pilot:
        await until_shown(pilot, lambda: "A one-hot vector times the matrix is the row" in app.page)
        assert "258 rows of 32 numbers" in " ".join(app.page.split())
        await pilot.press("escape")
        await until_shown(pilot, lambda: app.screen is not app.opened)
    assert app.opened._reader._process is None
