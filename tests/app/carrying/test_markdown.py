"""A conversation as a Markdown file: readable, exact, and mended by hand without harm."""

import itertools
import re
from collections.abc import Callable
from datetime import datetime

import msgspec
import pytest
import yaml
from hypothesis import given
from markdown_it import MarkdownIt

from app.carrying.from_markdown import from_markdown
from app.carrying.markdown import markdown
from app.carrying.tale import Tale
from app.chat.records import Attachment, GenerationSettings, Message
from app.errors import QuietlyError
from tests.app.carrying.tales import PLAIN, answer, question, tale

MEASURED = answer("So.", packed_ids=b"\1\0\0\0", fingerprint="f00", completion_tokens=1, decode_seconds=0.25)


def front(document: str) -> dict[str, object]:
    return yaml.safe_load(document.split("---\n", 2)[1])


def headings(document: str) -> list[str]:
    """What a CommonMark reader takes for the headings of messages."""
    tokens = MarkdownIt("commonmark").parse(document.split("---\n", 2)[2])
    return [
        inline.content.split(" <!--")[0]
        for opening, inline in itertools.pairwise(tokens)
        if opening.type == "heading_open"
        and opening.level == 0
        and re.search(r"<!-- quietly:(user|assi)", inline.content)
    ]


def changed(told: Tale, change: Callable[[str], str]) -> Tale:
    """What is read where a hand has changed the file."""
    return from_markdown(change(markdown(told)), "file")


def words(told: Tale) -> list[str]:
    return [message.content for message in told.messages]


# --- what people read -------------------------------------------------------------------------------------


@given(PLAIN, PLAIN)
def test_an_attachment_is_a_heading_and_one_block_of_code(name: str, text: str) -> None:
    document = markdown(tale(question("Sum up", Attachment(name, text)), question("end")))
    tokens = MarkdownIt("commonmark").parse(document.split("---\n", 2)[2])
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h2", "h3", "h2"]
    (block,) = [token for token in tokens if token.type == "fence"]
    assert block.content.rstrip("\n") == re.sub(r"<!-- (\\*quietly:)", r"<!-- \\\1", text).rstrip("\n")


@pytest.mark.parametrize(
    "content",
    [
        "# My own heading\n\ntext",
        "```python\nprint(1)\n```",
        "```\nnever closed",
        "~~~~ text\n~~~\nnever closed",
        "```\n\t```",
        "````markdown\n```\ncode\n```",
        "<!-- never closed\n\ntext",
        "<script>\nnever closed",
        "<PRE class=a>\n\ntext",
        "<?php echo",
        "- list\n  - item\n\n    ```\n    open in an item",
        "- list\n\n  ```\n  open in an item",
        "> ```\n> open in a quote",
        "text\n---",
        "| a |\n|---|\n| b |",
        "## You <!-- quietly:user {} -->",
        "</details>",
        "`open code span",
    ],
)
def test_roles_stay_headings_whatever_the_texts_leave_open(content: str) -> None:
    told = tale(question(content), answer(content, content, model=None), question("end"))
    assert headings(markdown(told)) == ["You", "Model", "You"]


def test_code_is_the_same_byte_for_byte() -> None:
    code = "```python\ndef f(x):\n\treturn '<b>' + x  # -- \\ & *\n```"
    assert code in markdown(tale(question(code)))


def test_no_control_character_stands_in_the_file() -> None:
    document = markdown(tale(question("a\x1b[31m\r\nb\x00\x7f\x9b\tc \u202e\u200b東"), title="\x1b"))
    assert "\na[31m\nb\tc \u202e\u200b東\n" in document
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", document)


def test_the_front_matter_says_what_where_and_how() -> None:
    told = tale(
        question("Why?"),
        answer("So.", model="starter"),
        answer("So!", model="qwen2.5-7b"),
        title='a: "b" # c',
        system_prompt="Be\nbrief.",
        settings=GenerationSettings(temperature=0.7, overflow="rolling"),
    )
    found = front(markdown(told))
    assert found["title"] == 'a: "b" # c'
    assert found["models"] == ["starter", "qwen2.5-7b"]
    assert found["settings"] == {"temperature": 0.7, "overflow": "rolling"}
    assert found["system_prompt"] == "Be\nbrief."
    moment = datetime.fromisoformat(str(found["date"]))
    assert moment.tzinfo is not None
    assert moment.timestamp() == told.conversation.created


def test_the_system_prompt_and_the_settings_are_there_only_where_they_were_chosen() -> None:
    assert front(markdown(tale())).keys() == {"title", "date", "models"}


def test_an_answer_that_did_not_end_says_so() -> None:
    assert "*Stopped here.*" in markdown(tale(answer("half", status="stopped")))
    assert "*Interrupted here.*" in markdown(tale(answer("half", status="writing")))
    failed = markdown(tale(answer("", status="failed", note="the *engine*\nended")))
    assert r"*Failed: the \*engine\**" in failed


def test_an_answer_changed_by_hand_says_so() -> None:
    document = markdown(tale(answer("words", status="stopped", edited=True), answer("its own words")))
    assert document.count("*These words were changed by hand.*") == 1


