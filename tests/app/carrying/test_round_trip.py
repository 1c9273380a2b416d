"""The laws of carrying: what is exported, imported and exported again is the same, byte for byte."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.carrying import export, export_one, read, render, take_in, tale_of
from app.carrying.from_markdown import from_markdown
from app.carrying.json_file import from_json
from app.carrying.tale import Format, Tale, numbered
from app.chat.store import Store
from app.errors import QuietlyError
from tests.app.carrying.tales import TEXTS, messages, tales

Drawn = TypeVar("Drawn")

LOSSLESS: list[Format] = ["markdown", "json"]


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(tales())
def test_nothing_is_lost_on_the_way_through_a_file(told: Tale) -> None:
    document = render(told, "markdown")
    assert from_markdown(document, "file") == told
    assert from_json(render(told, "json").encode(), "file") == told


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(tales())
def test_nothing_is_lost_on_the_way_through_a_store(told: Tale) -> None:
    with Store.temporary() as store:
        identity = store.take_in(told.conversation, told.messages)
        assert identity
        assert tale_of(store, identity, "all") == told
        for format in LOSSLESS:
            assert render(tale_of(store, identity, "all"), format) == render(told, format)
        assert not take_in(store, [told, tale_of(store, identity, "current")]).added


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(tales(most=3), st.sampled_from(LOSSLESS), st.integers(0), st.integers(0), TEXTS)
def test_a_file_that_something_was_done_to_is_read_or_refused(
    told: Tale, format: Format, start: int, length: int, put_in: str
) -> None:
    document = render(told, format)
    start %= len(document)
    spoilt = document[:start] + put_in + document[start + length % 100 :]
    with contextlib.suppress(QuietlyError):
        found = from_markdown(spoilt, "file") if format == "markdown" else from_json(spoilt.encode(), "file")
        with Store.temporary() as store:
            assert take_in(store, [found]).added
        assert from_markdown(render(found, "markdown"), "file") == found


@pytest.mark.parametrize("format", LOSSLESS)
def test_what_was_said_here_is_the_same_in_a_second_store(store: Store, tmp_path: Path, format: Format) -> None:
    made = store.create(system_prompt="Be brief.", model="starter")
    asked = store.ask(made.id, None, "Why is the\r\nsky blue?")
    for words in ("Because", "So"):
        answer = store.begin_answer(made.id, asked.id, "starter", {"temperature": 0.5})
        store.finish(answer.id, "stopped", answer=words, reasoning="light", token_ids=[1, 2], decode_seconds=0.1)
    store.rename(made.id, "Light")
    store.pin(made.id, True)
    first = export_one(store, made.id, tmp_path, format, "all")
    with Store.open(tmp_path / "second" / "conversations.sqlite3") as second:
        second.ask(second.create().id, None, "The ids of this store are others.")
        (identity,) = take_in(second, read(first)).added
        again = export_one(second, identity, tmp_path, format, "all")
        assert second.conversation(identity).pinned
    assert again.name != first.name
    assert again.read_bytes() == first.read_bytes()


def test_of_the_branch_in_use_alone_the_rest_is_left_out(store: Store, tmp_path: Path) -> None:
    made = store.create()
    asked = store.ask(made.id, None, "Why?")
    for words in ("Because", "So"):
        store.add_answer(made.id, asked.id, words, None)
    (told,) = read(export_one(store, made.id, tmp_path, "json"))
    assert [(message.id, message.parent, message.content) for message in told.messages] == [
        (1, None, "Why?"),
        (2, 1, "So"),
    ]


def test_an_answer_that_is_being_written_is_an_interrupted_one_elsewhere(store: Store, tmp_path: Path) -> None:
    made = store.create()
    writing = store.begin_answer(made.id, store.ask(made.id, None, "Why?").id, "starter")
    store.write(writing.id, "Beca")
    for format in LOSSLESS:
        (told,) = read(export_one(store, made.id, tmp_path, format))
        assert (told.messages[1].content, told.messages[1].status) == ("Beca", "interrupted")


# --- many -------------------------------------------------------------------------------------------------


def gathered(strategy: st.SearchStrategy[Drawn], count: int) -> list[Drawn]:
    """What Hypothesis would try."""
    found: list[Drawn] = []

    @settings(max_examples=count, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def gather(one: Drawn) -> None:
        found.append(one)

    gather()
    return found


def thousand() -> Iterator[Tale]:
    """Conversations of up to forty messages, with branches off any of them."""
    chance = random.Random(20)
    pool = gathered(messages(1, None), 600)
    about = [told.conversation for told in gathered(tales(most=0), 200)]
    for number in range(1000):
        told = []
        for place in range(1, chance.randint(1, 40) + 1):
            parent = place - 1 if chance.random() < 0.7 else chance.randrange(place)
            told.append(msgspec.structs.replace(chance.choice(pool), id=place, parent=parent or None))
        beginning = msgspec.structs.replace(chance.choice(about), created=float(number), head=chance.randint(1, place))
        yield numbered(beginning, told)


@pytest.mark.soak
def test_a_thousand_conversations_come_back_as_they_were(store: Store, tmp_path: Path) -> None:
    added = take_in(store, thousand()).added
    assert len(added) == 1000
    for format in LOSSLESS:
        first, again = (tmp_path / f"{format} {time}" for time in ("first", "again"))
        first.mkdir()
        again.mkdir()
        written = export(store, added, first, format, "all")
        with Store.open(tmp_path / format / "conversations.sqlite3") as second:
            came = take_in(second, (told for path in written for told in read(path)))
            assert came.already == 0
            assert take_in(second, read(first)).already == 1000
            for one, twin in zip(written, export(second, came.added, again, format, "all"), strict=True):
                assert twin.read_bytes() == one.read_bytes()
