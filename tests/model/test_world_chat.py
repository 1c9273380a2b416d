"""A chat with a model of the World vocabulary: what ends its answers, what is no part of them, how they are drawn."""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import tokenizers
from tokenizers import models

import model
from model import LanguageModel, Sampling
from model.checkpoint import WORLD_SAMPLING
from model.generation import Generation, Piece, TextFlow
from model.tokenizer import Tokenizer, Turn
from model.tokenizer_files import WORLD
from tests.checkpoints import golden_weights, random_checkpoint
from tests.model.guessing import GREEDY
from tests.model.pth_files import by_blinkdl
from tests.model.world_vocabulary import GREETING, SMALL, reciting_world, small_world

HELLO = Turn("user", "hello")


@pytest.fixture(scope="module")
def greeting(tmp_path_factory) -> LanguageModel:
    return model.load(reciting_world(tmp_path_factory.mktemp("greeting")))


def answer(loaded: LanguageModel, *turns: Turn, session=None, thinking=None, **options):
    opening = loaded.opening(turns, thinking)
    generation = loaded.generation(
        loaded.session() if session is None else session,
        opening.prompt,
        GREEDY,
        begun=opening.begun,
        thinking=opening.thinking,
        **options,
    )
    pieces = [piece for token in generation for piece in token.pieces]
    return generation, [*generation.restated, *pieces, *generation.rest()]


def text(pieces: list[Piece], part: str = "answer") -> str:
    return "".join(piece.text for piece in pieces if piece.part == part)


def test_an_answer_ends_where_the_model_would_speak_for_the_person(greeting):
    assert greeting.traits.stops == ("\n\nUser:",)
    generation, pieces = answer(greeting, HELLO)
    assert (text(pieces), generation.reason) == ("Hi there!", "stop")
    assert greeting.tokenizer.decode(generation.token_ids) == " Hi there!\n\nUser:"


def test_the_next_question_needs_no_answer_to_be_read_again(greeting):
    session = greeting.session()
    first, pieces = answer(greeting, HELLO, session=session)
    turns = [HELLO, Turn("assistant", text(pieces), tuple(first.token_ids)), Turn("user", "and?")]
    second, _ = answer(greeting, *turns, session=session)
    assert second.reused_tokens == first.prompt_tokens + len(first.token_ids)
    assert text(answer(greeting, *turns)[1]) == "Hi there!"


@pytest.mark.parametrize("kind", [{"model_type": "rwkv"}, {"model_type": "rwkv7", "head_dim": 16}])
def test_nor_by_a_model_that_keeps_a_state_where_token_0_ended_it(tmp_path, kind):
    loaded = model.load(random_checkpoint(tmp_path, num_attention_heads=2, **kind))
    session, prompt, warm = loaded.session(), list(range(20)), Sampling(temperature=1.5, seed=4)
    said = [token.id for token in loaded.generate(prompt, warm, max_tokens=12)]
    end = next(id for at, id in enumerate(said) if at > 2 and id not in said[:at])
    generation = Generation(session, prompt, warm, vocabulary=96, ends=frozenset({end}))
    assert [token.id for token in generation][-1] == end == session.tokens[-1]
    for question in ([5, 6, 7], [8, 9]):  # the second instead of the first
        asked, read = [*prompt, *generation.token_ids, *question], []
        logits = session.prefill(asked, lambda done, total, read=read: read.append(total))
        assert read[0] == len(question)
        assert np.abs(np.array(logits) - np.array(loaded.session().prefill(asked))).max() < 1e-3


def test_token_0_ends_an_answer_too(tmp_path):
    generation, pieces = answer(model.load(reciting_world(tmp_path, GREETING[:3])), HELLO)
    assert (text(pieces), generation.reason, generation.token_ids) == ("Hi there", "stop", [265, 266])


def test_weights_alone_under_their_authors_names_tell_what_ends_an_answer(tmp_path):
    weights = {by_blinkdl(name): mx.array(array) for name, array in golden_weights("rwkv4").items()}
    mx.save_safetensors(str(tmp_path / "model.safetensors"), weights)
    (tmp_path / "tokenizer.json").write_text(
        tokenizers.Tokenizer(models.BPE({"<|endoftext|>": 0, "a": 1}, [])).to_str()
    )
    loaded = model.load(tmp_path)
    assert (loaded.ends, loaded.traits.stops) == ({0}, ("\n\nBob:",))


