"""What may be drawn, in transformers' order, and that it is drawn as often as it should be."""

import math

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import ModelError, Sampling
from model.sampling import Past, Sampler, explain, filtered, token_id

logits_lists = st.lists(st.integers(-80, 80).map(lambda tenth: tenth / 10), min_size=2, max_size=30)


def kept(logits: list[float], sampling: Sampling) -> set[int]:
    result = np.array(filtered(mx.array(logits, mx.float32), sampling))
    return set(np.flatnonzero(np.isfinite(result)).tolist())


def reference(logits: list[float], sampling: Sampling) -> set[int]:
    """The definition, in float64 and by loops: k first, then p over what is left, then min-p; ties stay together."""
    scores = [value / sampling.temperature for value in logits]
    left = set(range(len(scores)))
    if 0 < sampling.top_k < len(scores):
        kth = sorted(scores, reverse=True)[sampling.top_k - 1]
        left = {token for token in left if scores[token] >= kth}
    if sampling.top_p < 1:
        mass = sum(math.exp(scores[token]) for token in left)
        smallest = max(scores[token] for token in left)
        before = 0.0
        for token in sorted(left, key=lambda token: -scores[token]):
            if before / mass < sampling.top_p:
                smallest = scores[token]
            before += math.exp(scores[token])
        left = {token for token in left if scores[token] >= smallest}
    if sampling.min_p > 0:
        best = max(scores[token] for token in left)
        left = {token for token in left if scores[token] >= best + math.log(sampling.min_p)}
    return left


@given(
    logits=logits_lists,
    temperature=st.sampled_from([0.3, 1.0, 1.7]),
    top_k=st.integers(0, 12),
    top_p=st.sampled_from([0.0, 0.13, 0.5, 0.87, 0.99, 1.0]),
    min_p=st.sampled_from([0.0, 0.07, 0.53]),
)
def test_what_is_kept_is_what_the_definition_keeps(logits, temperature, top_k, top_p, min_p):
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    ours, theirs = kept(logits, sampling), reference(logits, sampling)
    scores = np.array(logits) / temperature
    # float32 may round a running sum across p: then the two differ by one value and its ties.
    assert ours == theirs or len({scores[token] for token in ours ^ theirs}) == 1
    assert int(np.argmax(scores)) in ours or scores[max(ours, key=lambda token: scores[token])] == scores.max()


def draws(sampling: Sampling, logits: list[float], count: int = 4000, context: tuple[int, ...] = ()) -> np.ndarray:
    sampler = Sampler(sampling, len(logits), context)
    array = mx.array(logits)
    return np.bincount([int(sampler(array).item()) for _ in range(count)], minlength=len(logits)) / count


def test_draws_follow_the_distribution():
    logits = [2.0, 1.0, 0.0, -1.0]
    expected = np.exp(np.array(logits) / 0.8) / np.exp(np.array(logits) / 0.8).sum()
    assert np.abs(draws(Sampling(temperature=0.8, seed=1), logits) - expected).max() < 0.03


def test_a_seed_makes_a_run_repeatable():
    sampling = Sampling(temperature=1.0, seed=7)
    first, second = (
        [int(sampler(mx.zeros(50)).item()) for _ in range(20)]
        for sampler in (Sampler(sampling, 50), Sampler(sampling, 50))
    )
    other = Sampler(Sampling(temperature=1.0, seed=8), 50)
    assert first == second != [int(other(mx.zeros(50)).item()) for _ in range(20)]


def test_without_a_seed_two_runs_differ():
    first, second = (
        [int(sampler(mx.zeros(1000)).item()) for _ in range(8)]
        for sampler in (Sampler(Sampling(), 1000), Sampler(Sampling(), 1000))
    )
    assert first != second


def test_greedy_is_the_most_likely_token():
    assert int(Sampler(Sampling(temperature=0), 4)(mx.array([0.1, 3.0, 2.9, -1.0])).item()) == 1


def test_rows_beyond_the_tokenizer_are_never_drawn():
    sampler = Sampler(Sampling(temperature=0), vocabulary=3)
    assert int(sampler(mx.array([0.0, 1.0, 0.5, 99.0])).item()) == 1


def test_the_repetition_penalty_counts_the_whole_context_and_what_was_just_drawn():
    sampler = Sampler(Sampling(temperature=0, repetition_penalty=2.0), 4, context=[1])
    logits = mx.array([2.5, 4.0, 1.5, -1.0])
    assert [int(sampler(logits).item()) for _ in range(3)] == [0, 1, 1]  # 2.5 > 4/2; then 2 > 1.25 and 1.5


