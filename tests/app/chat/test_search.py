"""What is found, in which order, and what of it is shown."""

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat import search as searching
from app.chat.indexing import spaced
from app.chat.search import Query, Search, parse
from app.chat.snippets import WIDTH, Term, cut, places, shown
from app.chat.store import Attachment, Store
from app.chat.text import visible
from tests.app.chat.conftest import caught_up, found

SCRIPTS = "abcéßÅñ ñ x_y-.,'\n\t\x1b\u200b\u202e" + "東京学习がかゞーｶﾞ한국어" + "שָׁלמَرح" + "हिन्दीไทย" + "😀👍🏽❤️✓→①ﬁ"
TEXT = st.text(st.sampled_from(SCRIPTS), max_size=60)


def said(store: Store, *texts: str, title: str = "t", model: str | None = None) -> list[int]:
    """The ids of messages with these words, in a conversation of their own; the index has them."""
    conversation = store.create(title, model=model)
    identities = [store.ask(conversation.id, None, text).id for text in texts]
    caught_up(store)
    return identities


def marked(search: Search, typed: str) -> list[list[str]]:
    """For each hit the parts of its snippet that are marked."""
    return [[hit.snippet[start:end] for start, end in hit.marks] for hit in found(search, typed)]


@pytest.mark.parametrize(
    ("text", "typed", "marks"),
    [
        ("昨日は東京タワーに行きました。", "東京", ["東京"]),
        ("我在学习中文", "学习", ["学习"]),
        ("我在学习中文", "学", ["学"]),
        ("한국어를 배웁니다", "한국", ["한국"]),
        ("한국어를 배웁니다", "국어", ["국어"]),
        ("カタカナとひらがな", "カタ ひら", ["カタ", "ひら"]),
        ("カタカナ", "ｶﾀｶﾅ", ["カタカナ"]),
        ("iPhoneを東京で買う", "iphone 東京", ["iPhone", "東京"]),
        ("ภาษาไทย", "ไทย", ["ไทย"]),
        ("un café crème", "cafe", ["café"]),
        ("un cafe creme", "café", ["cafe"]),
        ("cafe\u0301 noir", "CAFÉ", ["café"]),
        ("die Straße", "strasse ", ["Straße"]),
        ("well done 👍🏽", "👍", ["👍"]),
        ("הוא אמר שָׁלוֹם", "שלום", ["שָׁלוֹם"]),
        ("قال مَرْحَبًا", "مرحبا", ["مَرْحَبًا"]),
        ("हिन्दी भाषा", "हिन्दी", ["हिन्दी"]),
        ("a state-of-the-art thing", "state-of-the-art ", ["state-of-the-art"]),
        ("call foo_bar(x.y)", "foo_bar x.y ", ["foo_bar", "x.y"]),
        ("don't panic", "don't ", ["don't"]),
        ("vitamin c and d", "c ", ["c"]),
        ("one\n\ttwo   three", '"one two three"', ["one two three"]),
    ],
)
def test_words_of_all_scripts_are_found_and_marked(
    store: Store, search: Search, text: str, typed: str, marks: list[str]
) -> None:
    said(store, text)
    assert marked(search, typed) == [marks]


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("東の京", "東京"),
        ("習学", "学習"),
        ("がく", "かく"),
        ("foo and bar", "foo_bar "),
        ("blue is the sky", '"blue sky"'),
        ("blue sea", "blue sky "),
        ("a blue sky", "sky -blue "),
        ("computer", "comp "),
        ("😀", "😁"),
    ],
)
def test_what_is_not_there_is_not_found(store: Store, search: Search, text: str, typed: str) -> None:
    said(store, text)
    assert found(search, typed) == ()


def test_the_last_word_goes_on_while_it_is_typed_unless_it_is_one_letter(store: Store, search: Search) -> None:
    said(store, "a computer and c")
    assert marked(search, "comp") == [["comp"]]
    assert marked(search, '"a comp') == [["a comp"]]
    assert found(search, "comp and ") == ()
    assert marked(search, "c") == [["c"]]


