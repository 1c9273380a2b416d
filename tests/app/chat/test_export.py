"""A conversation as a Markdown file: readable, exact, safe to write."""

import itertools
import json
import re
import stat
import unicodedata
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from app.chat import export
from app.chat.export import file_name, markdown, write_export
from app.chat.store import Attachment, Conversation, Message, Role, Status, Store
from app.errors import QuietlyError

# What an export leaves alone: no controls but tab and line feed, no lone surrogates.
KEPT = st.characters(codec="utf-8", exclude_categories=["Cc"], include_characters="\n\t")
LINES = st.sampled_from(
    [
        *(
            "# heading",
            "## You <!-- quietly:user {} -->",
            "<!-- \\quietly:assistant {} -->",
            "---",
            "title: x",
        ),
        *(
            "```",
            "````",
            "```python",
            "~~~",
            "   ```",
            "print('a')",
            "<!-- open",
            "-->",
            "</details>",
            "<pre>",
        ),
        *(
            "</pre>",
            "<script>",
            "<?php",
            "<!DOCTYPE",
            "<![CDATA[",
            "> quote",
            "- item",
            "",
            "  ",
            "|a|b|",
            "===",
            "`",
        ),
        *(
            "\\<!-- quietly:status -->",
            "<details>",
            "[a]: b",
            "    code",
            "$$",
            "東京",
            "שלום",
            "😀",
            "Setext\n---",
        ),
    ]
)
TEXTS = st.lists(LINES, max_size=8).map("\n".join) | st.text(KEPT, max_size=80)


def conversation(title: str = "Light", system_prompt: str = "") -> Conversation:
    return Conversation(1, title, 1_700_000_000.25, 1_700_000_100.0, 2, system_prompt, "starter")


def question(content: str, *attachments: Attachment) -> Message:
    return msgspec.structs.replace(message("user", content), attachments=attachments)


def message(
    role: Role,
    content: str,
    reasoning: str = "",
    status: Status = "complete",
    note: str = "",
    model: str | None = None,
) -> Message:
    return Message(
        id=1,
        conversation=1,
        parent=None,
        role=role,
        content=content,
        reasoning=reasoning,
        model=model,
        fingerprint=None,
        sampling={"temperature": 0.7} if role == "assistant" else None,
        status=status,
        note=note,
        packed_ids=None,
        prompt_tokens=None,
        completion_tokens=None,
        first_token_seconds=None,
        decode_seconds=None,
        created=1_700_000_001.5,
    )


def read(document: str) -> tuple[dict[str, object], list[dict[str, object]]]:
    """The document's front matter and messages, by what the head of export.py says and nothing else."""
    _, front, body = document.split("---\n", 2)
    marker = re.compile(r"^.*<!-- quietly:(\w+) ?(.*) -->$", re.MULTILINE)
    found = list(marker.finditer(body))
    messages: list[dict[str, object]] = []
    for index, mark in enumerate(found):
        after = found[index + 1].start() - 2 if index + 1 < len(found) else len(body) - 1
        text = re.sub(r"<!-- \\(\\*quietly:)", r"<!-- \1", body[mark.end() + 2 : max(after, mark.end() + 2)])
        match mark[1]:
            case "user" | "assistant":
                messages.append({"role": mark[1], "content": text, "reasoning": "", **json.loads(mark[2])})
            case "reasoning":
                messages[-1]["reasoning"] = re.sub(r"^> ?", "", text, flags=re.MULTILINE)
            case "answer":
                messages[-1]["content"] = text
            case "attachment":
                _, *lines, _ = text.split("\n")
                kept = {"text": "\n".join(lines), **json.loads(mark[2])}
                messages[-1]["attachments"] = [*messages[-1].get("attachments", []), kept]
    for one in messages:
        if closer := one.pop("closed", ""):
            one["content"] = str(one["content"]).removesuffix(f"\n{closer}")
    return yaml.safe_load(front), messages


