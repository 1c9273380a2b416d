"""A Markdown export in the hands of other programs' readers: GitHub's, in C, and mistune."""

from collections.abc import Callable
from functools import partial

import cmarkgfm
import mistune
import pytest
from cmarkgfm.cmark import Options
from hypothesis import given, settings

from app.carrying import render
from app.carrying.tale import Tale, runs
from app.chat.records import Attachment
from tests.app.carrying.page import Page
from tests.app.carrying.tales import answer, question, tale, tales

Reader = Callable[[str], str]

github: Reader = partial(cmarkgfm.github_flavored_markdown_to_html, options=Options.CMARK_OPT_UNSAFE)
READERS: list[Reader] = [github, mistune.create_markdown(escape=False, plugins=["table", "strikethrough"])]
CODE = 'def f(a: int) -> str:\n\n    return "<b> & *c*"  # ``` not the end'


def read(reader: Reader, told: Tale) -> Page:
    """The export as a reader shows it; what knows front matter takes it off, and the rest is asked here."""
    front, body = render(told, "markdown").removeprefix("---\n").split("\n---\n", 1)
    assert front.startswith("title: ")
    return Page(reader(body))


@pytest.fixture(params=READERS, ids=["github", "mistune"])
def reader(request: pytest.FixtureRequest) -> Reader:
    found: Reader = request.param
    return found


def test_each_message_stands_under_its_heading(reader: Reader) -> None:
    told = tale(question("Why *so*?"), answer("Because.", model="a_b*c*"), question("And?"), answer("Yes."))
    found = read(reader, told)
    assert [each.strip() for each in found.texts("h2")] == ["You", "a_b*c*", "You", "starter"]
    assert found.texts("em") == ["so"]
    assert found.texts("p") == ["Why so?", "Because.", "And?", "Yes."]


def test_nothing_is_seen_of_what_is_for_programs(reader: Reader) -> None:
    told = tale(question("Why?\x07", Attachment("a.txt", "b")), answer("So.", "hm", packed_ids=b"\x01\0\0\0"))
    texts = [element.text for element in read(reader, told).elements]
    assert not [text for text in texts if "quietly:" in text or "created" in text]


def test_code_is_what_it_was(reader: Reader) -> None:
    found = read(reader, tale(question("Why?"), answer(f"So:\n\n````python\n{CODE}\n````\n\nDone.")))
    assert found.texts("code") == [f"{CODE}\n"]
    assert found.texts("p")[-1] == "Done."


def test_a_fence_within_a_fence_ends_nothing(reader: Reader) -> None:
    inner = "# A list\n\n```python\nprint(1)\n```\n\n~~~\nx\n~~~"
    found = read(reader, tale(question("Show it."), answer(f"````markdown\n{inner}\n````"), question("Thanks.")))
    assert found.texts("code") == [f"{inner}\n"]
    assert len(found.all("h2")) == 3
    assert not found.all("h1")


@pytest.mark.parametrize("open_end", ["```python\nprint(1)", "~~~~\nx", "<!-- open", "<pre>\nx", "<script>\nx"])
def test_what_an_answer_leaves_open_ends_with_it(reader: Reader, open_end: str) -> None:
    found = read(reader, tale(question("Why?"), answer(open_end), question("Still there?")))
    assert [each.strip() for each in found.texts("h2")] == ["You", "starter", "You"]
    assert found.texts("p")[-1] == "Still there?"


def test_tables_lists_and_quotes_are_such(reader: Reader) -> None:
    words = "| a | b |\n|---|--:|\n| 1 | 2 |\n\n- one\n- two\n\n> three\n\n~~four~~ 東京 😀 שלום"
    found = read(reader, tale(question("Why?"), answer(words)))
    assert (found.texts("th"), found.texts("td")) == (["a", "b"], ["1", "2"])
    assert [each.strip() for each in found.texts("li")] == ["one", "two"]
    assert [each.strip() for each in found.texts("blockquote")] == ["three"]
    assert found.texts("del") == ["four"]
    assert "東京 😀 שלום" in found.texts("p")[-1]


def test_reasoning_is_folded_and_attachments_are_code(reader: Reader) -> None:
    text = "a,b\n```\n<i>1</i>,2\n"
    found = read(reader, tale(question("Why?", Attachment("x_1.csv", text)), answer("So.", "I *think*.\n\nTwice.")))
    assert found.texts("h3")[0].strip() == "x_1.csv"
    assert found.texts("code") == [f"{text}\n"]
    (details,) = found.all("details")
    assert [line for line in details.text.split("\n") if line.strip()] == ["Reasoning ", "I think.", "Twice."]
    assert found.texts("p")[-1] == "So."


def test_the_words_of_a_branch_that_is_not_in_use_are_marked(reader: Reader) -> None:
    told = tale(question("Why?"), answer("So."), answer("Or so.", parent=1), head=2)
    found = read(reader, told)
    assert "Another branch, after “Why?”:" in [each.strip() for each in found.texts("em")]
    assert found.texts("p")[-1] == "Or so."


@pytest.mark.parametrize(
    "said",
    [
        "<details>\n```\n",
        "</div>\n~~~",
        "<custom a='b'>\n```\n\n```",
        "<custom>\n\n```",
        "words\n<custom>\n```",
        "<p>\n\n<script>",
        "```\n<details>\n\n",
    ],
)
def test_html_and_fences_that_are_left_open_do_not_swallow_the_next_heading(said: str) -> None:
    has_its_headings(tale(question(said), question("And?")))


@settings(max_examples=100)
@given(tales())
def test_whatever_was_said_each_message_has_its_heading(told: Tale) -> None:
    has_its_headings(told)


def has_its_headings(told: Tale) -> None:
    """Every message begins with a heading, for a reader that knows nothing of ours."""
    front, body = render(told, "markdown").removeprefix("---\n").split("\n---\n", 1)
    assert front.startswith("title: ")
    headings = [line for line in github(body).split("\n") if line.startswith("<h2>") and "<!-- quietly:" in line]
    roles = [message.role for run in runs(told) for message in run]
    assert [heading.split("<!-- quietly:")[1].split()[0] for heading in headings] == roles