def test_the_branch_in_use_is_read_first_and_every_other_one_as_a_whole() -> None:
    told = tale(
        question("Why?"),
        answer("first", parent=1),
        answer("second", parent=1),
        question("on the first", parent=2),
        question("on the second", parent=3),
        question("otherwise", parent=0),
        head=4,
    )
    document = markdown(told)
    order = ["Why?", "first", "on the first", "second", "on the second", "otherwise"]
    places = [document.index(f"-->\n\n{text}\n") for text in order]
    assert places == sorted(places)
    assert document.count("<!-- quietly:branch -->") == 2
    assert "*Another branch, after “Why?”:*" in document
    assert "*Another beginning:*" in document


# --- read in again ----------------------------------------------------------------------------------------


def test_words_changed_by_hand_count_and_what_was_measured_of_the_former_ones_does_not() -> None:
    told = tale(question("Why?"), MEASURED, MEASURED)
    found = changed(told, lambda text: text.replace("\nSo.\n", "\nBecause.\n", 1))
    assert words(found) == ["Why?", "Because.", "So."]
    assert found.messages[1].edited
    assert found.messages[1].packed_ids is found.messages[1].fingerprint is found.messages[1].completion_tokens is None
    assert found.messages[1].created == told.messages[1].created
    assert found.messages[2] == told.messages[2]


def test_a_title_and_times_changed_by_hand_count() -> None:
    told = tale(question("Why?"))
    found = changed(told, lambda text: text.replace('title: "Light"', "title: Light: a *study*"))
    assert (found.conversation.title, found.conversation.titled_by) == ("Light: a *study*", "person")
    found = changed(told, lambda text: re.sub('"at": "[^"]*"', '"at": "2001-02-03T04:05:06+00:00"', text))
    assert found.messages[0].created == datetime.fromisoformat("2001-02-03T04:05:06+00:00").timestamp()


def test_a_message_taken_out_by_hand_leaves_the_others_as_they_are() -> None:
    told = tale(question("Why?"), MEASURED, question("And?"), MEASURED)
    found = changed(told, lambda text: re.sub(r"## You <!-- [^\n]*\n\nAnd\?\n\n", "", text))
    assert words(found) == ["Why?", "So.", "So."]
    assert [message.parent for message in found.messages] == [None, 1, 2]
    assert found.messages[2].packed_ids == MEASURED.packed_ids


def test_a_message_put_in_by_hand_follows_the_one_before_it() -> None:
    told = tale(question("Why?"), MEASURED, question("And?"))
    found = changed(
        told, lambda text: text.replace("## starter", "## You <!-- quietly:user -->\n\nPlease.\n\n## starter")
    )
    assert words(found) == ["Why?", "Please.", "So.", "And?"]
    assert [message.parent for message in found.messages] == [None, 1, 2, 3]
    assert found.conversation.head == 4


def test_without_the_comment_at_the_end_the_words_are_there() -> None:
    told = tale(question("Why?", Attachment("a.txt", "text")), answer("So.", "hm"), model="starter")
    found = changed(told, lambda text: text.partition("<!-- quietly:data")[0].rstrip())
    assert [(each.content, each.reasoning, each.attachments, each.parent) for each in found.messages] == [
        ("Why?", "", (Attachment("a.txt", "text"),), None),
        ("So.", "hm", (), 1),
    ]
    assert found.conversation.created == told.conversation.created
    assert (found.conversation.head, found.conversation.model) == (2, "starter")


@pytest.mark.parametrize(
    ("those", "these"),
    [
        ('"id": 1, "at"', '"id": "first", "at"'),
        ('"status": "complete"', '"status": "glorious"'),
        ('"token_ids": "', '"token_ids": "?'),
        ('"token_ids": "', '"token_ids": "\u00a0'),
        ('"titled_by": "line"', '"titled_by": '),
        ('"created": 1700000001.5', '"created": 1e999'),
        ('"model": "starter"', '"model": ' + "[" * 5000),
        ('system_prompt: "', "system_prompt: |"),
    ],
)
def test_comments_that_were_spoiled_are_one_sentence(those: str, these: str) -> None:
    document = markdown(tale(question("Why?"), MEASURED, system_prompt="Be brief."))
    assert those in document
    with pytest.raises(QuietlyError, match=r"^notes\.md cannot be read because"):
        from_markdown(document.replace(those, these), "notes.md")


def test_a_file_of_a_newer_version_says_so() -> None:
    document = markdown(tale(question("Why?"))).replace('"version": 1', '"version": 2')
    with pytest.raises(QuietlyError, match=r"^notes\.md was written by a newer Quietly"):
        from_markdown(document, "notes.md")


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_a_message_that_another_program_filled_in_is_kept_whole(role: str) -> None:
    full: Message = msgspec.structs.replace(
        MEASURED, role=role, model="gpt-4o", status="failed", note="why", sampling={}, edited=True, reasoning="\n"
    )
    told = tale(full)
    assert changed(told, lambda text: text) == told