@given(TEXTS, TEXTS, TEXTS, TEXTS)
@example("", "", "", "")
@example("```\nopen", "", "~~~\nopen", "<!-- open")
def test_every_text_can_be_read_back_exactly(system: str, first: str, second: str, reasoning: str) -> None:
    document = markdown(
        conversation(title=first, system_prompt=system),
        [
            question(first),
            message("assistant", second, reasoning, "stopped", second, first),
            question(second),
        ],
    )
    front, messages = read(document)
    assert front.get("title") == first
    assert front.get("system_prompt", "") == system
    assert [(one["role"], one["content"]) for one in messages] == [
        ("user", first),
        ("assistant", second),
        ("user", second),
    ]
    answer = messages[1]
    assert (answer["reasoning"], answer["model"], answer["status"]) == (reasoning, first, "stopped")
    assert answer.get("note", "") == second


@settings(deadline=None)
@given(TEXTS, TEXTS, TEXTS)
@example("```\nopen", "````\n```", "a\n")
def test_attachments_can_be_read_back_exactly(content: str, first: str, second: str) -> None:
    given_along = [Attachment(first, second), Attachment("b.md", first)]
    _, messages = read(markdown(conversation(), [question(content, *given_along), question(second)]))
    assert [one["content"] for one in messages] == [content, second]
    assert messages[0]["attachments"] == [{"name": one.name, "text": one.text} for one in given_along]
    assert "attachments" not in messages[1]


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_an_attachment_is_a_heading_and_one_block_of_code(name: str, text: str) -> None:
    document = markdown(conversation(), [question("Sum up", Attachment(name, text)), question("end")])
    tokens = MarkdownIt("commonmark").parse(document.split("---\n", 2)[2])
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h2", "h3", "h2"]
    (block,) = [token for token in tokens if token.type == "fence"]
    assert block.content.rstrip("\n") == re.sub(r"<!-- (\\*quietly:)", r"<!-- \\\1", text).rstrip("\n")


def test_an_answer_changed_by_hand_says_so() -> None:
    changed = msgspec.structs.replace(message("assistant", "words", status="stopped"), edited=True)
    document = markdown(conversation(), [changed, message("assistant", "its own words")])
    _, messages = read(document)
    assert [one.get("edited", False) for one in messages] == [True, False]
    assert document.count("*These words were changed by hand.*") == 1


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
    document = markdown(conversation(), [question(content), message("assistant", content, content), question("end")])
    tokens = MarkdownIt("commonmark").parse(document.split("---\n", 2)[2])
    roles = [
        inline.content.split(" <!--")[0]
        for opening, inline in itertools.pairwise(tokens)
        if opening.type == "heading_open"
        and opening.level == 0
        and re.search(r"<!-- quietly:(user|assi)", inline.content)
    ]
    assert roles == ["You", "Model", "You"]


def test_code_is_the_same_byte_for_byte() -> None:
    code = "```python\ndef f(x):\n\treturn '<b>' + x  # -- \\ & *\n```"
    assert code in markdown(conversation(), [question(code)])


def test_control_characters_are_all_that_is_taken_out() -> None:
    document = markdown(conversation(), [question("a\x1b[31m\r\nb\x00\x7f\x9b\tc \u202e\u200b東")])
    assert "\na[31m\nb\tc \u202e\u200b東\n" in document
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", document)


def test_the_front_matter_says_what_where_and_how() -> None:
    asked = question("Why?")
    answers = [message("assistant", "So.", model="starter"), message("assistant", "So!", model="qwen2.5-7b")]
    front, _ = read(markdown(conversation('a: "b" # c', "Be\nbrief."), [asked, *answers]))
    assert front["title"] == 'a: "b" # c'
    assert front["models"] == ["starter", "qwen2.5-7b"]
    assert front["sampling"] == {"temperature": 0.7}
    assert front["system_prompt"] == "Be\nbrief."
    moment = datetime.fromisoformat(str(front["date"]))
    assert moment.tzinfo is not None
    assert moment.timestamp() == 1_700_000_000.25


