"""ChatGPT's conversations.json: what people saw is there, what the model was told too, and nothing hostile harms."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.carrying import foreign
from app.carrying.chatgpt import tales
from app.carrying.foreign import mended
from app.carrying.tale import Tale, branch_of
from app.chat.records import Message
from app.errors import QuietlyError
from tests.app.carrying.anything import ANYTHING, DEEP, is_whole, objects, written

SAMPLE = (Path(__file__).parent / "samples" / "conversations.json").read_bytes()


@pytest.fixture(scope="module")
def sample() -> list[Tale]:
    return list(tales(SAMPLE))


def message(role: str, *parts: object, at: float | None = None, **more: object) -> dict[str, object]:
    """A message of text, as a conversation's nodes have it."""
    content = {"content_type": "text", "parts": list(parts)}
    return {"author": {"role": role}, "create_time": at, "content": content, **more}


def conversation(current: str | None = None, **nodes: tuple[str | None, object]) -> dict[str, object]:
    """A conversation of these nodes, each with its parent and its message."""
    mapping = {key: {"id": key, "parent": parent, "message": said} for key, (parent, said) in nodes.items()}
    return {"title": "Sky", "create_time": 1.0, "current_node": current, "mapping": mapping}


def told(*conversations: object) -> Tale:
    (tale,) = tales(mended(written(list(conversations))))
    assert is_whole(tale)
    return tale


def said(messages: list[Message] | tuple[Message, ...]) -> list[str]:
    return [message.content for message in messages]


# --- the sample -------------------------------------------------------------------------------------------


def test_a_conversation_is_read_with_all_its_branches(sample: list[Tale]) -> None:
    sky = sample[0]
    assert is_whole(sky)
    assert sky.conversation.title == "Why the sky is blue"
    assert (sky.conversation.created, sky.conversation.updated) == (1735720000.0, 1735720201.0)
    assert sky.conversation.pinned
    assert sky.conversation.titled_by == "person"
    assert sky.conversation.model == "gpt-5-thinking"
    assert said(branch_of(sky)) == [
        "Why is the sky blue?",
        "Air scatters **short** waves most.\n\n```python\nwave ** -4\n```\n([Rayleigh](https://example.org/rayleigh))",
        "And in the evening?",
        "Red: the way through the air is longer. 夕焼け 🌇",
    ]
    assert [(each.id, each.parent) for each in sky.messages] == [
        (1, None),
        (2, 1),
        (3, 1),
        (4, 2),
        (5, 4),
        (6, 2),
        (7, 6),
    ]
    assert said(sky.messages[2:]) == [
        "Rayleigh scattering.",
        "And in the evening?",
        "Red: the way through the air is longer. 夕焼け 🌇",
        "And at night?",
        "Dark.",
    ]


def test_each_answer_has_its_model_its_time_and_how_it_ended(sample: list[Tale]) -> None:
    first, second = sample[0].messages[1:3]
    assert (first.model, first.created, first.status) == ("gpt-5-thinking", 1735720002.0, "complete")
    assert (second.model, second.created, second.status) == ("gpt-4o", 1735720060.0, "stopped")


def test_custom_instructions_are_the_system_prompt(sample: list[Tale]) -> None:
    assert sample[0].conversation.system_prompt == "I paint skies.\n\nBe brief."


def test_thoughts_are_the_reasoning_of_the_answer_that_they_led_to(sample: list[Tale]) -> None:
    assert sample[0].messages[1].reasoning == (
        "Recalling scattering\n\nShort waves scatter more.\n\nChecking\n\nViolet is absorbed higher up.\n\n"
        "Thought for 3 seconds"
    )


def test_tools_are_part_of_the_reasoning_and_what_they_showed_of_the_answer(sample: list[Tale]) -> None:
    answer = sample[1].messages[1]
    assert answer.reasoning == (
        "Let me look.\n\nCalled python:\n\n```python\nprint(1 + 1)\n```\n\npython gave:\n\n```\n2\n```"
    )
    assert answer.content == "(Here was an image, which ChatGPT keeps in another file.)\n\nTwo bars."


