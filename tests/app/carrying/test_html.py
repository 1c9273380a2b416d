"""A conversation as a page: whole, readable, and nothing in it runs, loads or pretends to be the page."""

import pytest
from hypothesis import given, settings

from app.carrying.html import html
from app.carrying.tale import Tale
from app.chat.records import Attachment, GenerationSettings
from app.chat.text import visible
from tests.app.carrying.page import Page
from tests.app.carrying.tales import answer, question, tale, tales

FRAME = {"html", "head", "meta", "title", "style", "body", "header", "main", "section", "article", "footer", "time"}
TEXT = {
    *("h1", "h2", "h3", "h4", "h5", "h6", "p", "div", "span", "a", "em", "strong", "s", "code", "pre", "blockquote"),
    *("ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "br", "hr", "details", "summary"),
}
ATTRIBUTES = {"class", "id", "dir", "lang", "datetime", "href", "rel", "start", "style", "name", "content", "charset"}


def page(told: Tale) -> Page:
    """The page of a conversation, found to be one that does nothing."""
    document = html(told)
    found = Page(document)
    for element in found.elements:
        assert element.tag in FRAME | TEXT
        assert element.attributes.keys() <= ATTRIBUTES | {"http-equiv"}
        assert (element.attributes.get("style") or "text-align:").startswith("text-align:")
    for link in found.all("a"):
        target = (link.attributes["href"] or "").lower()
        assert target.startswith(("https://", "http://", "mailto:", "#m")) or target in ("http:", "https:")
        assert target.startswith("#") or link.attributes["rel"] == "noreferrer"
    asked = {each.attributes.get("http-equiv"): each.attributes.get("content") for each in found.all("meta")}
    assert asked["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert asked["x-dns-prefetch-control"] == "off"  # or browsers look up the hosts of links that nobody follows
    style = found.texts("style")[0]
    assert "url(" not in style
    assert "@import" not in style
    return found


def answered(words: str) -> Page:
    return page(tale(question("Why?"), answer(words)))


# --- what stands on it ------------------------------------------------------------------------------------


def test_it_says_what_the_conversation_is() -> None:
    found = page(tale(question("Why?"), title="Light & <sky>", system_prompt="Be <brief>.\n\nBe right."))
    assert found.texts("h1") == found.texts("title") == ["Light & <sky>"]
    assert found.texts("time")[0].startswith("2023-11-1")
    assert "starter" in found.texts("p", "facts")[0]
    assert found.texts("summary") == ["System prompt"]
    assert "Be <brief>.\n\nBe right." in found.texts("details")[0]


def test_it_says_how_answers_are_generated() -> None:
    found = page(tale(question("Why?"), settings=GenerationSettings(temperature=0.7, thinking=True)))
    assert "Temperature 0.7" in found.texts("p", "facts")[1]
    measured = answer("So.", sampling={"top_p": 0.5, "odd": "<b>"}, completion_tokens=21, decode_seconds=0.5)
    (facts,) = page(tale(question("Why?"), measured)).texts("footer")
    assert facts == "Top-p 0.5 · 21 tokens · 40.0 tokens a second"


def test_messages_stand_under_who_said_them() -> None:
    found = page(tale(question("Why?"), answer("So.", model="qwen<3>"), question("And?"), answer("Yes.", model=None)))
    assert [each.text for each in found.all("h2")] == ["You", "qwen<3>", "You", "Model"]
    assert [each.attributes["class"] for each in found.all("article")] == ["question", "answer"] * 2


def test_questions_are_as_they_were_typed_and_answers_are_markdown() -> None:
    found = page(tale(question("a  b\n\n*c*"), answer("| a |\n|---|\n| *b*<br>c |\n\n~~gone~~")))
    assert found.texts("div", "plain") == ["a  b\n\n*c*"]
    assert (found.texts("th"), found.texts("em"), found.texts("s")) == (["a"], ["b"], ["gone"])
    assert len(found.all("br")) == 1


def test_reasoning_and_attachments_are_folded() -> None:
    told = tale(question("Why?", Attachment("a<b>.txt", "line <1>\n\n  line 2")), answer("So.", "I *think*."))
    found = page(told)
    assert found.texts("summary") == ["Attached: a<b>.txt", "Reasoning"]
    assert "line <1>\n\n  line 2" in found.texts("details")[0]
    assert found.texts("em") == ["think"]


def test_how_an_answer_ended_is_said() -> None:
    endings = [
        answer("a", status="stopped", note="by <you>"),
        answer("b", status="failed"),
        answer("c", note="Full."),
        answer("d", edited=True),
    ]
    found = page(tale(*endings))
    assert found.texts("p", "ending") == [
        "Stopped here: by <you>",
        "Failed.",
        "Full.",
        "These words were changed by hand.",
    ]


def test_other_branches_stand_behind_the_one_in_use() -> None:
    told = tale(
        *(question("Why?"), answer("So."), answer("Or so.", parent=1), question("And?", parent=2)),
        question("Another?", parent=0),
        head=4,
    )
    found = page(told)
    assert [each.attributes["id"] for each in found.all("article")] == ["m1", "m2", "m4", "m3", "m5"]
    assert [each.text.strip().split("\n")[0] for each in found.all("section", "branch")] == [
        "Another branch, after “Why?”",
        "Another beginning",
    ]
    assert found.texts("span", "version") == [
        *("version 1 of 2 the next", "version 1 of 2 the next"),
        *("version 2 of 2 the one before", "version 2 of 2 the one before"),
    ]
    ids = {f"#{each.attributes['id']}" for each in found.all("article")}
    assert {each.attributes["href"] for each in found.all("a")} <= ids


def test_an_empty_conversation_is_a_page_too() -> None:
    assert page(tale(title="")).texts("h1") == ["Conversation"]


# --- code -------------------------------------------------------------------------------------------------


def test_code_is_coloured_and_not_changed() -> None:
    code = 'def f(a: int) -> str:\n    """<b>"""\n    return "&amp;"  # ok'
    found = answered(f"```python\n{code}\n```")
    assert found.texts("code") == [f"{code}\n"]
    assert "def" in found.texts("span", "k")


@pytest.mark.parametrize("language", ["", "no-such", '"><script>', "x" * 100])
def test_code_of_no_known_language_stays_as_it_is(language: str) -> None:
    found = answered(f"```{language}\n<b> & 'c'\n```")
    assert found.texts("code") == ["<b> & 'c'\n"]
    assert not found.all("script")


def test_code_that_would_take_long_to_colour_stays_as_it_is() -> None:
    for code in ("a = 1\n" * 20_000, f"{'(' * 5_000}\n"):
        found = answered(f"```python\n{code}```")
        assert (found.texts("code"), found.all("span")) == ([code], [])


# --- what is hostile --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "<script>alert(1)</script>",
        "a <img src=x onerror=alert(1)> b",
        "<svg onload=alert(1)>",
        "</div></article></main></body></html><script>",
        "<!-- open",
        "<style>body { display: none }</style>",
        "<meta http-equiv=refresh content=0>",
    ],
)
def test_html_is_text(words: str) -> None:
    found = page(tale(question(words), answer(words, reasoning=words), title=words))
    texts = [text.strip() for text in found.texts("div", "text")]
    assert texts == [words] * 3
    assert found.texts("h1") == [words]


