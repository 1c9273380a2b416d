"""Whatever a session did before, it continues as a fresh one would."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import model
from model import ModelError
from model.session import Cancelled
from tests.checkpoints import random_checkpoint

VOCABULARY = 96
tokens = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=40)


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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_edits_regenerations_and_branches_equal_a_fresh_session(hybrid, data):
    session = hybrid.session()
    for cache in session._caches:
        if hasattr(cache, "_slack"):
            cache._slack = 4
    session._chunk = data.draw(st.integers(1, 16))
    prompt = data.draw(tokens)
    for _ in range(data.draw(st.integers(1, 5))):
        logits = session.prefill(prompt)
        assert np.abs(np.array(logits) - fresh(hybrid, prompt)).max() < 1e-4
        assert session.tokens == prompt
        written = data.draw(st.lists(st.integers(0, VOCABULARY - 1), max_size=12))
        for token in written:
            logits = session.step(mx.array(token))
        if written:
            assert np.abs(np.array(logits) - fresh(hybrid, prompt + written)).max() < 1e-4
        kept = data.draw(st.integers(0, len(prompt) + len(written)))
        prompt = (prompt + written)[:kept] + data.draw(tokens)


def test_only_what_is_new_is_read(hybrid):
    session, prompt = hybrid.session(), list(range(60))
    session.prefill(prompt)
    totals = []
    session.prefill([*prompt, 5, 6, 7], progress=lambda done, total: totals.append(total))
    assert set(totals) == {3}


def test_a_cancelled_prefill_goes_on_where_it_stopped(hybrid):
    session, prompt = hybrid.session(), list(range(90))
    session._chunk = 10
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
