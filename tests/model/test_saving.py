"""A saved session continues token for token in another process, or is refused; it is never continued wrongly."""

import json
import random
import stat
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

import model
from model import KVQuantisation, ModelError, Sampling
from model.cache import CacheOptions
from model.saving import glance
from model.session import SessionOptions
from tests.checkpoints import random_checkpoint

README = Path(__file__).parents[2] / "README.md"
PROMPT = [index * 7 % 96 for index in range(70)]
ANSWER = (3, 1, 4)
RECURRENT = {
    "rwkv4": ({"model_type": "rwkv"}, CacheOptions()),
    "rwkv7": ({"model_type": "rwkv7", "head_dim": 16}, CacheOptions()),
}
KINDS = {
    "full": ({}, CacheOptions()),
    "hybrid": ({"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 9}, CacheOptions(slack=5)),
    "8 bits": ({}, CacheOptions(KVQuantisation(8, 32))),
    "4 bits, later": ({}, CacheOptions(KVQuantisation(4, 32, start=66))),
    "quantised hybrid": (
        {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 9},
        CacheOptions(KVQuantisation(4, 32, start=3), slack=5),
    ),
    "rolling": ({}, CacheOptions(rolling_window=20, sinks=3, slack=4)),
    "rolling, 8 bits": ({}, CacheOptions(KVQuantisation(8, 32), rolling_window=20, sinks=3, slack=4)),
    **RECURRENT,
}


def checkpoint(folder: Path, kind: str) -> Path:
    changes, _ = KINDS[kind]
    shape = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
    return random_checkpoint(folder, use_sliding_window="sliding_window" in changes, **shape, **changes)


def written(language_model: model.LanguageModel, session: model.Session, count: int = 25) -> list[int]:
    prompt = [*session.tokens, 5]
    return [
        token.id
        for token in language_model.generate(prompt, Sampling(temperature=0), max_tokens=count, session=session)
    ]


CONTINUE = """
import json, sys
from pathlib import Path
import model
from tests.model.test_saving import written
loaded = model.load(sys.argv[1])
session = model.load_session(Path(sys.argv[2]), loaded)
print(json.dumps([session.tokens, written(loaded, session)]))
"""


@pytest.mark.soak
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_session_resumes_in_another_process_token_for_token(tmp_path, kind):
    loaded = model.load(checkpoint(tmp_path / "model", kind))
    session = loaded.session_with(SessionOptions(256, caches=KINDS[kind][1]))
    session.prefill(PROMPT)
    for token in ANSWER:
        session.step(mx.array(token))
    session.save(tmp_path / "session")
    held = session.tokens
    expected = written(loaded, session)

    arguments = [sys.executable, "-c", CONTINUE, str(tmp_path / "model"), str(tmp_path / "session")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [held, expected]


@pytest.mark.parametrize("kind", sorted(RECURRENT))
def test_a_recurrent_state_that_was_saved_returns_to_the_last_question_and_to_the_answer_before_it(tmp_path, kind):
    loaded = model.load(checkpoint(tmp_path / "model", kind))
    session = loaded.session()
    answered = [*PROMPT, *ANSWER]
    question = [*answered, 9, 8, 7]
    for prompt in (PROMPT, question):
        logits = session.prefill(prompt)
        for token in ANSWER:
            session.step(mx.array(token))
    session.save(tmp_path / "session")

    def again(prompt: list[int]) -> tuple[mx.array, int]:
        """What follows, and how many tokens were read for it."""
        counted: list[int] = []
        restored = model.load_session(tmp_path / "session", loaded)
        return restored.prefill(prompt, lambda done, total: counted.append(total)), counted[-1]

    regenerated, read = again(question)
    assert read == 0 and mx.array_equal(regenerated, logits)
    edited, read = again([*answered, 2, 3])
    assert read == 2 and mx.allclose(edited, loaded.session().prefill([*answered, 2, 3]), atol=1e-4)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model, a session saved over it, and what it continues with."""
    folder = tmp_path_factory.mktemp("saved")
    loaded = model.load(checkpoint(folder / "model", "quantised hybrid"))
    session = loaded.session_with(SessionOptions(256, caches=KINDS["quantised hybrid"][1]))
    session.prefill(PROMPT)
    session.save(folder / "session")
    return loaded, (folder / "session").read_bytes(), written(loaded, session)


def test_200_corruptions_are_refused_or_harmless(saved, tmp_path):
    loaded, content, expected = saved
    dice = random.Random(11)
    refused = 0
    for _ in range(200):
        damaged = bytearray(content)
        match dice.randrange(4):
            case 0:
                damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
            case 1:
                del damaged[dice.randrange(len(damaged)) :]
            case 2:
                start = dice.randrange(len(damaged))
                damaged[start : start + 40] = dice.randbytes(40)
            case 3:
                start = dice.randrange(min(len(damaged), 3000))
                damaged[start : start + 4] = dice.randbytes(4)
        path = tmp_path / "session"
        path.write_bytes(damaged)
        try:
            session = model.load_session(path, loaded)
        except ModelError as error:
            refused += 1
            assert "session" in str(error) and "\n" not in str(error)
            assert not path.exists() and path.with_name("session.refused").read_bytes() == bytes(damaged)
        else:
            assert written(loaded, session) == expected
    assert refused > 190


def test_a_session_of_another_model_or_schema_is_refused_with_the_reason(saved, tmp_path, monkeypatch):
    _, content, _ = saved
    other = model.load(random_checkpoint(tmp_path / "other", seed=9))
    path = tmp_path / "session"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="another model"):
        model.load_session(path, other)
    monkeypatch.setattr("model.saving.SCHEMA", "0")
    path.write_bytes(content)
    with pytest.raises(ModelError, match="schema"):
        model.load_session(path, saved[0])


def test_a_missing_file_is_one_sentence(saved, tmp_path):
    with pytest.raises(ModelError, match="nothing-here"):
        model.load_session(tmp_path / "nothing-here", saved[0])


def test_a_saved_session_is_private_and_replaces_the_one_before(saved, tmp_path):
    loaded, *_ = saved
    session = loaded.session()
    path = tmp_path / "session"
    for end in (20, 50):
        session.prefill(PROMPT[:end])
        session.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(model.load_session(path, loaded)) == 50
    assert [entry.name for entry in tmp_path.iterdir()] == ["session"]


def test_after_a_refusal_the_conversation_is_read_again(saved, tmp_path):
    loaded, content, expected = saved
    path = tmp_path / "session"
    path.write_bytes(content[:-9])
    with pytest.raises(ModelError, match="read again"):
        model.load_session(path, loaded)
    session = loaded.session_with(SessionOptions(256, caches=KINDS["quantised hybrid"][1]))
    session.prefill(PROMPT)
    assert written(loaded, session) == expected


def test_an_edit_after_resuming_equals_a_fresh_session(saved, tmp_path):
    loaded, content, _ = saved
    path = tmp_path / "session"
    path.write_bytes(content)
    session = model.load_session(path, loaded)
    edited = [*PROMPT[:30], 1, 2, 3]
    fresh = loaded.session_with(SessionOptions(256, caches=KINDS["quantised hybrid"][1]))
    assert np.abs(np.array(session.prefill(edited)) - np.array(fresh.prefill(edited))).max() < 1e-4


# --- packed into fewer bits -----------------------------------------------------------------------------------------


def near(some: mx.array, others: mx.array, share: float = 0.02) -> bool:
    """Whether logits differ by no more than `share` of their spread."""
    exact = np.array(others.astype(mx.float32))
    return bool(np.abs(np.array(some.astype(mx.float32)) - exact).max() < share * np.ptp(exact))


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - RECURRENT.keys()))
def test_what_was_packed_is_near_and_what_was_quantised_is_the_same(tmp_path, kind):
    loaded = model.load(checkpoint(tmp_path / "model", kind))
    options = SessionOptions(256, caches=KINDS[kind][1])
    session = loaded.session_with(options)
    session.prefill(PROMPT)
    session.save(tmp_path / "exact")
    session.save(tmp_path / "packed", packing=8)
    restored = model.load_session(tmp_path / "packed", loaded)
    assert restored.tokens == session.tokens
    logits = [restored.step(mx.array(5)), session.step(mx.array(5))]
    if options.caches.quantisation:
        assert np.array_equal(*map(np.array, logits))
    else:
        assert near(*logits)
        assert (tmp_path / "packed").stat().st_size < 0.6 * (tmp_path / "exact").stat().st_size


@pytest.mark.parametrize("kind", sorted(RECURRENT))
def test_a_state_is_stored_as_it_is_and_takes_no_more_behind_many_tokens(tmp_path, kind):
    loaded = model.load(checkpoint(tmp_path / "model", kind))
    sizes = []
    for tokens in (PROMPT[:1], PROMPT):
        session = loaded.session()
        session.prefill(tokens)
        session.save(tmp_path / "session", packing=8)
        sizes.append((tmp_path / "session").stat().st_size - 4 * len(tokens))
        restored = model.load_session(tmp_path / "session", loaded)
        assert np.array_equal(np.array(restored.step(mx.array(5))), np.array(session.step(mx.array(5))))
    assert abs(sizes[1] - sizes[0]) < 64


def test_heads_that_no_group_fits_into_are_stored_as_they_are(tmp_path):
    loaded = model.load(random_checkpoint(tmp_path / "model"))  # eight numbers a head
    session = loaded.session()
    session.prefill(PROMPT)
    session.save(tmp_path / "session", packing=8)
    restored = model.load_session(tmp_path / "session", loaded)
    assert np.array_equal(np.array(restored.step(mx.array(5))), np.array(session.step(mx.array(5))))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("packing", [None, 8])
def test_numbers_of_two_bytes_come_back_as_such(tmp_path, dtype, packing):
    loaded = model.load(checkpoint(tmp_path / "model", "hybrid"), dtype=dtype)
    session = loaded.session_with(SessionOptions(256, caches=KINDS["hybrid"][1]))
    session.prefill(PROMPT)
    session.save(tmp_path / "session", packing=packing)
    restored = model.load_session(tmp_path / "session", loaded)
    assert {str(array.dtype) for cache in restored._caches for array in cache.state} == {f"mlx.core.{dtype}"}
    assert near(restored.step(mx.array(5)), session.step(mx.array(5)), 0.03)


def test_packing_again_and_again_does_not_lead_away(tmp_path):
    loaded = model.load(checkpoint(tmp_path / "model", "full"))
    exact = loaded.session()
    exact.prefill(PROMPT)
    session = exact
    for _ in range(12):
        session.save(tmp_path / "session", packing=8)
        session = model.load_session(tmp_path / "session", loaded)
    assert near(session.step(mx.array(5)), exact.step(mx.array(5)), 0.04)


def test_giving_up_leaves_neither_a_new_file_nor_half_of_one(saved, tmp_path):
    loaded, content, _ = saved
    path = tmp_path / "session"
    path.write_bytes(content)
    seen: list[int] = []

    def give_up(done: int, total: int) -> None:
        seen.append(done)
        if done > total // 2:
            raise KeyboardInterrupt

    session = loaded.session()
    session.prefill(PROMPT)
    with pytest.raises(KeyboardInterrupt):
        session.save(path, packing=8, progress=give_up)
    assert seen == sorted(seen) and len(seen) > 3
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [content]


def test_a_glance_tells_what_a_file_holds_without_loading_it(saved, tmp_path):
    loaded, content, _ = saved
    path = tmp_path / "session"
    path.write_bytes(content)
    found = glance(path, loaded)
    assert found.tokens == PROMPT
    assert found.options.caches.quantisation == KINDS["quantised hybrid"][1].quantisation
    assert glance(path, model.load(random_checkpoint(tmp_path / "other", seed=9))) is None
    assert glance(tmp_path / "nothing-here", loaded) is None
    for end in (0, 4, 100, 1000):
        path.write_bytes(content[:end])
        assert glance(path, loaded) is None


@pytest.mark.soak
def test_the_starter_goes_on_with_the_same_words(starter, conversions, tmp_path):
    loaded = model.load(starter, conversions=conversions)
    prompt = loaded.tokenizer.encode_plain(README.read_text())[:400]
    session = loaded.session()
    session.prefill(prompt)
    session.save(tmp_path / "session", packing=8)
    expected = written(loaded, session)
    assert written(loaded, model.load_session(tmp_path / "session", loaded)) == expected
