"""Whatever a session did before, it continues as a fresh one would."""

import mlx.core as mx
import numpy as np
import pytest

import model
from model import KVQuantisation, ModelError
from model.cache import CacheOptions, RotatingCache
from model.config import UNBOUNDED
from model.session import Cancelled, SessionOptions
from tests.checkpoints import random_checkpoint


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory):
    """Two layers that slide, two that do not, and a slack that a few tokens use up."""
    folder = tmp_path_factory.mktemp("hybrid") / "hybrid"
    return model.load(
        random_checkpoint(
            folder,
            num_hidden_layers=4,
            use_sliding_window=True,
            sliding_window=6,
            layer_types=["sliding_attention", "full_attention"] * 2,
        )
    )


def fresh(hybrid, prompt):
    return np.array(hybrid.session().prefill(prompt))


def test_only_what_is_new_is_read(hybrid):
    session, prompt = hybrid.session(), list(range(60))
    session.prefill(prompt)
    totals = []
    session.prefill([*prompt, 5, 6, 7], progress=lambda done, total: totals.append(total))
    assert set(totals) == {3}


def test_a_cancelled_prefill_goes_on_where_it_stopped(hybrid):
    session, prompt = hybrid.session_with(SessionOptions(context=256, chunk=10)), list(range(90))
    looks = iter([False, False, False, True])
    with pytest.raises(Cancelled):
        session.prefill(prompt, cancelled=lambda: next(looks))
    assert session.tokens == prompt[:30]
    totals = []
    logits = session.prefill(prompt, progress=lambda done, total: totals.append(total))
    assert totals[0] == 60
    assert np.abs(np.array(logits) - fresh(hybrid, prompt)).max() < 1e-4


def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused_before_it_is_read(hybrid):
    session = hybrid.session(context=20)
    session.prefill(list(range(10)))
    with pytest.raises(ModelError, match="20 tokens long and the context holds 20") as raised:
        session.prefill(list(range(20)))
    assert raised.value.kind == "context"
    assert session.tokens == list(range(10))


def test_a_failure_inside_the_model_leaves_an_empty_session_not_a_wrong_one(hybrid, monkeypatch):
    session, prompt = hybrid.session(), list(range(30))
    session.prefill(prompt)
    original = mx.eval
    monkeypatch.setattr(mx, "eval", lambda *_: (_ for _ in ()).throw(RuntimeError("malloc failed")))
    with pytest.raises(RuntimeError):
        session.prefill([*prompt, 1])
    monkeypatch.setattr(mx, "eval", original)
    assert session.tokens == []
    assert np.abs(np.array(session.prefill(prompt)) - fresh(hybrid, prompt)).max() < 1e-4


def test_a_step_that_fails_leaves_an_empty_session_too(hybrid, monkeypatch):
    session, prompt = hybrid.session(), list(range(30))
    session.prefill(prompt)
    monkeypatch.setattr(RotatingCache, "append", lambda *_: (_ for _ in ()).throw(RuntimeError("no memory")))
    with pytest.raises(RuntimeError):
        session.step(mx.array(1))
    monkeypatch.undo()
    assert session.tokens == []
    assert np.abs(np.array(session.prefill(prompt)) - fresh(hybrid, prompt)).max() < 1e-4


def test_a_callers_changes_to_the_tokens_are_its_own(hybrid):
    session = hybrid.session()
    session.prefill(list(range(9)))
    session.tokens.clear()
    assert session.tokens == list(range(9))


def test_a_prompt_that_was_only_read_is_answered_anew_without_reading_it(hybrid):
    session, prompt = hybrid.session(), list(range(40))
    session.prefill(prompt)
    session.prefill([*prompt, 3])
    totals = []
    session.prefill(prompt, progress=lambda done, total: totals.append(total))
    assert totals == [0]


def test_an_empty_prompt_is_refused_and_changes_nothing(hybrid):
    session = hybrid.session()
    session.prefill([1, 2, 3])
    with pytest.raises(ModelError, match="empty") as raised:
        session.prefill([])
    assert raised.value.kind == "request" and session.tokens == [1, 2, 3]


def test_a_window_larger_than_the_context_is_full_attention(tmp_path):
    shape = {"use_sliding_window": True, "max_window_layers": 0}
    wide = model.load(random_checkpoint(tmp_path / "wide", sliding_window=100_000, **shape))
    full = model.load(random_checkpoint(tmp_path / "full"))
    session, prompt = wide.session(), [index * 5 % 96 for index in range(250)]
    for end in (3, 64, 65, 200, 250):
        logits = session.prefill(prompt[:end])
    assert np.abs(np.array(logits) - np.array(full.session().prefill(prompt))).max() < 1e-4
    edited = [*prompt[:20], 1, 2]
    assert np.abs(np.array(session.prefill(edited)) - np.array(full.session().prefill(edited))).max() < 1e-4


