"""Text comes out as it becomes certain, whatever the tokens; an answer ends for a reason; its session stays usable."""

import json
from functools import partial
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models

import model
from model import LanguageModel, ModelError, Sampling, Session
from model.backends import Library
from model.detokenizer import BYTE_CHARACTERS
from model.generation import Generation, TextFlow, Token
from model.sampling import token_id
from model.tokenizer import Tokenizer
from tests.checkpoints import random_checkpoint, speaking_checkpoint

GREEDY = Sampling(temperature=0)
PROMPT = [index * 7 % 256 for index in range(40)]

# --- text -----------------------------------------------------------------------------------------------------------

PIECES = ["<think>", "</think>", "<thi", "nk>", "</", "think>", "\n\n", "\n ", "ab", "abc", "STOP", "ST", "OP", "é🦩"]
"""What tokens may be, besides single bytes: words, tags, and parts of them."""


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A token a byte, and one for each of `PIECES`."""
    spelled = ["".join(BYTE_CHARACTERS[byte] for byte in piece.encode()) for piece in PIECES]
    vocabulary = {text: id for id, text in enumerate([*BYTE_CHARACTERS, *spelled])}
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, []))
    backend.decoder = decoders.ByteLevel()
    return Tokenizer(Library(backend))


def written(flow: TextFlow, ids: list[int]) -> tuple[str, str, bool]:
    """Reasoning and answer, all pieces put together, and whether a stop string ended it."""
    parts = {"reasoning": "", "answer": ""}
    for piece in (*(piece for id in ids for piece in flow.add(id)), *flow.flush()):
        assert piece.text, "a piece is never empty"
        assert not (piece.part == "reasoning" and parts["answer"]), "reasoning comes first"
        parts[piece.part] += piece.text
    return parts["reasoning"], parts["answer"], flow.stopped


def defined(text: str, stops: list[str], thinking: bool) -> tuple[str, str, bool]:
    """The same from the whole text, a character after the other."""
    parts = {"reasoning": "", "answer": ""}
    part, rest = "reasoning" if thinking else "answer", text
    if thinking:
        rest = rest.lstrip("\n")
    elif rest.lstrip().startswith("<think>"):
        part, rest = "reasoning", rest.lstrip().removeprefix("<think>").lstrip("\n")
    end = 0
    while end < len(rest):
        end += 1
        markers = [*stops, "</think>"] if part == "reasoning" else stops
        complete = max((marker for marker in markers if rest[:end].endswith(marker)), key=len, default=None)
        if complete is None:
            continue
        parts[part] = rest[: end - len(complete)]
        if part == "answer" or complete != "</think>":
            return parts["reasoning"], parts["answer"], True
        part, rest, end = "answer", rest[end:].lstrip("\n"), 0
    parts[part] = rest
    return parts["reasoning"], parts["answer"], False


byte_ids = st.sampled_from([*b" \n<>/abSTOP", 0xC3, 0xA9, 0xF0])
answers = st.lists(st.one_of(byte_ids, st.integers(256, 255 + len(PIECES))), max_size=14)
stop_lists = st.lists(
    st.sampled_from(["STOP", "ST", "TO", "abc", "bc", "b", "\n\n", "</think>a", "k>a", "\ufffd"]), max_size=3
)


@settings(max_examples=400)
@given(ids=answers, stops=stop_lists, thinking=st.booleans())
@example(ids=[*b"xabc"], stops=["bc", "abcd"], thinking=False)
@example(ids=[*b"xabcd"], stops=["bc", "abcd"], thinking=False)
@example(ids=[*b"why</think>abc"], stops=["</think>a"], thinking=True)
@example(ids=[256, *b"why STOP"], stops=["STOP"], thinking=False)
def test_pieces_amount_to_the_text_for_any_split_into_tokens(tokenizer, ids, stops, thinking):
    expected = defined(tokenizer.decode(ids), stops, thinking)
    assert written(TextFlow(tokenizer, stops, thinking), ids) == expected
    spelled = [byte for id in ids for byte in ([id] if id < 256 else PIECES[id - 256].encode())]
    assert written(TextFlow(tokenizer, stops, thinking), spelled) == expected


def test_text_is_given_out_as_soon_as_it_is_certain(tokenizer):
    flow = TextFlow(tokenizer, ["STOP"])
    told = ["".join(piece.text for piece in flow.add(id)) for id in (*b"aSbST", *"é".encode(), *b"STO")]
    assert told == ["a", "", "Sb", "", "", "", "STé", "", "", ""]
    assert [piece.text for piece in flow.flush()] == ["STO"], "what never became a stop is text after all"


def test_nothing_is_given_out_after_a_stop(tokenizer):
    flow = TextFlow(tokenizer, ["ST"])
    assert [piece.text for id in b"xSTOP" for piece in flow.add(id)] == ["x"]
    assert flow.stopped and flow.flush() == ()


# --- answers --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def speaking(tmp_path_factory) -> LanguageModel:
    """A model that speaks, with a layer that slides."""
    window = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}
    return model.load(speaking_checkpoint(tmp_path_factory.mktemp("speaking") / "tiny", seed=3, **window))


@pytest.fixture(scope="module")
def greedy(speaking) -> list[int]:
    """The first ids that it answers `PROMPT` with."""
    return [token.id for token in speaking.generate(PROMPT, max_tokens=30)]


def continues_as_a_fresh_one(speaking: LanguageModel, session: Session) -> bool:
    prompt = [*session.tokens, 1, 2, 3]
    fresh = speaking.session().prefill(prompt)
    return np.abs(np.array(session.prefill(prompt)) - np.array(fresh)).max() < 1e-4


def test_an_answer_as_long_as_allowed(speaking, greedy):
    generation = speaking.generation(speaking.session(), PROMPT, GREEDY, max_tokens=7)
    tokens = list(generation)
    assert generation.reason == "length" and not any(token.ends for token in tokens)
    assert generation.token_ids == [token.id for token in tokens] == greedy[:7]
    assert "".join(token.text for token in tokens) == speaking.tokenizer.decode(greedy[:7])
    assert generation.rest() == ()


@pytest.mark.parametrize("limit", [0, -1])
def test_an_answer_of_no_tokens_reads_nothing(speaking, limit):
    session = speaking.session()
    generation = speaking.generation(session, PROMPT, GREEDY, max_tokens=limit)
    assert list(generation) == [] and generation.reason == "length" and len(session) == 0


@pytest.mark.parametrize("room", [1, 2, 5])
def test_an_answer_that_fills_the_context(speaking, greedy, room):
    session = speaking.session(context=len(PROMPT) + room)
    generation = speaking.generation(session, PROMPT, GREEDY)
    assert [token.id for token in generation] == greedy[:room]
    assert generation.reason == "context" and len(session) < session.context


def ending(speaking: LanguageModel, session: Session, end: int) -> Generation:
    flow = TextFlow(speaking.tokenizer)
    ends = frozenset({end})
    return Generation(session, PROMPT, GREEDY, vocabulary=258, ends=ends, flow=flow, max_tokens=30)


def test_an_answer_that_the_model_ends(speaking, greedy):
    end = greedy[9]
    before = greedy[: greedy.index(end)]
    generation = ending(speaking, speaking.session(), end)
    tokens = list(generation)
    assert generation.reason == "stop" and generation.token_ids == before
    assert [token.id for token in tokens] == [*before, end]
    assert [token.ends for token in tokens] == [False] * len(before) + [True]
    assert "".join(token.text for token in tokens) == speaking.tokenizer.decode(before)


def test_an_end_on_the_last_allowed_token_is_an_end(speaking, greedy):
    generation = speaking.generation(speaking.session(), PROMPT, GREEDY, max_tokens=len(greedy))
    at = greedy.index(greedy[9]) + 1
    generation = Generation(
        speaking.session(), PROMPT, GREEDY, vocabulary=258, ends=frozenset({greedy[9]}), max_tokens=at
    )
    assert len(list(generation)) == at and generation.reason == "stop"


def test_an_answer_that_a_stop_string_ends(speaking, greedy):
    text = speaking.tokenizer.decode(greedy)
    stop = next(text[at : at + 2] for at in range(4, len(text)) if "\ufffd" not in text[at : at + 2])
    generation = speaking.generation(speaking.session(), PROMPT, GREEDY, max_tokens=30, stops=[stop])
    tokens = list(generation)
    assert generation.reason == "stop" and generation.token_ids == greedy[: len(tokens)]
    assert "".join(token.text for token in tokens) == text[: text.index(stop)]


def test_an_answer_cancelled_at_any_look_leaves_what_was_written_and_a_session_that_goes_on(speaking, greedy):
    for looks in range(12):
        session, left = speaking.session(), iter(range(looks))
        generation = speaking.generation(
            session, PROMPT, GREEDY, max_tokens=30, cancelled=lambda left=left: next(left, None) is None
        )
        tokens = list(generation)
        assert generation.reason == "cancelled"
        assert generation.token_ids == [token.id for token in tokens] == greedy[: max(0, looks)][: len(tokens)]
        said = "".join(token.text for token in tokens) + "".join(piece.text for piece in generation.rest())
        assert said == speaking.tokenizer.decode(generation.token_ids)
        assert session.tokens == (PROMPT + greedy)[: len(session)]
        assert continues_as_a_fresh_one(speaking, session)


@pytest.mark.parametrize("taken", [0, 1, 4])
def test_an_abandoned_answer_leaves_a_session_that_goes_on(speaking, greedy, taken):
    session = speaking.session()
    tokens = iter(speaking.generation(session, PROMPT, GREEDY, max_tokens=30))
    assert [next(tokens).id for _ in range(taken)] == greedy[:taken]
    del tokens
    assert session.tokens == (PROMPT + greedy[:taken] if taken else [])
    assert continues_as_a_fresh_one(speaking, session)


def test_what_it_took_only_grows_and_is_known_at_any_moment(speaking):
    session = speaking.session()
    reads = []
    generation = speaking.generation(
        session, PROMPT, GREEDY, max_tokens=9, progress=lambda done, total: reads.append((done, total))
    )
    assert generation.decode_seconds == generation.first_token_seconds == generation.prefill_seconds == 0
    spans = [generation.decode_seconds for _ in generation]
    assert spans == sorted(spans) and spans[0] == 0 < spans[-1]
    assert 0 < generation.prefill_seconds <= generation.first_token_seconds
    assert reads[-1] == (40, 40) and (generation.prompt_tokens, generation.reused_tokens) == (40, 0)
    again = speaking.generation(session, [*PROMPT, 5], GREEDY, max_tokens=1)
    assert list(again) and again.reused_tokens == 40


def test_a_prompt_that_does_not_fit_is_refused_and_the_session_keeps_what_it_has(speaking):
    session = speaking.session(context=20)
    session.prefill(PROMPT[:9])
    with pytest.raises(ModelError) as raised:
        list(speaking.generation(session, PROMPT, GREEDY))
    assert raised.value.kind == "context" and session.tokens == PROMPT[:9]


def broken_checkpoint(folder: Path) -> Path:
    """Weights that are numbers each, and run over on the inside."""
    random_checkpoint(folder)
    weights = mx.load(str(folder / "model.safetensors"))
    weights["model.norm.weight"] = mx.full(weights["model.norm.weight"].shape, 3e38)
    weights["model.embed_tokens.weight"] *= 100
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    return folder


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=0.8, top_p=0.9, seed=1)])
def test_numbers_that_are_none_are_said_and_leave_an_empty_session(tmp_path, sampling):
    broken = model.load(broken_checkpoint(tmp_path / "broken"), dtype="float32")
    session = broken.session()
    with pytest.raises(ModelError, match="computed no number"):
        list(broken.generation(session, [1, 2, 3], sampling, max_tokens=5))
    assert session.tokens == []


def test_a_failure_while_writing_leaves_an_empty_session(speaking, monkeypatch):
    session = speaking.session()
    tokens = iter(speaking.generation(session, PROMPT, GREEDY))
    next(tokens)
    monkeypatch.setattr("model.generation.mx.async_eval", lambda *_: (_ for _ in ()).throw(RuntimeError("no memory")))
    with pytest.raises(RuntimeError):
        list(tokens)
    assert session.tokens == []


def test_half_of_a_step_is_queued_before_the_token_before_it_is_known_and_the_rest_after(tmp_path, monkeypatch):
    """None would let the device wait; all would copy what the step before still reads."""
    loaded = model.load(random_checkpoint(tmp_path / "deep", num_hidden_layers=6))
    drawn = partial(loaded.generation, tokens=[1, 2, 3], sampling=GREEDY, max_tokens=3)
    expected = [token.id for token in drawn(loaded.session())]
    make, caches = loaded.network.make_cache, []
    monkeypatch.setattr(loaded.network, "make_cache", lambda options: caches.extend(make(options)) or caches)
    queue, happened = mx.async_eval, []
    monkeypatch.setattr(mx, "async_eval", lambda arrays: happened.append(arrays) or queue(arrays))
    monkeypatch.setattr("model.generation.token_id", lambda token: happened.append("known") or token_id(token))
    assert [token.id for token in drawn(loaded.session())] == expected
    first, *steps, last = happened
    assert isinstance(first, mx.array) and last == "known", "nothing goes before the first, nothing behind the last"
    for half, known, rest in zip(steps[::3], steps[1::3], steps[2::3], strict=True):
        (states,) = half
        assert states[0] is caches[2].state[0], "what the third of six layers keeps takes the two before it"
        assert known == "known" and isinstance(rest, mx.array)


# --- the simple way -------------------------------------------------------------------------------------------------


def test_generate_ends_with_the_token_that_ends_the_answer(speaking, greedy, tmp_path):
    end = next(id for id in greedy[5:] if chr(33) <= speaking.tokenizer.decode([id]) <= chr(126))
    window = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}
    folder = speaking_checkpoint(tmp_path / "tiny", seed=3, **window)
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": speaking.tokenizer.decode([end])}))
    tokens = list(model.load(folder).generate(PROMPT, max_tokens=30))
    assert [token.id for token in tokens] == greedy[: greedy.index(end) + 1]
    assert tokens[-1].ends and not any(token.ends for token in tokens[:-1])


def test_generate_draws_by_its_sampling_from_a_session_where_there_is_one(speaking, greedy):
    drawn = partial(speaking.generate, PROMPT, Sampling(temperature=1.5, seed=5), max_tokens=12)
    session = speaking.session()
    first, second = [token.id for token in drawn()], [token.id for token in drawn(session=session)]
    assert first == second != greedy[:12]
    assert session.tokens[:40] == PROMPT


def test_a_checkpoint_without_a_tokenizer_gives_tokens_without_text(tmp_path):
    mute = model.load(random_checkpoint(tmp_path / "mute"))
    tokens = list(mute.generate([1, 2, 3], max_tokens=20))
    assert len(tokens) == 20 and all(token == Token(token.id) and token.text == "" for token in tokens)
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        mute.prompt([])


@pytest.mark.parametrize("stranger", [-1, 258])
def test_ids_that_are_no_tokens_are_refused(speaking, stranger):
    with pytest.raises(ModelError, match=f"Token {stranger} is not one") as raised:
        speaking.generate([1, stranger])
    assert raised.value.kind == "request"
