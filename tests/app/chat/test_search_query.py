"""What a person types is a query, whatever it is."""

import time
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.search import Query, Search, parse
from app.chat.store import Store
from app.errors import QuietlyError
from tests.app.chat.conftest import caught_up

TODAY = date(2026, 11, 22)
PIECES = (
    "model: after: before: content: - \" “ * ^ ( ) { + : ' \0 AND NOT NEAR 2026 -01 today 東京 é 😀 \ud800 \u0301 x_y a"
)
TYPED = st.lists(
    st.sampled_from([" ", *PIECES.split()]) | st.text(st.characters(codec=None, categories=None), max_size=5)
).map("".join)


def moment(day: date) -> float:
    return time.mktime(day.timetuple())


@pytest.mark.parametrize(
    ("typed", "query"),
    [
        ("blue sky ", Query(words=("blue", "sky"))),
        ("blue sk", Query(words=("blue", "sk"), unfinished=True)),
        ('"blue sky" why ', Query(words=("why",), phrases=("blue sky",))),
        ("“blue sky”", Query(phrases=("blue sky",))),
        ('"blue sk', Query(words=("blue sk",), unfinished=True)),
        ('sky -blue -"at night" ', Query(words=("sky",), excluded=("blue", "at night"))),
        ("state-of-the-art --flag ", Query(words=("state-of-the-art", "--flag"))),
        ('model:qwen model:"qwen 2.5" ', Query(model="qwen 2.5")),
        ("model: after: before:2026- ", Query()),
        ("after:lunch http://x ", Query(words=("after:lunch", "http://x"))),
        ("c ++ - ! \t", Query(words=("c",))),
        ("", Query()),
    ],
)
def test_words_phrases_and_what_must_not_be_there(typed: str, query: Query) -> None:
    assert parse(typed, TODAY) == query


@pytest.mark.parametrize(
    ("typed", "since", "until"),
    [
        ("after:2026-01-31", date(2026, 1, 31), None),
        ("before:2026-02", None, date(2026, 2, 1)),
        ("after:2025 before:2026", date(2025, 1, 1), date(2026, 1, 1)),
        ("after:yesterday before:today", TODAY - timedelta(1), TODAY),
    ],
)
def test_days_are_those_of_this_place(typed: str, since: date | None, until: date | None) -> None:
    query = parse(typed, TODAY)
    assert (query.since, query.until) == (since and moment(since), until and moment(until))
    assert query.words == ()


@pytest.mark.parametrize(
    "typed", ["after:2026-13 ", "after:2026-13-4", "after:0000 ", "before:2026-02-", "after:99999 "]
)
def test_what_may_still_become_a_day_is_no_filter_yet(typed: str) -> None:
    assert parse(typed, TODAY) == Query()


@pytest.mark.parametrize(
    ("typed", "day"),
    [
        ("after:2026-13-45 story", "2026-13-45"),
        ("story before:2026-02-30", "2026-02-30"),
        ('after:"0000-01-01"', "0000-01-01"),
    ],
)
def test_a_day_that_is_written_out_and_never_was_is_refused(typed: str, day: str) -> None:
    with pytest.raises(QuietlyError, match=f"{day} is no day; write one that there is"):
        parse(typed, TODAY)


def test_only_a_day_that_is_meant_as_one_is_refused() -> None:
    query = parse("2026-13-45 model:2026-13-45 -after:2026-13-45 ", TODAY)
    assert query == Query(words=("2026-13-45",), excluded=("after:2026-13-45",), model="2026-13-45")


@given(st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1)))
def test_a_day_typed_is_the_day_meant(at: datetime) -> None:
    since = parse(f"after:{at:%Y-%m-%d} x", TODAY).since
    assert since is not None
    assert datetime.fromtimestamp(since).date() == at.date()


@pytest.fixture(scope="module")
def filled_search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    path = tmp_path_factory.mktemp("search") / "conversations.sqlite3"
    store = Store.open(path)
    conversation = store.create("東京 a x_y", model="model é")
    for text in ("a x_y 東京 😀", "content: NEAR today", "é 2026-01"):
        store.ask(conversation.id, None, text)
    caught_up(store)
    store.close()
    return Search.open(path)


@given(typed=TYPED)
def test_everything_that_can_be_typed_is_a_query(filled_search: Search, typed: str) -> None:
    found = filled_search.find(parse(typed, TODAY))
    for hit in found.hits:
        assert all(0 <= start < end <= len(hit.snippet) for start, end in hit.marks)


def test_a_whole_page_as_a_query_is_one_too(filled_search: Search) -> None:
    for page in ("a " * 5_000, f'"{"a " * 5_000}"', "東京" * 5_000, "-a " * 5_000 + "x_y", "ab" * 50_000):
        filled_search.find(parse(page, TODAY))


def test_of_a_whole_page_without_gaps_the_beginning_is_looked_for(database: Path) -> None:
    with Store.open(database) as store:
        store.ask(store.create("t").id, None, "学习" * 1_000)
        caught_up(store)
    search = Search.open(database)
    assert [hit.message for hit in search.find(parse("学习" * 50_000, TODAY)).hits] == [1]
    search.close()