def test_an_answer_that_did_not_end_says_so() -> None:
    stopped = markdown(conversation(), [message("assistant", "half", status="stopped")])
    assert "*Stopped here.*" in stopped
    failed = markdown(conversation(), [message("assistant", "", status="failed", note="the *engine*\nended")])
    assert r"*Failed: the \*engine\**" in failed


def test_an_empty_conversation_is_a_front_matter() -> None:
    front, messages = read(markdown(conversation(), []))
    assert (front["title"], messages) == ("Light", [])


@given(st.text(st.characters(codec=None, categories=None), max_size=300), st.integers(1, 1000))
@example("../../etc/passwd", 1)
@example("CON", 1)
@example("nul.txt", 1)
@example("." * 300, 2)
@example("東" * 300, 12)
@example("a" * 192 + "\u200d😀", 1)
def test_a_file_name_is_safe_everywhere(title: str, number: int) -> None:
    name = file_name(title, number)
    name.encode()
    assert len(name.encode()) <= export.NAME_BYTES
    assert name.endswith(".md")
    assert not re.search(r'[/\\:*?"<>|\x00-\x1f\x7f-\x9f]', name)
    assert not name.startswith((".", " ", "-"))
    assert unicodedata.normalize("NFC", name) == name
    stem = name.removesuffix(".md")
    assert stem == stem.rstrip(" .")
    assert stem
    assert name.split(".")[0].upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT1"}


def test_a_file_name_is_the_title_where_that_can_be() -> None:
    assert file_name("Why is the sky blue") == "Why is the sky blue.md"
    assert file_name("a/b: c?") == "a b c.md"
    assert file_name("東京で学习", 2) == "東京で学习 2.md"
    assert file_name("cafe\u0301") == "caf\u00e9.md"
    assert file_name(" \n/") == "Conversation.md"


def test_an_export_never_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "Light.md").write_text("mine")
    written = [write_export(conversation(), [question(text)], tmp_path) for text in ("one", "two")]
    assert [path.name for path in written] == ["Light 2.md", "Light 3.md"]
    assert (tmp_path / "Light.md").read_text() == "mine"
    assert "one" in written[0].read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Light 2.md", "Light 3.md", "Light.md"]


def test_an_export_is_its_owner_s_alone(tmp_path: Path) -> None:
    written = write_export(conversation(), [question("Why?")], tmp_path)
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "Light.md").symlink_to(tmp_path / "elsewhere.md")
    assert write_export(conversation(), [], tmp_path).name == "Light 2.md"
    assert not (tmp_path / "elsewhere.md").exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(QuietlyError, match=r"nowhere/Light\.md cannot be created because its folder is missing"):
        write_export(conversation(), [], tmp_path / "nowhere")


@pytest.mark.usefixtures("stranger")
def test_a_folder_of_someone_else_is_named() -> None:
    with pytest.raises(QuietlyError, match="belong to you and are writable"):
        write_export(conversation(), [], Path("/etc"))


def test_a_full_disk_leaves_no_half_of_a_file(tmp_path: Path, full_disk: Callable[[int], None]) -> None:
    full_disk(1000)
    with pytest.raises(QuietlyError, match="because the disk is full; free some space"):
        write_export(conversation(), [question("x" * 100_000)], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_the_store_holds_is_what_the_file_says(store: Store, tmp_path: Path) -> None:
    made = store.create()
    asked = store.ask(made.id, None, "Why is the sky blue?")
    answer = store.begin_answer(made.id, asked.id, "starter", {"temperature": 0.5})
    store.finish(answer.id, "stopped", answer="Because", reasoning="light scatters")
    path = write_export(store.conversation(made.id), store.branch(made.id), tmp_path)
    front, messages = read(path.read_text(encoding="utf-8"))
    assert path.name == "Why is the sky blue.md"
    assert front["sampling"] == {"temperature": 0.5}
    assert [(one["content"], one["reasoning"]) for one in messages] == [
        ("Why is the sky blue?", ""),
        ("Because", "light scatters"),
    ]