@pytest.mark.parametrize(
    "target", ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "file:///etc/passwd", "vbscript:x"]
)
@pytest.mark.parametrize("words", ["[here]({})", "![here]({})", "[here][a]\n\n[a]: {}"])
def test_links_that_do_something_else_are_none(words: str, target: str) -> None:
    found = answered(words.format(target))
    assert not found.all("a")
    assert "here" in found.texts("div", "text")[1]


@pytest.mark.parametrize("target", ["//example.org/x", "relative/x", "#m1", "ftp://example.org/"])
def test_links_to_elsewhere_say_where_they_would_lead(target: str) -> None:
    found = answered(f"[here]({target}) ![there]({target})")
    assert not found.all("a")
    assert found.texts("div", "text")[1].strip() == f"here ({target}) there ({target})"


def test_links_to_the_web_and_images_are_links() -> None:
    found = answered("[*a*](https://example.org/a?b&c 't') <mailto:a@example.org> ![p](http://example.org/p.png)")
    links = [(each.text, each.attributes["href"]) for each in found.all("a")]
    assert links == [
        ("a", "https://example.org/a?b&c"),
        ("mailto:a@example.org", "mailto:a@example.org"),
        ("p", "http://example.org/p.png"),
    ]
    assert not found.all("img")


def test_what_acts_instead_of_being_seen_is_left_out() -> None:
    found = page(tale(question("a\x1b[31m\u202eb\x00"), answer("c\u2066\x9bd"), title="e\u202ef"))
    assert found.texts("div", "text") == ["a[31mb", "\ncd\n"]
    assert found.texts("h1") == ["ef"]


@pytest.mark.parametrize(
    "words",
    ["> " * 5_000 + "deep", "*a " * 70_000, "[" * 30_000, "![[\n" * 40_000 + "]"],
    ids=["deep", "long", "line", "paragraph"],
)
def test_what_would_take_a_parser_long_stands_as_it_was_written(words: str) -> None:
    assert answered(words).texts("div", "plain")[1] == words


def test_many_versions_do_not_list_each_other() -> None:
    told = tale(question("Why?"), *(answer(str(number), parent=1) for number in range(500)))
    assert len(page(told).all("a")) < 2_000


@settings(max_examples=60)
@given(tales())
def test_whatever_was_said_is_on_the_page_and_does_nothing(told: Tale) -> None:
    found = page(told)
    assert len(found.all("article")) == len(told.messages)
    by_id = {each.attributes["id"]: each.text for each in found.all("article")}
    for message in told.messages:
        if message.role == "user":
            assert visible(message.content) in by_id[f"m{message.id}"]
        for attachment in message.attachments:
            assert visible(attachment.text) in by_id[f"m{message.id}"]