def test_memory_of_dropped_snapshots_and_buffers_is_given_back(tmp_path):
    """By MLX's own counter, which also sees what an alias or an unevaluated copy keeps alive."""
    loaded = model.load(random_checkpoint(tmp_path / "one head", num_key_value_heads=1, max_position_embeddings=4096))
    rolling = CacheOptions(rolling_window=64, sinks=4, slack=512)
    session = loaded.session_with(SessionOptions(4096, chunk=512, caches=rolling, snapshots=3))
    mx.clear_cache()
    before = mx.get_active_memory()
    for end in range(100, 3000, 100):
        session.prefill([index % 96 for index in range(end)])
    assert len(session.marks) == 3
    assert mx.get_active_memory() - before <= session.nbytes + 20_000
    session.reset()
    assert mx.get_active_memory() - before <= 20_000


def test_an_answer_is_written_again_without_reading_anything(hybrid):
    session, prompt = hybrid.session(), list(range(60))
    expected = np.array(session.prefill(prompt))
    for token in range(20):
        session.step(mx.array(token))
    totals = []
    logits = session.prefill(prompt, progress=lambda done, total: totals.append(total))
    assert totals == [0]
    assert np.array_equal(np.array(logits), expected)


def test_an_edit_far_back_returns_to_the_nearest_snapshot(hybrid):
    session, turns = hybrid.session_with(SessionOptions(context=256, caches=CacheOptions(slack=1))), []
    prompt = list(range(40))
    for turn in range(4):
        session.prefill(prompt)
        turns.append(len(prompt))
        for token in range(10):
            session.step(mx.array(token))
        prompt = session.tokens + [turn] * 8
    edited = [*prompt[: turns[2] + 5], 50, 51, 52]
    totals = []
    logits = session.prefill(edited, progress=lambda done, total: totals.append(total))
    assert totals[0] == len(edited) - turns[2]
    assert np.abs(np.array(logits) - fresh(hybrid, edited)).max() < 1e-4


def test_snapshots_stay_within_their_budget(hybrid):
    session = hybrid.session_with(SessionOptions(context=256, snapshot_bytes=20_000))
    for end in range(10, 200, 10):
        session.prefill([index % 96 for index in range(end)])
        assert sum(mark.nbytes for mark in session.marks) <= 20_000
        assert len(session.marks) <= session.options.snapshots
    assert session.marks


def test_other_limits_leave_what_is_held(hybrid):
    session, prompt, totals = hybrid.session(), list(range(60)), []
    session.prefill(prompt)
    session.options = hybrid.options(context=61)
    logits = session.prefill(prompt, progress=lambda done, total: totals.append(total))
    assert totals == [0] and np.array_equal(np.array(logits), fresh(hybrid, prompt))
    session.options = hybrid.options(context=60)
    with pytest.raises(ModelError, match="context holds 60"):
        session.prefill(prompt)
    assert len(session) == 60


def test_what_has_no_limit_rolls_by_itself(tmp_path):
    endless = model.load(random_checkpoint(tmp_path / "rwkv", model_type="rwkv7", head_dim=16))
    options = endless.session(context=32, rolling=True).options
    assert options.caches.rolling_window is None and options.context == UNBOUNDED
    assert endless.session(context=32).context == 32


def test_a_rolling_conversation_goes_on_past_its_context_up_to_the_trained_length(hybrid):
    assert hybrid.session(context=32, rolling=True).options.caches.rolling_window == 32
    rolling = CacheOptions(rolling_window=32, sinks=4, slack=8)
    session = hybrid.session_with(SessionOptions(context=256, caches=rolling))
    for position in range(200):
        mx.eval(session.step(mx.array(position % 96)))
    assert len(session) == 200
    bytes_a_position, layers = 2 * 2 * 8 * 4, 4
    assert session.nbytes <= layers * (4 + 32 + 2 * 8) * bytes_a_position
    with pytest.raises(ModelError, match="context holds 256"):
        session.prefill([1] * 256)


def test_a_group_size_that_does_not_divide_a_head_is_refused(hybrid):
    with pytest.raises(ModelError, match="groups of 64"):
        hybrid.session(quantisation=KVQuantisation(bits=8, group_size=64))
