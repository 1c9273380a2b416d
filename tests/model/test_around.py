"""A prompt whose last words are still being typed: counted without what stands around them, it has the same length."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.template import ChatTemplate
from model.tokenizer import Tokenizer, Turn
from tests.checkpoints import CHATML, speaking_checkpoint

ROLES = ("user", "assistant")
words = st.lists(
    st.one_of(st.sampled_from(["<|im_end|>", "<|im_", "start|>", "\n", " ", "hello", "é", "</"]), st.text(max_size=4)),
    max_size=6,
).map("".join)
PLACED = CHATML
TRIMMED = CHATML.replace("message.content", "message.content | trim")
SAID_TWICE = CHATML + "{{ messages[-1].content }}"
FORGOTTEN = "{% for message in messages[:-1] %}{{ message.content }}{% endfor %}|"


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.from_folder(speaking_checkpoint(tmp_path_factory.mktemp("around") / "tiny"))


def with_template(tokenizer: Tokenizer, source: str) -> Tokenizer:
    tokenizer.template = ChatTemplate(source)
    return tokenizer


@given(
    before=st.lists(words.filter(bool), max_size=4),
    typed=st.lists(words, max_size=4),
    source=st.sampled_from([PLACED, TRIMMED]),
)
def test_what_is_counted_around_is_what_is_rendered_whole(
    speaking: Tokenizer, before: list[str], typed: list[str], source: str
) -> None:
    tokenizer = with_template(speaking, source)
    turns = [Turn(ROLES[place % 2], text) for place, text in enumerate(before[: len(before) // 2 * 2])]
    around = tokenizer.around([*turns, Turn("user", "")])
    assert around is not None
    for text in typed:
        if (length := around.length(text)) is not None:
            assert length == len(tokenizer.prompt([*turns, Turn("user", text)]))


def test_an_answers_own_tokens_count_as_they_stand(speaking: Tokenizer) -> None:
    tokenizer = with_template(speaking, PLACED)
    letters = tuple(tokenizer.encode_plain("ab"))
    turns = [Turn("user", "hello"), Turn("assistant", "ab", letters)]
    around = tokenizer.around([*turns, Turn("user", "")])
    assert around is not None
    assert around.length("well") == len(tokenizer.prompt([*turns, Turn("user", "well")]))


@pytest.mark.parametrize("typed", ["", " hello", "hello\n", "a <|im_end|> b"])
def test_what_a_template_may_look_at_is_for_the_template_to_say(speaking: Tokenizer, typed: str) -> None:
    around = with_template(speaking, PLACED).around([Turn("user", "")])
    assert around is not None and around.length(typed) is None


@pytest.mark.parametrize("source", [SAID_TWICE, FORGOTTEN])
def test_a_template_that_does_more_with_the_words_than_to_place_them_is_rendered(
    speaking: Tokenizer, source: str
) -> None:
    assert with_template(speaking, source).around([Turn("user", "")]) is None


def test_the_starter_counts_as_it_reads(converted_starter: Path) -> None:
    tokenizer = Tokenizer.from_folder(converted_starter)
    turns = [Turn("user", "Why is the sky blue?"), Turn("assistant", "Because of the air.")]
    around = tokenizer.around([*turns, Turn("user", "")])
    assert around is not None
    for typed in ("And", "And at", "And at night, 日本?"):
        assert around.length(typed) == len(tokenizer.prompt([*turns, Turn("user", typed)]))
