"""What an engine keeps of what it has read: which sessions, where, until when. In this process, with a tiny model."""

import random
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

import model
from app import kept
from app.engine import sessions as keeper
from app.engine.protocol import SCRATCH, Keeping
from app.engine.sessions import Pace, Sessions
from app.settings import private_folder
from model.prefix import shared_prefix
from tests.checkpoints import random_checkpoint

GIB = 1 << 30
READ = [index * 7 % 96 for index in range(120)]
FIRST, SECOND = "conversation-1", "conversation-2"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> model.LanguageModel:
    folder = tmp_path_factory.mktemp("kept") / "model"
    return model.load(random_checkpoint(folder, hidden_size=64, num_attention_heads=2, num_key_value_heads=1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return private_folder(tmp_path / "sessions")


def engine(loaded: model.LanguageModel, folder: Path, *, memory: int = GIB, disk: int = GIB) -> Sessions:
    """What a fresh engine holds, which finds everything worth keeping and reads a token in a second."""
    made = Sessions(loaded)
    made.keeping = Keeping(memory=memory, folder=str(folder), disk=disk, worth=5.0)
    made.pace.take(100, 100.0)
    return made


def read(sessions: Sessions, key: str, prompt: list[int], context: int | None = None, rolling: bool = False) -> int:
    """Let a conversation read `prompt`; returns how many tokens of it need not be read."""
    session = sessions.session(key, sessions._model.options(context, rolling=rolling), prompt)
    counted: list[int] = []
    session.prefill(prompt, lambda done, total: counted.append(total))
    return len(prompt) - counted[0]


def settle(sessions: Sessions) -> None:
    sessions.settle(lambda: False)
    assert not sessions.unsettled


def near(some: mx.array, others: mx.array) -> bool:
    """Whether logits differ by no more than eight bits of keys and values cost."""
    exact = np.array(others)
    return bool(np.abs(np.array(some) - exact).max() < 0.02 * np.ptp(exact))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_after_a_restart_a_conversation_goes_on_where_it_was(loaded, folder):
    before = engine(loaded, folder)
    read(before, FIRST, READ)
    settle(before)
    after = engine(loaded, folder)
    assert read(after, FIRST, [*READ, 5, 6]) == len(READ)
    fresh = loaded.session()
    fresh.prefill([*READ, 5, 6])
    restored = after.session(FIRST, loaded.options(), [*READ, 5, 6, 7])
    assert near(restored.step(mx.array(7)), fresh.step(mx.array(7)))


def test_after_a_restart_a_recurrent_state_answers_again_without_reading_and_else_is_not_restored_in_vain(
    tmp_path: Path, folder: Path
) -> None:
    recurrent = model.load(random_checkpoint(tmp_path / "model", model_type="rwkv7", head_dim=16))
    before = engine(recurrent, folder)
    session = before.session(FIRST, recurrent.options(), READ)
    session.prefill(READ)
    for token in (5, 6, 7):
        session.step(mx.array(token))
    settle(before)
    assert read(engine(recurrent, folder), FIRST, READ) == len(READ)
    assert read(engine(recurrent, folder), FIRST, [*READ, 5, 9, 9]) == len(READ)
    elsewhere = engine(recurrent, folder).session(FIRST, recurrent.options(), [*READ[:-1], 9])
    assert len(elsewhere) == 0


def test_what_is_written_stays_as_exact_in_memory_as_it_was(loaded, folder):
    sessions = engine(loaded, folder)
    read(sessions, FIRST, READ)
    settle(sessions)
    untouched = loaded.session()
    untouched.prefill(READ)
    session = sessions.session(FIRST, loaded.options(), [*READ, 1])
    assert np.array_equal(np.array(session.step(mx.array(1))), np.array(untouched.step(mx.array(1))))


def test_a_file_is_the_persons_alone_and_tells_nothing_by_its_name(loaded, folder):
    sessions = engine(loaded, folder)
    read(sessions, FIRST, READ)
    settle(sessions)
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file == kept.file_of(folder, FIRST, loaded.traits.fingerprint)
    assert file.stat().st_size < sessions.session(FIRST, loaded.options(), READ).nbytes


@pytest.mark.parametrize(
    "key", ["temporary-1099511627777", "empty page", SCRATCH, "../conversation-1", "conversation-"]
)
def test_what_is_no_conversation_on_disk_is_never_written(loaded, folder, key):
    sessions = engine(loaded, folder)
    read(sessions, key, READ)
    settle(sessions)
    assert names(folder) == []


def test_what_is_read_again_soon_is_not_written(loaded, folder):
    sessions = engine(loaded, folder)
    read(sessions, FIRST, READ[:5])  # five seconds
    settle(sessions)
    assert names(folder) == []
    read(sessions, FIRST, READ[:6])
    settle(sessions)
    (file,) = folder.iterdir()
    written = file.stat().st_mtime_ns
    read(sessions, FIRST, READ[:11])  # of which six are on disk
    settle(sessions)
    assert file.stat().st_mtime_ns == written
    read(sessions, FIRST, READ[:12])
    settle(sessions)
    assert file.stat().st_mtime_ns > written


def test_an_engine_that_has_read_nothing_yet_knows_no_pace_and_writes_nothing(loaded, folder):
    sessions = engine(loaded, folder)
    sessions.pace = Pace()
    read(sessions, FIRST, READ)
    settle(sessions)
    assert names(folder) == []


def test_nothing_is_written_while_somebody_waits(loaded, folder):
    sessions = engine(loaded, folder)
    read(sessions, FIRST, READ)
    looks = iter([False, False, True])
    sessions.settle(lambda: next(looks))
    assert names(folder) == [] and sessions.unsettled
    settle(sessions)
    assert len(names(folder)) == 1


def test_an_edited_conversation_is_restored_where_enough_of_it_is_shared(loaded, folder):
    before = engine(loaded, folder)
    read(before, FIRST, READ)
    settle(before)
    assert read(engine(loaded, folder), FIRST, [*READ[:80], 1, 2, 3]) == 80
    assert read(engine(loaded, folder), FIRST, [*READ[:20], 1, 2, 3]) == 0  # a fifth of what would have to be restored


def test_a_look_far_back_does_not_cost_what_is_on_disk(loaded, folder):
    sessions = engine(loaded, folder)
    read(sessions, FIRST, READ)
    settle(sessions)
    read(sessions, FIRST, READ[:10])  # somebody looks at an early answer
    settle(sessions)
    assert read(sessions, FIRST, [*READ, 5]) == len(READ)


def test_other_caches_are_not_restored_and_a_shorter_context_is(loaded, folder):
    before = engine(loaded, folder)
    read(before, FIRST, READ)
    settle(before)
    assert read(engine(loaded, folder), FIRST, [*READ, 5], context=100, rolling=True) == 0
    shorter = engine(loaded, folder)
    assert read(shorter, FIRST, [*READ, 5], context=200) == len(READ)
    assert shorter.session(FIRST, loaded.options(200), READ).context == 200


def test_a_rolling_window_is_kept_as_a_window(loaded, folder):
    before = engine(loaded, folder)
    read(before, FIRST, READ, context=30, rolling=True)
    settle(before)
    assert read(engine(loaded, folder), FIRST, [*READ, 5], context=30, rolling=True) == len(READ)


def test_what_another_model_read_is_not_taken(loaded, folder, tmp_path):
    before = engine(loaded, folder)
    read(before, FIRST, READ)
    settle(before)
    (ours,) = folder.iterdir()
    other = model.load(random_checkpoint(tmp_path / "other", seed=5, hidden_size=64, num_attention_heads=2))
    theirs = engine(other, folder)
    assert read(theirs, FIRST, [*READ, 5]) == 0
    settle(theirs)
    assert len(names(folder)) == 2
    name = kept.file_of(folder, FIRST, other.traits.fingerprint)
    name.write_bytes(ours.read_bytes())  # somebody mixed them up
    assert read(engine(other, folder), FIRST, [*READ, 5]) == 0


def test_fifty_damaged_files_cost_reading_again_and_no_word(loaded, folder):
    before = engine(loaded, folder)
    read(before, FIRST, READ)
    settle(before)
    (file,) = folder.iterdir()
    content, dice, reread = file.read_bytes(), random.Random(7), 0
    fresh = loaded.session().prefill([*READ, 5])
    for _ in range(50):
        damaged = bytearray(content)
        if dice.random() < 0.5:
            del damaged[dice.randrange(len(damaged)) :]
        else:
            damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        file.write_bytes(damaged)
        after = engine(loaded, folder)
        reread += read(after, FIRST, [*READ, 5]) == 0
        session = after.session(FIRST, loaded.options(), [*READ, 5])
        assert near(session.prefill([*READ, 5]), fresh)
        assert set(names(folder)) <= {file.name}  # nothing is set aside
    assert reread > 45


def test_restoring_can_be_stopped_and_is_told_layer_by_layer(loaded, folder):
    before = engine(loaded, folder)
    read(before, FIRST, READ)
    settle(before)
    after, seen = engine(loaded, folder), []
    session = after.session(FIRST, loaded.options(), READ, lambda *done: seen.append(done), lambda: bool(seen))
    assert seen == [(1, 2)] and len(session) == 0
    seen.clear()
    after = engine(loaded, folder)
    session = after.session(FIRST, loaded.options(), READ, lambda *done: seen.append(done))
    assert seen == [(1, 2), (2, 2)] and session.tokens == READ


def test_memory_is_a_budget_of_bytes_and_the_one_used_longest_ago_goes_first(loaded, folder):
    one = loaded.session()
    one.prefill(READ)
    size = one.nbytes
    sessions = engine(loaded, folder, memory=3 * size, disk=0)
    keys = [f"conversation-{number}" for number in range(12)]
    for key in keys:
        read(sessions, key, READ)
    assert [read(sessions, key, [*READ, 1]) for key in keys[-4:]] == [len(READ)] * 4  # the present one, and three
    assert read(sessions, keys[0], [*READ, 1]) == 0


def test_small_conversations_stay_however_many_they_are(loaded, folder):
    sessions = engine(loaded, folder, disk=0)
    for number in range(20):
        read(sessions, f"conversation-{number}", READ)
    assert all(read(sessions, f"conversation-{number}", [*READ, 1]) == len(READ) for number in range(20))


def test_the_present_one_stays_however_large_and_a_title_costs_it_nothing(loaded, folder):
    sessions = engine(loaded, folder, memory=0, disk=0)
    read(sessions, FIRST, READ)
    read(sessions, SCRATCH, READ)
    assert read(sessions, FIRST, [*READ, 1]) == len(READ)
    assert read(sessions, SCRATCH, READ) == 0
    read(sessions, SECOND, READ)
    assert read(sessions, FIRST, [*READ, 1]) == 0


def test_what_went_from_memory_comes_back_from_the_disk(loaded, folder):
    sessions = engine(loaded, folder, memory=0)
    read(sessions, FIRST, READ)
    settle(sessions)
    read(sessions, SECOND, READ)
    assert read(sessions, FIRST, [*READ, 1]) == len(READ)


def test_a_forgotten_conversation_is_gone_from_both(loaded, folder):
    sessions = engine(loaded, folder)
    for key in (FIRST, SECOND, "conversation-12"):
        read(sessions, key, READ)
    settle(sessions)
    sessions.forget(FIRST)
    assert read(sessions, FIRST, [*READ, 1]) == 0
    assert len(names(folder)) == 2 and not any(name.startswith("conversation-1.") for name in names(folder))


def test_the_oldest_make_room_on_disk_and_what_is_too_large_is_not_written(loaded, folder):
    sessions = engine(loaded, folder)
    read(sessions, FIRST, READ)
    settle(sessions)
    (size,) = [one.size for one in kept.kept(folder)]
    sessions.keeping = Keeping(folder=str(folder), disk=2 * size + 100)
    for number in (2, 3):
        read(sessions, f"conversation-{number}", READ)
        settle(sessions)
    assert {one.session for one in kept.kept(folder)} == {"conversation-2", "conversation-3"}
    sessions.keeping = Keeping(folder=str(folder), disk=size // 2)
    read(sessions, "conversation-4", READ)
    settle(sessions)
    assert {one.session for one in kept.kept(folder)} == {"conversation-2", "conversation-3"}


def test_a_conversation_does_not_give_way_to_one_that_was_used_before_it(loaded, folder):
    sessions = engine(loaded, folder)
    read(sessions, FIRST, READ)
    settle(sessions)
    (size,) = [one.size for one in kept.kept(folder)]
    sessions.keeping = Keeping(folder=str(folder), disk=size + 100)
    for key in (SECOND, "conversation-3"):
        read(sessions, key, READ)
    settle(sessions)
    assert [one.session for one in kept.kept(folder)] == ["conversation-3"]


def test_a_full_disk_leaves_no_half_of_a_file_and_is_not_tried_again_for_nothing(loaded, folder, full_disk):
    sessions = engine(loaded, folder)
    read(sessions, FIRST, READ)
    full_disk(4096)
    settle(sessions)
    full_disk(GIB)
    assert names(folder) == []
    settle(sessions)
    assert names(folder) == []
    assert read(sessions, FIRST, [*READ, *READ[:10]]) == len(READ)
    settle(sessions)
    assert len(names(folder)) == 1


def test_the_last_of_the_disk_is_left_to_others(loaded, folder, monkeypatch):
    monkeypatch.setattr(keeper, "_SPARED", 1 << 60)
    sessions = engine(loaded, folder)
    read(sessions, FIRST, READ)
    settle(sessions)
    assert names(folder) == []


def test_without_its_folder_nothing_is_written(loaded, folder):
    sessions = engine(loaded, folder)
    read(sessions, FIRST, READ)
    kept.clear(folder)
    settle(sessions)
    assert not folder.exists()


def test_an_architecture_whose_caches_cannot_be_saved_is_read_again(loaded, folder, monkeypatch):
    def refuse(self):
        raise model.ModelError("The caches of this architecture cannot be saved.", "request")

    monkeypatch.setattr("model.cache.FullCache.dump", refuse)
    sessions = engine(loaded, folder)
    read(sessions, FIRST, READ)
    settle(sessions)
    assert names(folder) == []


def test_the_pace_is_that_of_the_long_readings():
    pace = Pace()
    assert pace.seconds(1000) == 0.0
    pace.take(1000, 10.0)
    pace.take(2, 1.0)  # half a second a token, nearly all of it overhead
    assert pace.seconds(100) == pytest.approx(1.0, rel=0.02)
    for _ in range(30):
        pace.take(1000, 20.0)
    assert pace.seconds(100) == pytest.approx(2.0, rel=0.02)


@given(some.lists(some.integers(0, 3)), some.lists(some.integers(0, 3)))
def test_a_shared_prefix_is_the_longest_there_is(first, second):
    count = shared_prefix(first, second)
    assert first[:count] == second[:count]
    assert first[count : count + 1] != second[count : count + 1] or count in (len(first), len(second))