def test_an_answer_cut_short_goes_on_from_its_tokens_and_from_its_text(greeting):
    cut, pieces = answer(greeting, HELLO, max_tokens=1)
    assert text(pieces) == "Hi"
    for begun in (tuple(cut.token_ids), None):
        generation, pieces = answer(greeting, HELLO, Turn("assistant", "Hi", begun))
        assert generation.restated == (Piece("answer", "Hi"),) and text(pieces) == "Hi there!"


def test_an_answer_that_somebody_gave_the_persons_part_to_goes_on_behind_it(greeting):
    opening = greeting.opening([HELLO, Turn("assistant", "Hi\n\nUser: why")])
    assert greeting.tokenizer.decode(opening.tokens).endswith("Assistant: Hi\nUser: why")
    generation, pieces = answer(greeting, HELLO, Turn("assistant", "Hi\n\nUser: why:"))
    assert text(pieces) == "Hi\nUser: why: Hi there!" and generation.token_ids


def goose(folder: Path) -> Tokenizer:
    """The tokenizer of a model that can reason."""
    (small_world(folder) / "config.json").write_text('{"model_type": "rwkv7"}')
    return Tokenizer.from_folder(folder)


@pytest.mark.parametrize(
    ("thinking", "written", "reasoning"),
    [
        (True, ">\nhm, so\n</think>\n\nHi there!\n\nUser: x", "hm, so\n"),
        (True, "> hm</think>Hi there!", " hm"),
        (False, ">\n\nHi there!\n\nUser: x", ""),
        (False, ">Hi there!", ""),
        (None, " Hi there!\n\nUser: x", ""),
        (None, " <think>\nhm</think>\n\nHi there!", "hm"),
        (None, "Hi there!", ""),
    ],
)
def test_what_completes_the_prompt_is_no_text_and_reasoning_is_apart(tmp_path, thinking, written, reasoning):
    tokenizer = goose(tmp_path)
    prompt = tokenizer.prompt([HELLO], thinking=thinking)
    flow = TextFlow(tokenizer, tokenizer.stops, thinking is True, tokenizer.lead(prompt))
    pieces = [piece for id in tokenizer.encode_plain(written) for piece in flow.add(id)] + [*flow.flush()]
    assert (text(pieces, "reasoning"), text(pieces)) == (reasoning, "Hi there!")


@pytest.mark.parametrize(
    ("thinking", "opened", "begun"),
    [(None, False, " Hi"), (True, True, ">\n\n</think>\n\nHi"), (False, False, ">\nHi")],
)
def test_an_answer_that_somebody_wrote_stands_as_the_model_would_have_begun_it(
    greeting, tmp_path, thinking, opened, begun
):
    able = LanguageModel(greeting.network, greeting.traits, goose(tmp_path))
    opening = able.opening([HELLO, Turn("assistant", "Hi")], thinking)
    assert (opening.thinking, able.tokenizer.decode(opening.begun)) == (opened, begun)


@pytest.mark.parametrize(
    ("written", "sampling"),
    [
        (None, WORLD_SAMPLING),
        ({"eos_token_id": 0}, WORLD_SAMPLING),
        ({"temperature": 0.5, "do_sample": True}, Sampling(temperature=0.5)),
        ({"do_sample": True}, Sampling()),
        ({"do_sample": False}, GREEDY),
    ],
)
def test_where_a_checkpoint_says_nothing_it_is_drawn_from_as_its_author_does(tmp_path, written, sampling):
    if written is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(written))
    assert model.load(reciting_world(tmp_path)).traits.defaults == sampling


@pytest.mark.parametrize(("said", "repeated"), [(b"1", True), (b"a", False)])
def test_a_digit_may_come_again_and_again(tmp_path, said, repeated):
    loaded = model.load(reciting_world(tmp_path, [b":", said, said]))
    strict = Sampling(temperature=0, frequency_penalty=100)
    ids = [token.id for token in loaded.generate(loaded.prompt([HELLO]), strict, max_tokens=5)]
    assert (ids == [SMALL[said]] * 5) == repeated


def test_another_vocabulary_is_another_model(greeting, tmp_path):
    again = model.load(reciting_world(tmp_path))
    assert again.traits.fingerprint == greeting.traits.fingerprint
    file = tmp_path / WORLD
    file.write_text(file.read_text().replace("' there'", "' where'"))
    assert model.load(tmp_path).traits.fingerprint != greeting.traits.fingerprint
