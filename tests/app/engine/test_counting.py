"""A conversation that is counted again and again while something is typed: only what has changed costs anything."""

from pathlib import Path
from typing import Any

import pytest

from app.engine import client, protocol
from app.engine.client import EngineError
from app.engine.pool import Pool
from app.engine.protocol import ChatMessage, Count, Counted, Reading
from app.engine.worker import Worker
from model.errors import ModelError
from model.template import ChatTemplate
from tests.app.engine.conftest import events, long_conversation
from tests.checkpoints import CHATML, speaking_checkpoint

TALK = [ChatMessage("user", "hello"), ChatMessage("assistant", "well met, and well again")]
READING = Reading(context=512)


def typing(*texts: str, before: list[ChatMessage] = TALK) -> list[list[ChatMessage]]:
    return [[*before, ChatMessage("user", text)] for text in texts]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Count]:
    """Every Count that a worker is sent."""
    counts: list[Count] = []
    frame = protocol.frame

    def noted(message: Any) -> bytes:
        if isinstance(message, Count):
            counts.append(message)
        return frame(message)

    monkeypatch.setattr(client.protocol, "frame", noted)
    return counts


async def test_what_stands_before_what_is_typed_crosses_once(pool: Pool, tiny: Path, sent: list[Count]) -> None:
    await pool.load(tiny)
    for messages in (*typing("a", "a b", "a b c"), [TALK[0], ChatMessage("user", "another way")]):
        alone = await pool.count(tiny, messages)
        counted = await pool.count(tiny, messages, session="a", reading=READING)
        assert alone and counted and counted.tokens == alone.tokens
    assert [(count.same, len(count.messages)) for count in sent if count.session] == [(0, 3), (2, 1), (2, 1), (1, 1)]


async def test_a_count_that_was_refused_leaves_the_next_one_right(pool: Pool, tiny: Path) -> None:
    await pool.load(tiny)
    (fits,), (too_long,) = typing("a b"), typing("again " * 200)
    before = await pool.count(tiny, fits, session="a", reading=READING)
    with pytest.raises(EngineError):
        await pool.count(tiny, too_long, session="a", reading=READING)
    after = await pool.count(tiny, fits, session="a", reading=READING)
    assert before and after and after.tokens == before.tokens


async def test_what_no_longer_fits_is_left_out_of_the_count_however_much_is_typed(pool: Pool, tiny: Path) -> None:
    await pool.load(tiny)
    talk = long_conversation(6)[:-1]
    for messages in typing("a", "a b", "a b " * 20, "a b " * 80, "a", before=talk):
        again = await pool.count(tiny, messages, session="a", reading=Reading(context=2048))
        fresh = await pool.count(tiny, messages, session=f"{len(messages[-1].content)}", reading=Reading(context=2048))
        assert again and fresh and again.tokens == fresh.tokens
        assert again.dropped_messages == fresh.dropped_messages > 0
    await events(pool.ask(tiny, messages, session="a", reading=Reading(context=2048), max_tokens=1))
    after = await pool.count(tiny, messages, session="a", reading=Reading(context=2048))
    assert after and after.dropped_messages == again.dropped_messages


class Rendered:
    """A worker's tokenizer that counts how often a conversation was rendered."""

    def __init__(self, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import model

        self.times = 0
        render = ChatTemplate.render

        def noted(template: ChatTemplate, *others: Any, **more: Any) -> str:
            self.times += 1
            return render(template, *others, **more)

        monkeypatch.setattr(ChatTemplate, "render", noted)
        self._worker = Worker(lambda reply: None, "none")
        self._worker._model = model.load(checkpoint)

    def count(self, messages: list[ChatMessage], **changes: Any) -> int:
        return self.counted(messages, **changes).tokens

    def counted(self, messages: list[ChatMessage], session: str = "a", **changes: Any) -> Counted:
        return self._worker._count(Count(1, tuple(messages), session=session, **changes))


def test_a_conversation_is_rendered_once_and_not_for_every_word(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Rendered(tiny, monkeypatch)
    first, *later = typing("a", "a b", "a b c")
    lengths, times = [worker.count(first)], worker.times
    lengths += [worker.count([messages[-1]], same=2) for messages in later]
    assert worker.times == times and lengths == [lengths[0], lengths[0] + 2, lengths[0] + 4]
    assert worker.count(later[-1], reading=Reading(thinking=True)) == lengths[-1] and worker.times > times


def test_what_is_left_out_hangs_on_the_words_that_are_typed_now_and_not_on_those_before(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, talk = Rendered(tiny, monkeypatch), long_conversation(6)[:-1]
    fits, much, more = typing("a", "a b" * 40, "a b" * 240, before=talk)
    reading = Reading(context=worker.count(fits) + 20)
    steps = (fits, much, more, much, fits)
    typed = [worker.counted(messages, reading=reading) for messages in steps]
    fresh = [worker.counted(messages, str(step), reading=reading) for step, messages in enumerate(steps)]
    left_out = [counted.dropped_messages for counted in fresh]
    assert typed == fresh and left_out == left_out[::-1] and 0 == left_out[0] < left_out[1] < left_out[2]


def test_a_count_that_is_refused_at_once_is_what_the_next_one_builds_on(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Rendered(tiny, monkeypatch)
    first, second = typing("a", "a b")
    with pytest.raises(ModelError):
        worker.count(first, reading=Reading(context=0))
    assert worker.count(second[-1:], same=2) == worker.count(second)


def test_a_template_that_looks_at_the_words_is_rendered_for_every_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shouting = CHATML.replace("message.content", "message.content | upper | replace('A', 'AA')")
    worker = Rendered(speaking_checkpoint(tmp_path / "shouting", shouting), monkeypatch)
    plain, more = (worker.count(messages) for messages in typing("ba", "baa"))
    assert more == plain + 2


def test_a_template_that_refuses_what_is_no_text_yet_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = CHATML + "{% if '\ue005' in messages[-1].content %}{{ raise_exception('no') }}{% endif %}"
    worker = Rendered(speaking_checkpoint(tmp_path / "strict", strict), monkeypatch)
    assert worker.count(typing("a")[0]) + 2 == worker.count(typing("a b")[0])


def test_nothing_is_counted_where_there_is_no_model() -> None:
    with pytest.raises(ModelError):
        Worker(lambda reply: None, "none")._count(Count(1, tuple(TALK), session="a"))