def test_pictures_recordings_and_files_are_named(sample: list[Tale]) -> None:
    question, _, spoken = sample[1].messages
    assert question.content == (
        "Chart these.\n\n(Here was an image “sky.png”, which ChatGPT keeps in another file.)\n\n"
        "(Here was the file “numbers.csv”, which ChatGPT keeps in another file.)"
    )
    assert spoken.content == "Thank you.\n\n(Here was a recording, which ChatGPT keeps in another file.)"


def test_a_conversation_without_a_title_has_its_first_line(sample: list[Tale]) -> None:
    assert (sample[1].conversation.title, sample[1].conversation.titled_by) == ("Chart these.", "line")


def test_a_conversation_in_which_nothing_was_said_is_passed_over(sample: list[Tale]) -> None:
    assert len(sample) == 2


# --- trees ------------------------------------------------------------------------------------------------

ASKED = message("user", "Why?")


def test_what_is_hidden_leaves_no_gap() -> None:
    nodes = {
        "a": (None, ASKED),
        "b": ("a", message("assistant", "hidden", weight=0)),
        "c": ("b", message("assistant", "So.")),
        "d": ("c", message("user", "hidden", metadata={"is_visually_hidden_from_conversation": True})),
    }
    tale = told(conversation("d", **nodes))
    assert said(tale.messages) == ["Why?", "So."]
    assert tale.conversation.head == 2


def test_pieces_of_an_answer_that_fork_stand_beside_each_other() -> None:
    nodes = {
        "a": (None, ASKED),
        "b": ("a", message("assistant", "Well.")),
        "c": ("b", message("assistant", "So.")),
        "d": ("b", message("assistant", "Or so.")),
        "e": ("d", message("assistant", "Yes.")),
    }
    tale = told(conversation("e", **nodes))
    assert said(tale.messages) == ["Why?", "Well.", "So.", "Or so.\n\nYes."]
    assert [each.parent for each in tale.messages] == [None, 1, 1, 1]
    assert tale.conversation.head == 4


def test_messages_are_in_the_order_of_their_age_and_none_is_older_than_what_it_follows() -> None:
    nodes = {
        "a": (None, message("user", "First?", at=50.0)),
        "b": ("a", message("assistant", "Late.", at=90.0)),
        "c": ("a", message("assistant", "Soon.", at=70.0)),
        "d": ("c", message("user", "Before its time?", at=60.0)),
    }
    tale = told(conversation("b", **nodes))
    assert said(tale.messages) == ["First?", "Soon.", "Before its time?", "Late."]
    assert [each.created for each in tale.messages] == [50.0, 70.0, 70.0, 90.0]
    assert tale.conversation.head == 4


@pytest.mark.parametrize("current", [None, "nowhere"])
def test_without_a_place_to_go_on_the_newest_message_is_it(current: str | None) -> None:
    nodes = {
        "a": (None, ASKED),
        "b": ("a", message("assistant", "New.", at=9.0)),
        "c": ("a", message("assistant", "Old.", at=5.0)),
    }
    tale = told(conversation(current, **nodes))
    assert said(branch_of(tale)) == ["Why?", "New."]


def test_parents_that_are_not_there_open_the_conversation() -> None:
    assert [each.parent for each in told(conversation(a=("gone", ASKED), b=("a", ASKED))).messages] == [None, 1]


def test_circles_are_cut() -> None:
    tale = told(conversation("c", a=("c", ASKED), b=("a", ASKED), c=("b", ASKED), d=("d", ASKED)))
    assert [each.parent for each in tale.messages] == [None, 1, 2, None]
    assert tale.conversation.head == 3


def test_children_name_their_parent_where_they_do_not_themselves() -> None:
    mapping = {"a": {"message": ASKED, "children": ["b", 1, None]}, "b": {"message": message("assistant", "So.")}}
    assert [each.parent for each in told({"mapping": mapping}).messages] == [None, 1]


# --- what may come ----------------------------------------------------------------------------------------


def test_a_conversation_that_stands_alone_needs_no_list() -> None:
    (tale,) = tales(written(conversation(a=(None, ASKED))))
    assert said(tale.messages) == ["Why?"]


def test_code_is_fenced_so_that_nothing_in_it_ends_it() -> None:
    code = {
        "author": {"role": "assistant"},
        "content": {"content_type": "code", "language": "c++", "text": "a\n```\nb"},
    }
    assert told(conversation(a=(None, code))).messages[0].content == "````c++\na\n```\nb\n````"


