"""Which links may be opened, what is asked before, and what the system's opener is given."""

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.text import visible
from app.tui.links import LONGEST, link_question, open_link

OPENER = "open" if sys.platform == "darwin" else "xdg-open"


@pytest.fixture
def opener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipe through which an opener of our own says what it was given, one argument a line."""
    pipe = tmp_path / "given"
    os.mkfifo(pipe)
    program = tmp_path / OPENER
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$#" "$@" > "{pipe}"\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return pipe


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a?b=c&d=%20#e",
        "http://localhost:8080/",
        "HTTPS://Example.ORG",
        "http://[::1]:80/x",
        "https://example.org/$(touch);`id`|cat",
        "https://example.org./",
    ],
)
def test_a_web_page_is_asked_about_and_shown_whole(url: str) -> None:
    asked = link_question(url)
    assert isinstance(asked, tuple)
    question, detail = asked
    assert url in detail and question.endswith("?")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("javascript:alert(1)", "http"),
        ("file:///etc/passwd", "http"),
        ("example.org/page", "http"),
        ("-psn_0", "http"),
        ("", "empty"),
        ("https://", "no host"),
        ("https:///path", "no host"),
        ("https://good.example@evil.example/", "password"),
        ("https://user:secret@example.org", "password"),
        ("https://good.example\\@evil.example/", "backslash"),
        ("https://example.org/\x1b[31m", "hide"),
        ("https://example.org/\u202egpj.exe", "hide"),
        ("https://exam\u200bple.org/", "hide"),
        ("https://example.org/a b", "white space"),
        ("https://example.org\n.evil.example/", "white space"),
        ("https://example.org:99999/", "cannot be read"),
        ("https://[::1/", "cannot be read"),
        ("https://exa%6dple.org/", "cannot be read"),
        ("https://-example.org/", "cannot be read"),
        ("https://a..b/", "cannot be read"),
        ("https://example.org/" + "a" * LONGEST, "characters"),
    ],
)
def test_what_is_no_plain_web_page_is_not_opened_and_the_sentence_says_why(url: str, why: str, opener: Path) -> None:
    said = link_question(url)
    assert isinstance(said, str) and why in said and visible(said) == said
    assert open_link(url) == said


@pytest.mark.parametrize(
    ("url", "plain", "readable"),
    [
        ("https://аpple.com/", "xn--pple-43d.com", "аpple.com"),
        ("https://xn--pple-43d.com/", "xn--pple-43d.com", "аpple.com"),
        ("https://例え。テスト/", "xn--r8jz45g.xn--zckzah", "例え.テスト"),
        ("https://MÜNCHEN.example/", "xn--mnchen-3ya.example", "münchen.example"),
    ],
)
def test_a_name_in_other_letters_is_shown_in_plain_ones_too(url: str, plain: str, readable: str) -> None:
    asked = link_question(url)
    assert isinstance(asked, tuple)
    assert plain in asked[0] and plain in asked[1] and readable in asked[1]


def test_letters_that_are_plain_ones_written_wide_lead_where_they_are_said_to() -> None:
    asked = link_question("https://ｅxample.org/")
    assert isinstance(asked, tuple) and "example.org" in asked[0]


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("https://example.org/a?b=c&d=%20#e", "https://example.org/a?b=c&d=%20#e"),
        ("https://аpple.com:8443/東?q=é", "https://xn--pple-43d.com:8443/%E6%9D%B1?q=%C3%A9"),
        ("https://example.org/$(touchx)", "https://example.org/$(touchx)"),
        ('https://example.org/"><script>', "https://example.org/%22%3E%3Cscript%3E"),
    ],
)
def test_the_opener_gets_one_plain_argument_and_no_shell(url: str, given: str, opener: Path) -> None:
    assert open_link(url) == ""
    assert opener.read_text().splitlines() == ["1", given]


def test_where_there_is_no_opener_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = open_link("https://example.org/")
    assert OPENER in said and "copy the link" in said


def test_an_opener_that_cannot_be_started_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / OPENER
    program.write_bytes(b"\x00 no program")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "copy the link" in open_link("https://example.org/")


LETTERS = st.sampled_from("https://:@?#[]%.-_\\ \t\n\x00\x1b\u202e\u200bаéß東。／ａ1xn")


@given(st.one_of(st.text(), st.text(LETTERS), st.text(LETTERS).map("https://".__add__)))
def test_whatever_is_asked_about_leads_to_a_host_that_the_question_names(url: str) -> None:
    said = link_question(url)
    if isinstance(said, str):
        assert visible(said) == said and "\n" not in said
    else:
        question, detail = said
        assert visible(detail) == detail and question.isascii()
        assert urlsplit(url).scheme in ("http", "https") and "@" not in urlsplit(url).netloc
