"""With lookahead an answer is what it is without, whatever is guessed; its session holds what was given out."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import model
from model import LanguageModel, ModelError, Sampling, Session
from model.generation import Generation, TextFlow
from model.lookahead import LENGTHS, Drafter, Lookahead, Lookup
from model.session import SessionOptions
from tests.checkpoints import random_checkpoint, speaking_checkpoint
from tests.model.guessing import GREEDY, Willing, guessing, looking_up
from tests.model.test_session_machine import OPTIONS, SHAPES, VOCABULARY, shaped

SAMPLINGS = {
    "greedy": GREEDY,
    "greedy, penalised": Sampling(temperature=0, repetition_penalty=1.3),
    "greedy, counted": Sampling(temperature=0, presence_penalty=0.2, frequency_penalty=0.3, penalty_decay=0.9),
    "warm": Sampling(temperature=1.5, seed=1),
    "warm, counted": Sampling(presence_penalty=0.2, frequency_penalty=0.3, penalty_decay=0.9, seed=3),
    "every filter": Sampling(temperature=1.1, top_k=20, top_p=0.9, min_p=0.02, repetition_penalty=1.2, seed=2),
}
PROMPT = [index * 7 % VOCABULARY for index in range(20)]


def continues_as_a_fresh_one(network: LanguageModel, session: Session) -> bool:
    prompt = [*session.tokens, 1, 2, 3]
    fresh = network.session_with(SessionOptions(256, caches=session.options.caches)).prefill(prompt)
    return np.abs(np.array(session.prefill(prompt)) - np.array(fresh)).max() < 1e-3


# --- the same answer ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, LanguageModel]:
    folder = tmp_path_factory.mktemp("lookahead")
    return {
        name: model.load(shaped(folder / str(seed), seed, changes))
        for seed, (name, changes) in enumerate(SHAPES.items())
    }


def answered(
    network: LanguageModel, options: str, sampling: Sampling, prompt: Sequence[int], lookahead: Lookahead | None
) -> tuple[Generation, Session]:
    session = network.session_with(SessionOptions(256, 16, OPTIONS[options]))
    generation = Generation(session, prompt, sampling, vocabulary=VOCABULARY, max_tokens=30, lookahead=lookahead)
    assert [token.id for token in generation] == generation.token_ids
    return generation, session


repeating = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=9).flatmap(
    lambda part: st.integers(1, 4).map(lambda times: part * times)
)


cases = given(
    shape=st.sampled_from(sorted(SHAPES)),
    options=st.sampled_from(sorted(OPTIONS)),
    sampling=st.sampled_from(sorted(SAMPLINGS)),
    prompt=repeating,
    wrong=st.lists(st.sampled_from([False, False, False, True]), min_size=30, max_size=30),
    length=st.sampled_from(LENGTHS),
)


def the_answer_is_the_same(models, shape, options, sampling, prompt, wrong, length):
    network, drawn = models[shape], SAMPLINGS[sampling]
    plain, before = answered(network, options, drawn, prompt, None)
    for lookahead in (guessing(plain.token_ids, wrong, length), looking_up(length)):
        generation, session = answered(network, options, drawn, prompt, lookahead)
        assert generation.token_ids == plain.token_ids and generation.reason == plain.reason == "length"
        assert session.tokens == before.tokens
        assert generation.kept_tokens <= generation.drafted_tokens
        assert continues_as_a_fresh_one(network, session)


@settings(max_examples=6)
@cases
def test_an_answer_is_the_same_however_much_of_it_is_guessed(models, **case):
    the_answer_is_the_same(models, **case)


@pytest.mark.soak
@settings(max_examples=200)
@cases
def test_an_answer_is_the_same_in_many_more_cases(models, **case):
    the_answer_is_the_same(models, **case)


def test_what_was_guessed_right_stands_and_nothing_else(models):
    plain, _ = answered(models["full"], "as they come", GREEDY, PROMPT, None)
    right, _ = answered(models["full"], "as they come", GREEDY, PROMPT, guessing(plain.token_ids))
    assert right.kept_tokens == right.drafted_tokens >= 20
    wrong, _ = answered(models["full"], "as they come", GREEDY, PROMPT, guessing(plain.token_ids, [True] * 30))
    assert wrong.kept_tokens == 0 < wrong.drafted_tokens
    assert (plain.drafted_tokens, plain.kept_tokens) == (0, 0)


def test_a_pass_over_many_tokens_needs_no_more_passes_than_it_saves(models, monkeypatch):
    plain, _ = answered(models["full"], "as they come", GREEDY, PROMPT, None)
    passes: list[int] = []
    steps, extend = Session.step, Session.extend

    def counted_step(self: Session, token: Any) -> Any:
        passes.append(1)
        return steps(self, token)

    def counted_extend(self: Session, tokens: Sequence[int]) -> Any:
        passes.append(len(tokens))
        return extend(self, tokens)

    monkeypatch.setattr(Session, "step", counted_step)
    monkeypatch.setattr(Session, "extend", counted_extend)
    answered(models["full"], "as they come", GREEDY, PROMPT, guessing(plain.token_ids, length=15))
    assert passes == [1, 16, 12], "the first token never waits for a guess"


def test_draws_are_as_likely_with_guesses_as_without(tmp_path):
    """Pearson's test of the two tokens behind the first against the model's own probabilities, whatever was guessed."""
    small = model.load(random_checkpoint(tmp_path / "small", seed=4, vocab_size=3))
    session, times = small.session(), 200
    counts = {(b, c): 0 for b in range(3) for c in range(3)}
    for seed in range(times):
        guess = [0, seed % 3, seed // 3 % 3, 0]
        lookahead = guessing(guess, length=3)
        sampling = Sampling(temperature=1.0, seed=seed)
        generation = Generation(session, [1, 2], sampling, vocabulary=3, max_tokens=4, lookahead=lookahead)
        assert [token.id for token in generation] == generation.token_ids and generation.drafted_tokens
        counts[generation.token_ids[1], generation.token_ids[2]] += 1
    statistic = 0.0
    for (b, c), count in counts.items():
        expected = times * sum(
            chance(small, [1, 2], a) * chance(small, [1, 2, a], b) * chance(small, [1, 2, a, b], c) for a in range(3)
        )
        statistic += (count - expected) ** 2 / expected
    assert statistic < 26.1, "chance gives more than this once in a thousand times, with 8 degrees of freedom"


def chance(small: LanguageModel, before: list[int], token: int) -> float:
    logits = np.array(small.session().prefill(before), np.float64)
    return float(np.exp(logits[token]) / np.exp(logits).sum())


# --- the same ends --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def speaking(tmp_path_factory) -> LanguageModel:
    window = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}
    return model.load(speaking_checkpoint(tmp_path_factory.mktemp("speaking") / "tiny", seed=3, **window))


@pytest.fixture(scope="module")
def greedy(speaking) -> list[int]:
    return [token.id for token in speaking.generate(PROMPT, max_tokens=30)]


def begun(speaking: LanguageModel, session: Session, answer: Sequence[int], **more: Any) -> Generation:
    """An answer that is guessed rightly, in long pieces."""
    flow = TextFlow(speaking.tokenizer, more.pop("stops", ()))
    return Generation(
        session, PROMPT, GREEDY, vocabulary=258, flow=flow, lookahead=guessing(answer), **{"max_tokens": 30, **more}
    )


@pytest.mark.parametrize("limit", range(1, 13))
def test_an_answer_is_as_long_as_allowed_though_more_was_guessed(speaking, greedy, limit):
    session = speaking.session()
    generation = begun(speaking, session, greedy, max_tokens=limit)
    assert [token.id for token in generation] == greedy[:limit] and generation.reason == "length"
    assert session.tokens == PROMPT + greedy[: limit - 1]


@pytest.mark.parametrize("room", range(1, 13))
def test_an_answer_fills_the_context_and_no_more(speaking, greedy, room):
    session = speaking.session(context=len(PROMPT) + room)
    generation = begun(speaking, session, greedy)
    assert [token.id for token in generation] == greedy[:room] and generation.reason == "context"
    assert len(session) < session.context


@pytest.mark.parametrize("at", range(1, 12))
def test_an_end_within_what_was_guessed_ends_the_answer(speaking, greedy, at):
    before = list(takewhile(lambda token: token != greedy[at], greedy))
    session = speaking.session()
    generation = begun(speaking, session, greedy, ends=frozenset({greedy[at]}))
    tokens = list(generation)
    assert generation.reason == "stop" and generation.token_ids == before
    assert tokens[-1].ends and session.tokens == [*PROMPT, *before, greedy[at]]
    assert continues_as_a_fresh_one(speaking, session)


def test_nothing_is_guessed_behind_an_end(speaking, greedy, monkeypatch):
    at = next(at for at in range(6, 20) if greedy[at] not in greedy[:at])
    read: list[list[int]] = []
    extend = Session.extend
    monkeypatch.setattr(Session, "extend", lambda self, tokens: read.append(list(tokens)) or extend(self, tokens))
    generation = begun(speaking, speaking.session(), greedy, ends=frozenset({greedy[at]}))
    assert list(generation)[-1].ends and read and all(greedy[at] not in tokens for tokens in read)


def test_a_stop_string_within_what_was_guessed_ends_the_answer(speaking, greedy):
    text = speaking.tokenizer.decode(greedy)
    for at in range(4, len(text) - 2):
        stop = text[at : at + 2]
        if "\ufffd" in stop:
            continue
        session = speaking.session()
        generation = begun(speaking, session, greedy, stops=[stop])
        tokens = list(generation)
        assert generation.reason == "stop" and generation.token_ids == greedy[: len(tokens)]
        assert "".join(token.text for token in tokens) == text[: text.index(stop)]
        assert session.tokens == PROMPT + greedy[: len(tokens)]


def test_an_answer_cancelled_at_any_look_leaves_a_session_that_holds_what_was_written(speaking, greedy):
    for looks in range(14):
        session, left = speaking.session(), iter(range(looks))
        generation = begun(speaking, session, greedy, cancelled=lambda left=left: next(left, None) is None)
        tokens = list(generation)
        assert generation.reason == "cancelled"
        assert generation.token_ids == [token.id for token in tokens] == greedy[: len(tokens)]
        assert session.tokens == (PROMPT + greedy[: len(tokens)])[: len(session)] and len(session) >= len(tokens)
        assert continues_as_a_fresh_one(speaking, session)


@pytest.mark.parametrize("taken", range(14))
def test_an_abandoned_answer_leaves_a_session_that_holds_what_was_taken(speaking, greedy, taken):
    session = speaking.session()
    tokens = iter(begun(speaking, session, greedy))
    assert [next(tokens).id for _ in range(taken)] == greedy[:taken]
    del tokens
    assert session.tokens == (PROMPT + greedy[:taken] if taken else [])
    assert continues_as_a_fresh_one(speaking, session)


def test_an_answer_abandoned_late_takes_nothing_from_what_its_session_has_become(speaking, greedy):
    session = speaking.session()
    tokens = iter(begun(speaking, session, greedy))
    for _ in range(4):
        next(tokens)
    session.prefill([*PROMPT, 5, 6])
    del tokens
    assert session.tokens == [*PROMPT, 5, 6]
    assert continues_as_a_fresh_one(speaking, session)


def test_a_failure_while_a_guess_is_read_leaves_an_empty_session(speaking, greedy, monkeypatch):
    session = speaking.session()
    tokens = iter(begun(speaking, session, greedy))
    next(tokens)
    monkeypatch.setattr(Session, "take_back", lambda *_: (_ for _ in ()).throw(RuntimeError("no memory")))
    with pytest.raises(RuntimeError):
        list(tokens)
    assert session.tokens == []


# --- a smaller model ------------------------------------------------------------------------------------------------


def test_a_model_drafts_for_itself_and_is_always_right(models):
    network = models["hybrid"]
    plain, _ = answered(network, "as they come", GREEDY, PROMPT, None)
    drafter = Drafter(network.session(), VOCABULARY)
    generation, _ = answered(network, "as they come", GREEDY, PROMPT, Lookahead([(drafter, Willing(7))]))
    assert generation.token_ids == plain.token_ids
    assert generation.kept_tokens == generation.drafted_tokens >= 20


@settings(max_examples=3)
@given(
    shape=st.sampled_from(sorted(SHAPES)),
    sampling=st.sampled_from(sorted(SAMPLINGS)),
    length=st.sampled_from(LENGTHS),
    context=st.sampled_from([24, 40, 256]),
)
def test_another_model_drafts_and_changes_nothing(models, shape, sampling, length, context):
    plain, _ = answered(models["full"], "as they come", SAMPLINGS[sampling], PROMPT, None)
    drafter = models[shape].session(context)
    for _ in range(2):  # the second answer finds the first one's prompt in the drafter's session
        lookahead = Lookahead([(Lookup(), Willing(1)), (Drafter(drafter, VOCABULARY), Willing(length))])
        generation, _ = answered(models["full"], "as they come", SAMPLINGS[sampling], PROMPT, lookahead)
        assert generation.token_ids == plain.token_ids
    assert len(drafter) < context


def test_a_drafter_reads_the_conversation_once(models, monkeypatch):
    read: list[int] = []
    prefill = Session.prefill

    def watched(self: Session, tokens: Sequence[int], *more: Any, **named: Any) -> Any:
        read.append(len(tokens))
        return prefill(self, tokens, *more, **named)

    network, session = models["full"], models["hybrid"].session()
    monkeypatch.setattr(Session, "prefill", watched)
    answered(network, "as they come", GREEDY, PROMPT, Lookahead([(Drafter(session, VOCABULARY), Willing(3))]))
    assert len(read) <= 3, "the answer's prompt, the drafter's, and its first draft"


def test_a_drafter_that_is_stopped_while_it_reads_guesses_nothing(models):
    session = models["full"].session()
    drafter = Drafter(session, VOCABULARY)
    drafter.begin(PROMPT, lambda: True)
    assert drafter.strength is None and len(session) == 0


def test_a_model_with_other_tokens_does_not_draft(speaking, tmp_path):
    other = model.load(speaking_checkpoint(tmp_path / "other", seed=3))
    speaking.check_drafter(other)
    (tmp_path / "other" / "tokenizer.json").write_text(
        (tmp_path / "other" / "tokenizer.json").read_text().replace("<|im_start|>", "<|start|>")
    )
    renamed = model.load(tmp_path / "other")
    mute = model.load(random_checkpoint(tmp_path / "mute"))
    for stranger in (renamed, mute):
        with pytest.raises(ModelError, match=r"cannot draft for tiny: their vocabularies differ; choose") as raised:
            speaking.check_drafter(stranger)
        assert raised.value.kind == "request"


def test_a_language_model_looks_ahead_where_it_is_asked_to(speaking, greedy):
    session, smaller = speaking.session(), speaking.session()
    for more in ({"lookahead": True}, {"drafter": smaller}, {"lookahead": True, "drafter": smaller}):
        tokens = list(speaking.generation(session, PROMPT, GREEDY, max_tokens=30, **more))
        assert [token.id for token in tokens] == greedy
    assert smaller.tokens[:20] == PROMPT


# --- looking up -----------------------------------------------------------------------------------------------------


class Scanned:
    """What `Lookup` says, by its definition: a scan of all there is."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.place: int | None = None

    def add(self, token: int) -> None:
        stays = self.place is not None and self.tokens[self.place] == token
        self.tokens.append(token)
        if stays:
            self.place += 1
            return
        size = len(self.tokens)
        earlier = [end for end in range(2, size) if self.tokens[end - 2 : end] == self.tokens[-2:]]
        self.place = earlier[-1] if earlier and size > 1 else None

    def guess(self, most: int) -> list[int]:
        known = list(self.tokens)
        for place in range(most):
            known.append(known[self.place + place])
        return known[len(self.tokens) :]