def test_what_the_answer_holds_becomes_less_likely_with_each_time_and_is_forgotten():
    logits, context = mx.array([2.0, 1.0, 0.0]), [0, 0, 0]  # the prompt's own words count for nothing
    assert drawn(Sampling(temperature=0, presence_penalty=1.5), logits, 5, context) == [0, 1, 0, 0, 0]
    assert drawn(Sampling(temperature=0, frequency_penalty=0.8), logits, 6, context) == [0, 0, 1, 0, 1, 2]
    forgetting = Sampling(temperature=0, frequency_penalty=3, penalty_decay=0.25)
    assert drawn(forgetting, logits, 6, context) == [0, 1, 0, 1, 0, 1]
    forgotten = Sampling(temperature=0, presence_penalty=1.5, penalty_decay=0)  # how often, but not that it was there
    assert drawn(forgotten, logits, 5, context) == [0, 1, 0, 0, 0]


def test_what_is_not_counted_comes_again_as_likely_as_before():
    sampling = Sampling(temperature=0, frequency_penalty=1.5)
    sampler = Sampler(sampling, 3, [0, 2], drawn=2, uncounted=frozenset({0}))
    assert [token_id(sampler(mx.array([2.0, 1.0, 2.5]))) for _ in range(4)] == [0, 0, 0, 0]
    sampler = Sampler(sampling, 3, [2], drawn=1, uncounted=frozenset({0}))
    assert [token_id(sampler(mx.array([1.5, 2.0, 0.0]))) for _ in range(3)] == [1, 0, 0]
    present = Sampling(temperature=0, presence_penalty=1.5)  # that it is there counts, and not how often
    for context in ([0], []):
        sampler = Sampler(present, 3, context, drawn=len(context), uncounted=frozenset({0}))
        logits = mx.array([2.0, 1.0, -9.0])
        assert [token_id(sampler(logits)) for _ in range(4 - len(context))] == [0, 1, 0, 0][len(context) :]


def drawn(sampling: Sampling, logits: mx.array, count: int, context: list[int]) -> list[int]:
    sampler = Sampler(sampling, logits.size, context)
    return [token_id(sampler(logits)) for _ in range(count)]


def test_an_answer_that_goes_on_has_its_penalties_as_if_it_had_not_stopped():
    sampling = Sampling(seed=3, presence_penalty=0.5, frequency_penalty=0.4, penalty_decay=0.9, repetition_penalty=1.1)
    logits = mx.array([1.0, 0.5, 0.0, 0.2])
    whole = drawn(sampling, logits, 12, [1])
    later = Sampler(sampling, 4, [1, *whole[:5]], drawn=5)
    assert [token_id(later(logits)) for _ in range(7)] == whole[5:]


def test_a_state_can_be_returned_to_again_and_again():
    sampler = Sampler(Sampling(seed=3, frequency_penalty=2.0, repetition_penalty=1.5), 4)
    logits, state = mx.array([1.0, 0.5, 0.0, 0.2]), sampler.state
    runs = []
    for _ in range(3):
        runs.append([token_id(sampler(logits)) for _ in range(6)])
        sampler.restore(state)
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(top_k=2, top_p=0.5, min_p=0.1)])
@pytest.mark.parametrize(
    "logits",
    [[math.nan, 1.0, 2.0], [1.0, 2.0, math.nan], [-math.inf] * 3, [0.0, math.inf, math.inf]],
    ids=["nan first", "nan last", "nothing", "too much"],
)
def test_logits_that_are_no_numbers_are_said_and_not_drawn_from(sampling, logits):
    with pytest.raises(ModelError, match="computed no number"):
        token_id(Sampler(sampling, 3)(mx.array(logits)))


def test_a_padding_row_that_is_no_number_is_nobodys_business():
    assert token_id(Sampler(Sampling(temperature=0), vocabulary=2)(mx.array([0.0, 1.0, math.nan]))) == 1


def test_a_single_possible_token_is_drawn():
    assert token_id(Sampler(Sampling(), 3)(mx.array([-math.inf, 0.0, -math.inf]))) == 1


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precise_logits_are_drawn_from_in_float32(dtype):
    logits = mx.array([2.0, 1.0, -3.0, 0.5]).astype(dtype)
    exact, half = Sampler(Sampling(seed=3), 4), Sampler(Sampling(seed=3), 4)
    assert [token_id(half(logits)) for _ in range(30)] == [
        token_id(exact(logits.astype(mx.float32))) for _ in range(30)
    ]


@pytest.mark.parametrize("top_k", [3, 4, 1000])
def test_more_than_the_vocabulary_keeps_all(top_k):
    assert kept([0.1, 0.2, -5.0], Sampling(top_k=top_k)) == {0, 1, 2}


@pytest.mark.parametrize("others", [{}, {"top_p": 0.9}, {"top_k": 2}, {"min_p": 0.1}])
def test_the_lowest_temperature_is_greedy(others):
    sampler = Sampler(Sampling(temperature=1e-38, **others), 4)
    assert {token_id(sampler(mx.array([30.0, 50.0, 49.9, -2.0]))) for _ in range(20)} == {1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"temperature": math.nan},
        {"repetition_penalty": 0},
        {"presence_penalty": math.nan},
        {"frequency_penalty": 101},
        {"penalty_decay": 1.1},
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ModelError, match=next(iter(wrong))):
        Sampling(**wrong)


