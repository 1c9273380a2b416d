"""LM Studio's conversations: every version is there, what tuned it too, and nothing hostile harms."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.carrying import foreign, lm_studio
from app.carrying.lm_studio import tale
from app.carrying.reading import read as recognised
from app.carrying.taking_in import take_in
from app.carrying.tale import Tale, branch_of, tale_of
from app.chat.records import GenerationSettings
from app.chat.store import Store
from app.errors import QuietlyError
from tests.app.carrying.anything import ANYTHING, DEEP, is_whole, objects, written

PICTURE = "(Here was an image “1700000000500 - 12.png”, which LM Studio keeps in another file.)"
SAMPLE = Path(__file__).parent / "samples" / "1700000000000.conversation.json"


@pytest.fixture(scope="module")
def sample() -> Tale:
    return tale(SAMPLE.read_bytes(), str(SAMPLE))


def read(value: object, name: str = "folder/1700000000000.conversation.json") -> Tale:
    told = tale(written(value), name)
    assert is_whole(told) or not told.messages
    return told


def place(*versions: object, chosen: object = 0) -> dict[str, object]:
    return {"versions": list(versions), "currentlySelected": chosen}


def asked(words: object) -> dict[str, object]:
    return {"type": "singleStep", "role": "user", "content": [{"type": "text", "text": words}]}


def answered(*steps: object) -> dict[str, object]:
    return {"type": "multiStep", "role": "assistant", "steps": list(steps)}


def block(*parts: object, **more: object) -> dict[str, object]:
    return {"type": "contentBlock", "content": list(parts), **more}


def words(text: object) -> dict[str, object]:
    return {"type": "text", "text": text}


# --- the sample -------------------------------------------------------------------------------------------


def test_a_conversation_is_read_with_all_its_versions(sample: Tale) -> None:
    assert is_whole(sample)
    assert [(each.parent, each.content) for each in sample.messages] == [
        (None, f"Why is the sky blue?\n\n{PICTURE}"),
        (1, "Because."),
        (1, "Air scatters short waves."),
        (3, "Which wave is shortest?"),
        (3, "Which of them are shortest?"),
        (5, "Violet."),
    ]
    assert [each.id for each in branch_of(sample)] == [1, 3, 5, 6]


def test_its_name_its_times_and_its_model_are_kept(sample: Tale) -> None:
    about = sample.conversation
    assert (about.title, about.titled_by, about.pinned) == ("Blue skies", "person", True)
    assert (about.created, about.updated) == (1_700_000_000.0, 1_700_000_011.0)
    assert about.model == "sky-7b"
    assert [each.created - about.created for each in sample.messages] == [0, 1, 2, 2, 2, 10]


def test_what_it_was_told_and_how_it_was_tuned_are_kept(sample: Tale) -> None:
    assert sample.conversation.system_prompt == "Be brief."
    assert sample.conversation.settings == GenerationSettings(
        temperature=0.4, top_p=0.9, top_k=20, repetition_penalty=1.1, max_tokens=500, overflow="rolling"
    )


def test_thoughts_and_tools_are_the_reasoning(sample: Tale) -> None:
    assert sample.messages[2].reasoning == "They ask about scattering."
    assert sample.messages[5].reasoning == (
        'Called lookup:\n\n```json\n{\n  "what": "wave"\n}\n```\n\nA tool gave:\n\n```\nviolet: 400 nm\n```'
    )


def test_what_was_measured_is_kept(sample: Tale) -> None:
    stopped, answer = sample.messages[1:3]
    assert (stopped.status, answer.status) == ("stopped", "complete")
    assert (answer.prompt_tokens, answer.completion_tokens) == (12, 21)
    assert (answer.first_token_seconds, answer.decode_seconds) == (0.25, 20 / 40)


def test_the_samples_are_recognised_and_can_be_kept(sample: Tale, tmp_path: Path) -> None:
    found = list(recognised(SAMPLE.parent))
    assert found[0] == sample
    with Store.open(tmp_path / "conversations.sqlite3") as store:
        added = take_in(store, found).added
        assert [tale_of(store, each, "all") for each in added] == found


# --- what may come ----------------------------------------------------------------------------------------


def test_without_a_name_and_a_time_the_first_line_and_the_file_have_them() -> None:
    told = read({"messages": [place(asked("Why?\nTell me."))]})
    assert (told.conversation.title, told.conversation.titled_by) == ("Why?", "line")
    assert told.conversation.created == told.messages[0].created == 1_700_000_000.0


def test_a_conversation_in_which_nothing_was_said_is_empty() -> None:
    told = read({"name": "Unnamed", "messages": []})
    assert (told.messages, told.conversation.head) == ((), None)


@pytest.mark.parametrize("chosen", [7, "1", None, 1.0, True, -1])
def test_a_choice_that_there_is_not_still_leaves_every_version(chosen: object) -> None:
    told = read({"messages": [place(asked("Why?"), asked("How?"), chosen=chosen)]})
    assert [each.content for each in told.messages] == ["Why?", "How?"]


def test_answers_in_a_row_become_one() -> None:
    told = read({"messages": [place(asked("Why?")), *(place(answered(block(words(each)))) for each in "ab")]})
    assert [each.content for each in told.messages] == ["Why?", "a\n\nb"]


def test_content_without_parts_and_answers_without_steps_are_read() -> None:
    told = read({"messages": [place({"role": role, "content": f"by {role}"}) for role in ("user", "assistant")]})
    assert [each.content for each in told.messages] == ["by user", "by assistant"]


def test_what_a_system_said_among_the_messages_is_the_system_prompt() -> None:
    first = place({"role": "system", "content": "Be right."})
    told = read({"systemPrompt": "Be brief.", "messages": [first, place(asked("Why?"))]})
    assert told.conversation.system_prompt == "Be brief.\n\nBe right."


def test_tuning_that_is_not_in_use_is_not_taken() -> None:
    fields = [{"key": "llm.prediction.temperature", "value": 0.4}]
    told = read({"messages": [], "usePerChatPredictionConfig": False, "perChatPredictionConfig": {"fields": fields}})
    assert told.conversation.settings == GenerationSettings()


@pytest.mark.parametrize("value", ["0.4", -1, 1e300, float("nan"), True, None, {"checked": True}, []])
def test_tuning_that_makes_no_sense_is_not_taken(value: object) -> None:
    fields = [{"key": "llm.prediction.temperature", "value": value}, {"key": 4}, 5]
    told = read({"messages": [], "perChatPredictionConfig": {"fields": fields}})
    assert told.conversation.settings == GenerationSettings()


TEXTS = st.text(max_size=5).map(words)
PARTS = TEXTS | objects(type=st.sampled_from(["file", "toolCallRequest", "toolCallResult"]), content=st.text())
STATS = objects(tokensPerSecond=st.floats(), predictedTokensCount=st.integers(), stopReason=st.text())
STEPS = objects(
    type=st.sampled_from(["contentBlock", "debugInfoBlock"]),
    style=objects(type=st.just("thinking")),
    content=st.lists(PARTS, max_size=2),
    genInfo=objects(identifier=st.text(), stats=STATS),
    stepIdentifier=st.just("1700000000000-0.5"),
)
VERSIONS = objects(
    role=st.sampled_from(["user", "assistant", "system"]),
    content=st.lists(PARTS, max_size=2) | st.text(max_size=5),
    steps=st.lists(STEPS, max_size=3),
)
PLACES = objects(versions=st.lists(VERSIONS, max_size=3), currentlySelected=st.integers(0, 3))
FIELDS = objects(key=st.sampled_from(list(lm_studio._FIELDS)), value=ANYTHING | objects(checked=st.just(True)))
CONVERSATIONS = objects(
    name=st.text(max_size=5),
    createdAt=st.floats(),
    messages=st.lists(PLACES, max_size=4),
    perChatPredictionConfig=objects(fields=st.lists(FIELDS, max_size=3)),
    lastUsedModel=objects(identifier=st.text()),
)


@settings(max_examples=200)
@given(CONVERSATIONS)
def test_whatever_the_values_are_it_is_a_conversation_or_one_sentence(value: object) -> None:
    try:
        read(value)
    except QuietlyError as error:
        assert "1700000000000.conversation.json" in str(error)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b'{"messages": [', "a.json is damaged"),
        (f'{{"messages": {DEEP}}}'.encode(), "a.json is nested too deep"),
        (b'{"messages": {}}', "a.json has no messages where LM Studio keeps them"),
        (b"[]", "a.json is no conversation"),
        (b"\xff", "a.json is damaged"),
    ],
    ids=["truncated", "deep", "object", "list", "no text"],
)
def test_what_is_hostile_or_damaged_is_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(QuietlyError, match=sentence):
        tale(data, "a.json")


def test_too_many_messages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_studio, "MOST", 5)
    with pytest.raises(QuietlyError, match="has more than 5 messages"):
        read({"messages": [place(*[asked("Why?")] * 3)] * 2})


def test_a_conversation_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "LARGEST", 1 << 20)
    with pytest.raises(QuietlyError, match="has 1 MB; Quietly reads conversations of up to 1 MB"):
        read({"messages": [place(asked("x" * (1 << 20)))]})