def test_half_characters_are_replaced() -> None:
    words = "a\ud83d b\udc00 c\\ud83d 😀"
    assert said(told(conversation(a=(None, message("user", words)))).messages) == ["a\ufffd b\ufffd c\\ud83d 😀"]


def test_strings_where_numbers_belong_and_numbers_where_strings_do_are_left() -> None:
    odd = conversation(a=(None, message("user", "Why?", 7, at="noon", weight="1", metadata="none", recipient=3)))
    tale = told(odd | {"title": 5, "create_time": "yesterday", "update_time": [], "default_model_slug": {}})
    assert said(tale.messages) == ["Why?"]
    assert (tale.conversation.title, tale.conversation.created, tale.conversation.model) == ("Why?", 0.0, None)


MESSAGES = objects(
    author=objects(role=st.sampled_from(["user", "assistant", "tool", "system"]), name=st.text(max_size=3)),
    create_time=st.none() | st.floats(0, 1e10),
    content=objects(
        content_type=st.sampled_from(["text", "code", "thoughts", "multimodal_text", "user_editable_context"]),
        parts=st.lists(st.text(max_size=5) | objects(asset_pointer=st.just("a://b"), text=st.text()), max_size=2),
        text=st.text(max_size=5),
        thoughts=st.lists(objects(summary=st.text(), content=st.text()), max_size=2),
    ),
    recipient=st.sampled_from(["all", "python"]),
    metadata=objects(attachments=st.lists(objects(id=st.just("b"), name=st.text()), max_size=2)),
)
KEYS = st.sampled_from("abcdef")
CONVERSATIONS = objects(
    title=st.text(max_size=5),
    current_node=KEYS,
    mapping=st.dictionaries(KEYS, objects(parent=st.none() | KEYS, message=MESSAGES, children=st.lists(KEYS))),
)


@settings(max_examples=200)
@given(CONVERSATIONS | ANYTHING)
def test_whatever_the_values_are_it_is_a_conversation_or_one_sentence(value: object) -> None:
    try:
        found = list(tales(mended(written([value]))))
    except QuietlyError as error:
        assert "conversations.json" in str(error)
    else:
        assert all(map(is_whole, found))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b'[{"mapping": {', "a.json is damaged or not whole"),
        (DEEP.encode(), "a.json is nested too deep"),
        (f'[{{"mapping": {{"a": {DEEP}}}}}]'.encode(), "a.json is nested too deep"),
        (f'{{"mapping": {DEEP}}}'.encode(), "Conversation 1 in a.json is nested too deep"),
        (b'[{"mapping": []}]', "Conversation 1 in a.json has no messages where ChatGPT keeps them"),
        (b'[{"mapping": {}}, 7]', "Conversation 2 in a.json is no conversation"),
        (b'["\xff"]', "Conversation 1 in a.json is damaged"),
        (b"[" + b"1" * 5000 + b"]", "Conversation 1 in a.json is damaged"),
    ],
    ids=["truncated", "deep", "deep within", "alone and deep", "list", "number", "no text", "huge number"],
)
def test_what_is_hostile_or_damaged_is_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(QuietlyError, match=sentence):
        list(tales(data, "a.json"))


@pytest.mark.soak
def test_a_million_messages_in_a_conversation_are_refused() -> None:
    nodes = ",".join([f'"{number}":{{"parent":"{number - 1}"}}' for number in range(1_000_000)])
    with pytest.raises(QuietlyError, match="has 1,000,000 messages; Quietly reads up to 200,000"):
        list(tales(f'[{{"mapping":{{{nodes}}}}}]'.encode()))


def test_a_conversation_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "LARGEST", 1 << 20)
    with pytest.raises(QuietlyError, match=r"Conversation 1 in conversations\.json has 1 MB; Quietly reads"):
        list(tales(written([conversation(a=(None, message("user", "x" * (1 << 20))))])))


def test_a_long_line_of_messages_is_no_depth() -> None:
    roles = ("user", "assistant")
    nodes = {str(place): (str(place - 1), message(roles[place % 2], "words")) for place in range(5_000)}
    (tale,) = tales(written([conversation("4999", **nodes)]))
    assert [each.id for each in branch_of(tale)] == list(range(1, 5_001))