# --- what else it could have been -----------------------------------------------------------------------------------

samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    top_k=st.integers(0, 12),
    top_p=st.sampled_from([0.13, 0.5, 0.87, 1.0]),
    min_p=st.sampled_from([0.0, 0.07, 0.53]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    presence_penalty=st.sampled_from([0.0, 0.7]),
    frequency_penalty=st.sampled_from([0.0, 0.4]),
    penalty_decay=st.sampled_from([0.0, 0.9, 1.0]),
)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def penalised_by_hand(logits: list[float], sampling: Sampling, context: list[int], answered: int) -> np.ndarray:
    """The definition, token by token: rwkv's `PIPELINE.generate` for what the answer holds."""
    penalty, occurrence = sampling.repetition_penalty, dict[int, float]()
    for token in context[len(context) - answered :]:
        occurrence = {other: times * sampling.penalty_decay for other, times in occurrence.items()}
        occurrence[token] = occurrence.get(token, 0.0) + 1
    scores = []
    for token, value in enumerate(logits):
        if token in context:
            value = value * penalty if value < 0 else value / penalty
        if token in occurrence:
            value -= sampling.presence_penalty + occurrence[token] * sampling.frequency_penalty
        scores.append(value)
    return np.array(scores, np.float32)


@given(
    logits=st.lists(st.integers(-80, 80).map(lambda tenth: tenth / 10), min_size=2, max_size=80),
    sampling=samplings,
    context=st.lists(st.integers(0, 90), max_size=5),
    share=st.integers(0, 5),
    place=st.integers(0, 79),
)
def test_candidates_have_the_chances_that_are_drawn_by(logits, sampling, context, share, place):
    size, chosen, answered = len(logits), place % len(logits), min(share, len(context))
    padded = mx.array([*logits, 99.0, math.nan], mx.float32)
    found = explain(padded, Past.of(sampling, size, context, answered), chosen)
    tokens = {one.token: one for one in found.tokens}
    scores = penalised_by_hand(logits, sampling, context, answered)
    if sampling.greedy:
        shares = np.eye(size)[int(scores.argmax())]
        before_cut = shares
    else:
        drawn_by = np.array(filtered(mx.array(scores), sampling))
        shares = softmax(drawn_by)
        before_cut = softmax(scores / sampling.temperature)
    kept = shares > 0
    assert found.kept == kept.sum()
    assert found.kept_mass == pytest.approx(before_cut[kept].sum(), abs=1e-4)
    for token, one in tokens.items():
        assert one.probability == pytest.approx(softmax(np.array(logits))[token], abs=1e-5)
        assert one.share == pytest.approx(shares[token], abs=1e-5) and (one.share > 0) == kept[token]
    assert chosen in tokens and len(tokens) == len(found.tokens)
    assert [one.probability for one in found.tokens] == sorted((one.probability for one in found.tokens), reverse=True)
    named = [one for one in found.tokens if one.share > 0]
    assert len(named) == min(40, found.kept) and len(tokens) - len(named) == min(10, size - found.kept)
    if found.kept <= 40:
        assert sum(one.share for one in named) == pytest.approx(1, abs=1e-4)


def test_of_many_candidates_the_best_are_named_and_the_chosen_one():
    logits = [-token / 100 for token in range(200)]
    found = explain(mx.array(logits), Past.of(Sampling(top_k=60), 200), 50)
    assert [one.token for one in found.tokens] == [*range(39), 50, *range(60, 70)]
    found = explain(mx.array(logits), Past.of(Sampling(top_k=60), 200), 150)
    assert [one.token for one in found.tokens] == [*range(40), *range(60, 69), 150]
    assert found.kept == 60


def test_candidates_are_drawn_as_often_as_their_shares_say():
    sampling, logits = Sampling(temperature=0.8, top_k=3, repetition_penalty=1.5, seed=1), [2.0, 1.0, 0.5, -1.0]
    shares = {one.token: one.share for one in explain(mx.array(logits), Past.of(sampling, 4, [0]), 0).tokens}
    counted = np.zeros(4)
    for seed in range(1500):
        once = Sampler(Sampling(temperature=0.8, top_k=3, repetition_penalty=1.5, seed=seed), 4, [0])
        counted[token_id(once(mx.array(logits)))] += 1
    assert np.abs(counted / 1500 - np.array([shares[token] for token in range(4)])).max() < 0.05


def test_no_candidates_are_told_of_logits_that_are_no_numbers():
    with pytest.raises(ModelError, match="computed no number"):
        explain(mx.array([math.nan, 1.0]), Past.of(Sampling(), 2), 0)