def test_titles_come_first_the_newest_before_the_others(store: Store, search: Search) -> None:
    said(store, "whales whales whales", title="Oceans")
    said(store, "hello", title="Of whales")
    said(store, "hello", title="Whales and ships")
    hits = found(search, "whales")
    assert [(hit.title, hit.where) for hit in hits] == [
        ("Whales and ships", "title"),
        ("Of whales", "title"),
        ("Oceans", "content"),
    ]
    assert (hits[0].message, hits[0].snippet, hits[0].marks) == (None, "Whales and ships", ((0, 6),))
    assert [hit.title for hit in found(search, "whales -ships ")] == ["Of whales", "Oceans"]


def test_titles_leave_room_for_messages_and_the_rest_is_counted(store: Store, search: Search) -> None:
    for number in range(6):
        said(store, "a whale", title=f"Whale {number}")
    result = search.find(Query(words=("whale",)), limit=4)
    assert [hit.where for hit in result.hits] == ["title", "title", "content", "content"]
    assert result.more
    assert not search.find(Query(words=("whale",)), limit=12).more


def test_a_message_that_says_it_more_often_comes_before_others(store: Store, search: Search) -> None:
    hay = "hay " * 30
    seldom, often, long = said(store, f"whale {hay}", f"whale whale whale {hay}", f"whale {hay * 20}")
    assert [hit.message for hit in found(search, "whale")] == [often, seldom, long]


def test_of_very_many_the_newest_are_found(store: Store, search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "RANKED", 5)
    messages = said(store, *(f"whale {number}" for number in range(9)))
    result = search.find(Query(words=("whale",)), limit=3)
    assert [hit.message for hit in result.hits] == messages[:-4:-1]
    assert result.more


def test_it_says_whose_words_they_are_and_where_they_stand(store: Store, search: Search) -> None:
    conversation = store.create("t", model="now").id
    asked = store.ask(conversation, None, "question", [Attachment("notes.txt", "an attached needle")])
    answer = store.begin_answer(conversation, asked.id, "qwen")
    store.finish(answer.id, "complete", answer="plain", reasoning="deep needle")
    caught_up(store)
    hits = {hit.where: hit for hit in found(search, "needle")}
    assert hits.keys() == {"attachments", "reasoning"}
    assert (hits["attachments"].message, hits["attachments"].role, hits["attachments"].model) == (
        asked.id,
        "user",
        None,
    )
    assert (hits["reasoning"].role, hits["reasoning"].model) == ("assistant", "qwen")
    assert hits["reasoning"].created == answer.created
    assert [hit.where for hit in found(search, "notes.txt")] == ["attachments"]
    assert [hit.where for hit in found(search, "plain deep ")] == ["content"], "words may stand in different parts"


def test_only_one_model_s(store: Store, search: Search) -> None:
    (asked,) = said(store, "a whale", model="Llama 3")
    conversation = store.create("t").id
    question = store.ask(conversation, None, "a whale")
    answer = store.begin_answer(conversation, question.id, "Qwen 2.5")
    store.finish(answer.id, "complete", answer="a whale")
    caught_up(store)
    assert [hit.message for hit in found(search, "whale model:llama")] == [asked]
    assert [hit.message for hit in found(search, 'whale model:"qwen 2"')] == [answer.id, question.id]
    assert found(search, "whale model:other") == ()
    assert [hit.where for hit in found(search, "t model:llama")] == ["title"]


def test_only_what_was_said_in_that_time(store: Store, search: Search) -> None:
    message, old = said(store, "a whale", "an old whale")
    store._connection.execute("UPDATE messages SET created = 1.0e9 WHERE id = ?", (old,))
    assert [hit.message for hit in found(search, "whale after:today")] == [message]
    assert [hit.message for hit in found(search, "whale before:today")] == [old]
    assert [hit.message for hit in found(search, "whale after:2001-09 before:2001-10")] == [old]
    tomorrow = date.today() + timedelta(1)
    assert [hit.where for hit in found(search, f"t after:today before:{tomorrow}")] == ["title"]
    assert found(search, "t before:2001") == ()


