"""From the store to the engine and back: prompts, growing answers, what is kept and what is noted beside it."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.answering import (
    Written,
    context_of,
    continued_with,
    effective,
    note_of,
    prompt_of,
    reading_of,
    record,
    sampling_of,
    settings_of,
    to_store,
)
from app.chat.store import Attachment, GenerationSettings, Message, Store
from app.engine.protocol import ChatMessage, Delta, Finished, Loaded, Progress, Reading, Restated, SamplingOptions

DONE = Finished(1, "stop", 10, 0, 5, (), 0.1, 0.1, 0.1, 0)
FACTS = Loaded(1, "qwen2", "print", 10**6, None, 4096, "CPU", 10**6, 0.1, SamplingOptions())


@pytest.fixture
def store(places):
    with Store.open(places.database) as store:
        yield store


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ""),
        ({"reason": "cancelled"}, ""),
        ({"reason": "length"}, "The answer ends here because it has reached the length that was allowed."),
        ({"reason": "context"}, "The context is full, so the answer ends here. Begin a new conversation to go on."),
        ({"dropped_messages": 1}, "The oldest message no longer fits into the context, and was not read."),
        ({"dropped_messages": 4}, "The 4 oldest messages no longer fit into the context, and were not read."),
    ],
)
def test_the_note_says_why_an_answer_ended_and_what_it_did_not_see(changes, says):
    assert note_of(msgspec.structs.replace(DONE, **changes)) == says


# --- settings -------------------------------------------------------------------------------------------------------

parts = st.none() | st.floats(0, 1)
counts = st.none() | st.integers(0, 2**40)
generation_settings = st.builds(
    GenerationSettings,
    temperature=parts,
    top_p=parts,
    top_k=counts,
    min_p=parts,
    repetition_penalty=parts,
    presence_penalty=parts,
    frequency_penalty=parts,
    penalty_decay=parts,
    seed=counts,
    max_tokens=counts,
    context=counts,
    overflow=st.sampled_from([None, "oldest", "stop", "rolling"]),
    thinking=st.none() | st.booleans(),
)


def answer_with(store: Store, sampling: dict[str, object] | None) -> Message:
    """An answer that was stored with these settings."""
    conversation = store.create()
    question = store.ask(conversation.id, None, "why?")
    return store.begin_answer(conversation.id, question.id, "tiny", sampling)


@given(generation_settings)
def test_an_answer_knows_the_settings_it_was_written_with(chosen):
    with Store.temporary() as store:
        assert settings_of(answer_with(store, to_store(chosen))) == chosen


@pytest.mark.parametrize("stored", [None, {}, {"temperature": "hot"}, {"context": [1]}, {"mirostat": 2}])
def test_settings_that_mean_nothing_are_none(store, stored):
    assert settings_of(answer_with(store, stored)) == GenerationSettings()


@given(generation_settings, generation_settings, generation_settings)
def test_the_nearest_choice_is_in_force(conversation, model, program):
    chosen = effective(conversation, model, program)
    for name in GenerationSettings.__struct_fields__:
        layers = [getattr(layer, name) for layer in (conversation, model, program)]
        assert getattr(chosen, name) == next((value for value in layers if value is not None), None)


def test_what_is_not_chosen_is_left_to_the_checkpoint_or_read_from_it():
    chosen, own = GenerationSettings(temperature=0, top_k=5), SamplingOptions(temperature=0.8, top_p=0.9)
    assert sampling_of(chosen) == SamplingOptions(temperature=0, top_k=5)
    assert sampling_of(chosen, own) == SamplingOptions(temperature=0, top_p=0.9, top_k=5)
    assert reading_of(chosen) == Reading()
    assert reading_of(GenerationSettings(context=9, overflow="stop", thinking=True)) == Reading(9, "stop", True)


@pytest.mark.parametrize(("overflow", "holds"), [(None, [4096, 512, 4096]), ("rolling", [4096, 4096, 4096])])
def test_a_context_holds_what_was_chosen_and_never_more_than_was_trained(overflow, holds):
    assert [
        context_of(GenerationSettings(context=size, overflow=overflow), 4096) for size in (None, 512, 9999)
    ] == holds


@pytest.mark.parametrize("began", [None, True, False])
def test_an_answer_that_goes_on_reasons_as_it_began(store, began):
    begun = answer_with(store, to_store(GenerationSettings(temperature=1, thinking=began)))
    now = GenerationSettings(temperature=0, thinking=True)
    assert continued_with(now, begun) == GenerationSettings(temperature=0, thinking=began)


# --- prompts --------------------------------------------------------------------------------------------------------


def asked(store: Store, *questions: str, attachments=()) -> list[ChatMessage]:
    """What the engine is asked after these questions, none of which was answered."""
    conversation = store.create(system_prompt="be kind")
    for question in questions:
        head = store.conversation(conversation.id).head
        store.ask(conversation.id, head, question, attachments)
    return prompt_of("be kind", store.branch(conversation.id))


def answered(store: Store, content: str, reasoning: str = "", token_ids=None):
    """The branch of a conversation whose answer was stopped at these words and tokens."""
    conversation = store.create()
    question = store.ask(conversation.id, None, "why?")
    answer = store.begin_answer(conversation.id, question.id, "tiny")
    store.finish(answer.id, "stopped", answer=content, reasoning=reasoning, token_ids=token_ids, fingerprint="print")
    return store.branch(conversation.id)


def test_questions_without_an_answer_become_one(store):
    assert asked(store, "one", "two") == [ChatMessage("system", "be kind"), ChatMessage("user", "one\n\ntwo")]


def test_attachments_stand_before_the_words_named_and_fenced(store):
    given = [Attachment("a.txt", "first\nsecond"), Attachment("b\n`c`.md", "```\ncode\n```\n")]
    (_, message) = asked(store, "What is it?", attachments=given)
    assert message.content == (
        "Attached file `a.txt`:\n```\nfirst\nsecond\n```\n\n"
        "Attached file `b`:\n````\n```\ncode\n```\n````\n\n"
        "What is it?"
    )


def test_an_attachment_may_come_without_a_word(store):
    (_, message) = asked(store, "", attachments=[Attachment("a.txt", "x")])
    assert message.content == "Attached file `a.txt`:\n```\nx\n```"


documents = st.lists(st.sampled_from(["```", "`", "````", "\n", "text", "~~~", " "]), max_size=12).map("".join)


@given(text=documents, name=st.text(max_size=9))
def test_a_document_cannot_leave_its_fence(text, name):
    with Store.temporary() as store:
        (_, message) = asked(store, "and this", attachments=[Attachment(name, text)])
    fence, rest = re.match(r"Attached file `[^`\n]+`:\n(`{3,})\n(.*)", message.content, re.DOTALL).groups()
    inside, behind = rest.split(f"{fence}\n\nand this")
    assert inside in (text, f"{text}\n") and behind == ""
    assert fence not in inside


def test_an_answer_that_is_to_go_on_stays_the_last_message(store):
    branch = answered(store, "Because", token_ids=[5, 6])
    assert prompt_of("", branch, continued=True)[-1] == ChatMessage("assistant", "Because", (5, 6), "print")


def test_so_does_one_that_is_still_reasoning(store):
    branch = answered(store, "", reasoning="Let me", token_ids=[7])
    assert prompt_of("", branch, continued=True)[-1] == ChatMessage("assistant", "", (7,), "print")
    assert [message.role for message in prompt_of("", branch)] == ["user"]


def test_one_without_a_word_or_token_is_begun_anew(store):
    branch = answered(store, "", token_ids=None)
    assert [message.role for message in prompt_of("", branch, continued=True)] == ["user"]


# --- answers --------------------------------------------------------------------------------------------------------


def test_a_growing_answer_tells_how_far_it_is():
    written = Written()
    told = []
    for event in (
        Progress(1, "load", 3, 9),
        Progress(1, "prefill", 0, 80),
        Progress(1, "prefill", 10, 20),
        Delta(1, "reasoning", "hm"),
        Delta(1, "answer", "So"),
        Delta(1, "answer", " be it"),
        DONE,
    ):
        written.take(event)
        told.append((written.stage, written.done, written.total, written.prompt_tokens))
    assert told[:5] == [
        ("load", 3, 9, None),
        ("prefill", 0, 80, 80),
        ("prefill", 10, 20, 80),
        ("thinking", 0, 0, 80),
        ("writing", 0, 0, 80),
    ]
    assert (written.reasoning, written.answer, written.finished, written.prompt_tokens) == ("hm", "So be it", DONE, 10)


def test_an_answer_that_goes_on_has_its_words_and_they_are_restated():
    written = Written("caf\ufffd", "hm")
    assert (written.answer, written.reasoning) == ("caf\ufffd", "hm")
    for event in (Progress(1, "prefill", 0, 80), Restated(1, "caf", "hm"), Delta(1, "answer", "ü")):
        written.take(event)
    assert (written.answer, written.reasoning) == ("cafü", "hm")


def test_an_answer_to_which_nothing_came_keeps_its_tokens(store):
    begun = answered(store, "Because", "hm", token_ids=[5, 6])[-1]
    for finished in (None, msgspec.structs.replace(DONE, reason="cancelled", completion_tokens=0)):
        store.resume(begun.id, "tiny")
        kept = record(
            store, begun.id, "stopped", answer="Because", reasoning="hm", finished=finished, facts=FACTS, begun=begun
        )
        assert (kept.token_ids, kept.fingerprint) == ((5, 6), "print")
    store.resume(begun.id, "tiny")
    whole = msgspec.structs.replace(DONE, token_ids=(5, 6, 7))
    kept = record(
        store, begun.id, "complete", answer="Because!", reasoning="hm", finished=whole, facts=FACTS, begun=begun
    )
    assert kept.token_ids == (5, 6, 7)