@settings(max_examples=200)
@given(
    tokens=st.lists(st.integers(0, 3), min_size=1, max_size=40), first=st.integers(1, 40), most=st.sampled_from(LENGTHS)
)
def test_a_lookup_guesses_what_followed_the_same_tokens_last(tokens, first, most):
    lookup, scanned = Lookup(), Scanned()
    for token in tokens[:first]:
        scanned.add(token)
    scanned.place = next(
        (end for end in range(len(scanned.tokens) - 1, 1, -1) if scanned.tokens[end - 2 : end] == scanned.tokens[-2:]),
        None,
    )
    lookup.begin(tokens[:first])
    for token in [*tokens[first:], 0]:
        if scanned.place is None:
            assert lookup.strength is None and lookup.next is None and lookup.propose(most) == []
        else:
            assert lookup.propose(most) == scanned.guess(most)
            assert lookup.next == lookup.propose(1)[0]
        lookup.add(token)
        scanned.add(token)


def test_a_guess_is_stronger_the_longer_it_was_right():
    lookup = Lookup()
    lookup.begin([*range(20), 0, 1])
    strengths = []
    for token in range(2, 12):
        strengths.append(lookup.strength)
        lookup.add(token)
    assert strengths == [0, 1, 1, 2, 2, 2, 2, 3, 3, 3]
    lookup.add(50)
    assert lookup.strength is None


def test_a_lookup_costs_the_same_however_much_was_said():
    class Counting(list[int]):
        """Tokens, and how many of them were looked at."""

        looked = 0

        def __getitem__(self, key: Any) -> Any:
            found = super().__getitem__(key)
            Counting.looked += len(found) if isinstance(key, slice) else 1
            return found

    lookup = Lookup()
    lookup.begin([token % 977 * 31 % 1009 for token in range(50_000)])
    lookup._tokens = Counting(lookup._tokens)
    for token in (5, 7, 5, 7, 5):
        lookup.add(token)
        lookup.propose(15)
    assert Counting.looked < 150
