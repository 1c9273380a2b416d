"""Two windows in one conversation: what a model reads is what the person sees who asks it, whatever the other does."""

from collections.abc import AsyncIterator, Callable, Sequence

import pytest
import pytest_asyncio

from app.chat.failures import ChangedError
from app.chat.store import Message, Store
from app.conducting.stores import Stores
from app.conducting.turns import Conductor
from app.settings import Settings
from tests.app.tui.window import STARTER, FakePool, converse
from tests.waiting import until


class Side:
    """One of the windows: a conductor with engines and a connection of its own."""

    def __init__(self, store: Store) -> None:
        self.store, self.pool = store, FakePool()
        self._answered = 0
        settings = Settings(name_conversations=False)
        self.conductor = Conductor(Stores(store), lambda: self.pool, lambda news: None, str, lambda: settings)

    async def answered(self, words: str) -> None:
        self._answered += 1
        await until(lambda: len(self.pool.turns) == self._answered)
        self.pool.turns[-1].say(words)
        self.pool.turns[-1].finish()
        await until(lambda: not self.conductor.lives)

    async def ask(self, text: str, seen: Sequence[Message]) -> Message:
        """Ask, and let it be answered; returns the question."""
        asked = await self.conductor.send(seen[-1].conversation, text, STARTER, seen=seen)
        await self.answered(f"Answer to {text}")
        return asked.question

    @property
    def read(self) -> list[str]:
        """What the model was given last."""
        return [message.content for message in self.pool.turns[-1].messages]


@pytest_asyncio.fixture
async def sides(store: Store) -> AsyncIterator[tuple[Side, Side]]:
    with Store.open(store.path) as second:
        one, other = Side(store), Side(second)
        yield one, other
        await one.conductor.close()
        await other.conductor.close()


async def test_a_question_follows_what_its_window_shows_and_stands_beside_the_others(sides: tuple[Side, Side]) -> None:
    one, other = sides
    seen = one.store.branch(converse(one.store, "Begin", "Begun"))
    theirs = await other.ask("theirs", seen)
    mine = await one.ask("mine", seen)
    assert mine.parent == theirs.parent == seen[-1].id
    assert one.read == ["Begin", "Begun", "mine"]
    assert one.store.siblings(mine.conversation)[mine.id] == (theirs.id, mine.id)
    [answer] = other.store.children(theirs.id, theirs.conversation)
    await other.ask("more", [*seen, theirs, answer])
    assert other.read == ["Begin", "Begun", "theirs", "Answer to theirs", "more"]


async def test_an_answer_is_begun_from_its_own_branch_though_the_other_window_asks_meanwhile(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = sides
    seen = one.store.branch(converse(one.store, "Begin", "Begun"))
    begin: Callable[..., Message] = one.store.begin_answer

    def overtaken(*arguments: object, **named: object) -> Message:
        begun = begin(*arguments, **named)
        other.store.ask(seen[0].conversation, seen[-1].id, "theirs")
        return begun

    monkeypatch.setattr(one.store, "begin_answer", overtaken)
    await one.ask("mine", seen)
    assert one.read == ["Begin", "Begun", "mine"]


async def test_an_answer_is_looked_into_though_the_other_window_has_left_its_branch(sides: tuple[Side, Side]) -> None:
    one, other = sides
    seen = one.store.branch(converse(one.store, "Begin", "Begun"))
    mine = await one.ask("mine", seen)
    answer = one.store.branch(mine.conversation)[-1]
    await other.ask("theirs", seen)
    found = await one.conductor.candidates(answer, STARTER, 0, lambda done, total: None)
    assert found.chosen == (answer.token_ids or ())[0]


async def test_words_that_the_other_window_added_are_seen_before_anything_follows_them(
    sides: tuple[Side, Side],
) -> None:
    one, other = sides
    seen = one.store.branch(converse(one.store, "Begin", "Begun"))
    conversation = seen[0].conversation
    await other.conductor.go_on(seen[-1], STARTER)
    await other.answered(", and gone on")
    with pytest.raises(ChangedError, match="other words now"):
        await one.conductor.send(conversation, "mine", STARTER, seen=seen)
    with pytest.raises(ChangedError, match="other words now"):
        await one.conductor.go_on(seen[-1], STARTER)
    assert not one.pool.turns and len(one.store.whole(conversation)) == 2
    await one.ask("mine", one.store.branch(conversation))
    assert one.read == ["Begin", "Begun, and gone on", "mine"]


async def test_nothing_follows_a_message_that_the_other_window_has_deleted(sides: tuple[Side, Side]) -> None:
    one, other = sides
    seen = one.store.branch(converse(one.store, "Begin", "Begun"))
    other.store.remove_message(seen[-1].id)
    with pytest.raises(ChangedError, match="is gone"):
        await one.conductor.send(seen[0].conversation, "mine", STARTER, seen=seen)
    assert [message.content for message in one.store.whole(seen[0].conversation)] == ["Begin"]
