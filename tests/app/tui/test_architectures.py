"""A chat with each architecture at the window: real engines over tiny checkpoints with random weights.

What they say means nothing, but it has to be what the model says that reads the conversation from its beginning.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import model
from app.chat.store import Message, Store
from app.engine.pool import Pool
from app.engine.protocol import Event, Finished, Keeping
from app.engine.turn import Turn
from app.generation import GenerationSettings
from app.library.describing import describe
from app.settings import Paths, Settings
from model.tokenizer import Turn as Said
from tests.app.tui.conftest import Opener, Window
from tests.app.tui.test_window_messages import branch_of, to_messages
from tests.app.tui.window import FakeLibrary
from tests.checkpoints import random_checkpoint, speaking_checkpoint
from tests.model.world_vocabulary import SMALL, small_world

LONG = 8
SHAPES = {
    "rwkv4": {"model_type": "rwkv", "context_length": 64},
    "rwkv7": {"model_type": "rwkv7", "head_dim": 16, "context_length": 64},
    "pangu_pi": {"model_type": "pangu_pi", "shortcut_reduction": 4},
    "openPangu-Embedded": {"model_type": "PanguEmbedded", "bias": True},
    "qwen2 with windows": {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 16},
}
WORLD = "rwkv7 of World"
"""The shape of the other, with the vocabulary, the prompts and the stops of the models that people have."""
RECURRENT = [name for name in SHAPES if name.startswith("rwkv")]


class Heard(Turn):
    """An answer whose end is remembered."""

    ends: list[Finished]

    async def __aiter__(self) -> AsyncIterator[Event]:
        async for event in super().__aiter__():
            if isinstance(event, Finished):
                self.ends.append(event)
            yield event


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[Finished]:
    """How each answer has ended."""
    monkeypatch.setattr(Heard, "ends", [], raising=False)
    monkeypatch.setattr("app.engine.pool.Turn", Heard)
    return Heard.ends


@pytest.fixture
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    if request.param == WORLD:
        return random_checkpoint(small_world(folder), vocab_size=max(SMALL.values()) + 1, **SHAPES["rwkv7"])
    return speaking_checkpoint(folder, **SHAPES[request.param])


@pytest.fixture
def life(opened: Opener, places: Paths, checkpoint: Path):
    """Open the window on a machine that has this model alone, and keeps all that it has read."""

    @asynccontextmanager
    async def live(size: tuple[int, int] = (120, 36), context: int | None = None) -> AsyncIterator[Window]:
        pool = Pool(places, memory=16 << 30, keeping=lambda: Keeping(disk=1 << 30, worth=0))
        settings = Settings(generation=GenerationSettings(temperature=0, max_tokens=LONG, context=context))
        library = FakeLibrary(describe(checkpoint, "folder"))
        async with opened(library, pool, size, settings=settings) as window:
            yield window

    return live


async def answered(window: Window, count: int, *keys: str) -> Message:
    """Press `keys` and wait for the answer, which is the window's latest of `count`."""
    await window.pilot.press(*keys)
    await window.until(lambda: len(Heard.ends) == count)
    await window.ended()
    return branch_of(window.store)[-1]


async def asked(window: Window, count: int, question: str) -> Message:
    window.composer.focus()
    window.composer.load_text(question)
    return await answered(window, count, "enter")


def is_the_models_own(loaded: model.LanguageModel, store: Store) -> None:
    """Whether every answer of the branch in view is what the model says that has read nothing before."""
    branch = branch_of(store)
    said = [Said(message.role, message.content, list(message.token_ids or ()) or None) for message in branch]
    for place in range(1, len(branch), 2):
        written = list(branch[place].token_ids or ())
        fresh = [token.id for token in loaded.generate(loaded.prompt(said[:place]), max_tokens=LONG)]
        assert branch[place].status == "complete" and written and written == fresh[: len(written)]


@pytest.mark.soak
@pytest.mark.parametrize("checkpoint", [*SHAPES, WORLD], indirect=True)
async def test_edited_answered_again_and_branched_it_says_what_it_would_say_anew(
    life, checkpoint: Path, store: Store, ends: list[Finished]
) -> None:
    loaded = model.load(checkpoint)
    async with life() as window:
        await asked(window, 1, "What is a sea?")
        await asked(window, 2, "And a lake?")
        is_the_models_own(loaded, store)

        await to_messages(window)
        await answered(window, 3, "r")
        is_the_models_own(loaded, store)

        await window.pilot.press("k", "e")
        await window.until(lambda: window.composer.text == "And a lake?")
        await asked(window, 4, "And a pond?")
        is_the_models_own(loaded, store)

        await to_messages(window)
        await window.pilot.press("k", "k", "b")
        await window.until(lambda: len(branch_of(store)) == 2)
        await asked(window, 5, "Which is deeper?")
        assert [message.content for message in branch_of(store)][2::2] == ["Which is deeper?"]
        is_the_models_own(loaded, store)
    assert all(end.reused_tokens for end in ends[1:]), "what it has read is not read again"


@pytest.mark.soak
@pytest.mark.parametrize("checkpoint", RECURRENT, indirect=True)
async def test_a_state_outlives_the_program(life, checkpoint: Path, store: Store, ends: list[Finished]) -> None:
    async with life() as window:
        await asked(window, 1, "What is a sea? " * 10)
    async with life() as window:
        await window.until(lambda: branch_of(store))
        await asked(window, 2, "And a lake?")
    assert ends[1].reused_tokens >= ends[0].prompt_tokens
    is_the_models_own(model.load(checkpoint), store)


@pytest.mark.soak
@pytest.mark.parametrize("checkpoint", RECURRENT, indirect=True)
@pytest.mark.parametrize("width", [120, 60])
async def test_the_meter_says_that_there_is_no_limit_and_nothing_is_left_out(
    life, checkpoint: Path, store: Store, ends: list[Finished], width: int
) -> None:
    async with life((width, 36)) as window:
        for count in range(1, 5):
            await asked(window, count, f"{count:>60}")
        used = ends[-1].prompt_tokens + ends[-1].completion_tokens
        assert used > 4 * 64 and not any(end.dropped_messages for end in ends)
        await window.until(lambda: f"ctx {used:,} · no limit, trained to 64" in window.page)
        window.composer.load_text("and more")
        await window.until(lambda: "tokens · no limit, trained to 64" in window.page)


@pytest.mark.soak
@pytest.mark.parametrize("checkpoint", ["rwkv7"], indirect=True)
async def test_a_context_that_is_set_limits_what_has_no_limit_by_itself(
    life, store: Store, ends: list[Finished]
) -> None:
    async with life(context=256) as window:
        for count in range(1, 5):
            await asked(window, count, f"{count:>60}")
        assert ends[-1].dropped_messages and ends[-1].prompt_tokens < 256
        await window.until(lambda: "/ 256" in window.page and "no limit" not in window.page)