def test_without_words_the_newest_that_fit_are_found(store: Store, search: Search) -> None:
    first, second = said(store, "first\nline", "second line", model="qwen")
    hits = found(search, "model:qwen")
    assert [(hit.message, hit.snippet, hit.marks) for hit in hits] == [
        (second, "second line", ()),
        (first, "first line", ()),
    ]
    assert [hit.message for hit in found(search, "model:qwen -second ")] == [first]
    assert found(search, "-second ") == found(search, "") == found(search, "?! ") == ()


def test_hostile_text_is_shown_safely(store: Store, search: Search) -> None:
    said(store, "\x1b]52;c;x\x07needle\u202e [bold]\r\n\x9b31m", title="\x1b[2Jneedle")
    for hit in found(search, "needle"):
        assert visible(hit.snippet) == hit.snippet
        assert "needle" in [hit.snippet[start:end] for start, end in hit.marks]


# --- snippets ----------------------------------------------------------------------------------------------------


def snippet_of(text: str, typed: str) -> str:
    """The snippet with its marks in brackets."""
    words = spaced(typed).split()
    line, marks = cut(shown(text), places(shown(text), [Term.of([word]) for word in words]))
    for start, end in reversed(marks):
        line = f"{line[:start]}[{line[start:end]}]{line[end:]}"
    return line


def test_a_snippet_shows_words_around_what_was_found() -> None:
    text = f"{'before ' * 50}needle{' after' * 50}"
    assert snippet_of(text, "needle") == f"…{'before ' * 5}[needle]{' after' * 18}…"
    assert snippet_of("needle", "needle") == "[needle]"
    assert snippet_of("nothing of it", "needle") == "nothing of it"


def test_a_snippet_is_where_most_different_words_stand() -> None:
    text = f"one {'hay ' * 100}two one three{' hay' * 100}"
    assert "[two] [one] [three]" in snippet_of(text, "one two three")


def test_places_that_overlap_are_one_mark() -> None:
    text = shown("foo bar baz")
    found_places = places(text, [Term.of(["foo", "bar"]), Term.of(["bar"]), Term.of(["bar", "baz"])])
    assert cut(text, found_places) == ("foo bar baz", ((0, 11),))


@given(text=TEXT, data=st.data())
def test_a_place_is_exactly_what_was_looked_for(text: str, data: st.DataObject) -> None:
    line = shown(text)
    words = spaced(line).split()
    if not words:
        return
    first = data.draw(st.integers(0, len(words) - 1))
    wanted = words[first : data.draw(st.integers(first + 1, len(words)))]
    for start, end, _ in places(line, [Term.of(wanted)]):
        assert spaced(line[start:end]).split()[: len(wanted)] == wanted


@given(text=TEXT.map(lambda text: text * 12), word=st.sampled_from(["a", "東", "が", "한", "😀", "ไ"]))
def test_a_snippet_is_one_safe_line_with_its_marks_in_order(text: str, word: str) -> None:
    line, marks = cut(shown(text), places(shown(text), [Term.of(spaced(word).split())]))
    assert visible(line) == line
    assert "\n" not in line
    assert len(line) <= WIDTH + len("……")
    assert all(start < end for start, end in marks)
    assert all(before[1] <= after[0] for before, after in pairwise(marks))
    assert marks or spaced(word).strip() not in spaced(text).split()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Search]]:
    path: Path = tmp_path_factory.mktemp("shelf") / "conversations.sqlite3"
    with Store.open(path) as store:
        search = Search.open(path)
        yield store, search
        search.close()


@given(text=TEXT, data=st.data())
def test_whatever_was_said_is_found_by_any_part_of_it(
    shelf: tuple[Store, Search], text: str, data: st.DataObject
) -> None:
    store, search = shelf
    pieces = text.split()
    if not pieces:
        return
    conversation = store.create("t").id
    message = store.ask(conversation, None, text).id
    caught_up(store)
    first = data.draw(st.integers(0, len(pieces) - 1))
    part = " ".join(pieces[first : data.draw(st.integers(first + 1, len(pieces)))])
    hits = search.find(parse(f'"{part}"', date.today())).hits
    store.remove_conversation(conversation)
    if spaced(part).strip():
        assert message in [hit.message for hit in hits]
        assert all(hit.marks for hit in hits)
