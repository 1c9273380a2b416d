"""Looking ahead, asked of a real worker process: the same answer with and without, and who drafts for whom."""

from pathlib import Path

import pytest

from app.engine.policy import Appraisal
from app.engine.pool import Pool
from app.engine.protocol import SCRATCH, SamplingOptions
from app.settings import Paths
from tests.app.engine.conftest import HELLO, end, events, text
from tests.checkpoints import reciting_checkpoint, speaking_checkpoint

GREEDY = SamplingOptions(temperature=0)


@pytest.fixture(scope="module")
def smaller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the same vocabulary as `tiny` that says something else."""
    return speaking_checkpoint(tmp_path_factory.mktemp("smaller") / "smaller", seed=7, num_hidden_layers=1)


async def test_an_answer_is_the_same_with_and_without(places: Paths, tiny: Path) -> None:
    ahead = True
    pool = Pool(places, memory=16 << 30, lookahead=lambda: ahead)
    told = [await events(pool.ask(tiny, HELLO, session="a", sampling=GREEDY, max_tokens=300))]
    ahead = False
    told.append(await events(pool.ask(tiny, HELLO, session="b", sampling=GREEDY, max_tokens=300)))
    with_it, without = (end(seen) for seen in told)
    assert text(told[0]) == text(told[1]) and with_it.token_ids == without.token_ids
    assert with_it.drafted_tokens >= with_it.kept_tokens > 0, "nonsense comes round again"
    assert (without.drafted_tokens, without.kept_tokens) == (0, 0)
    await pool.close()


async def test_a_smaller_model_drafts_where_one_was_chosen(places: Paths, tiny: Path, smaller: Path) -> None:
    chosen: Path | None = None
    pool = Pool(
        places, appraise=lambda checkpoint, held: Appraisal(draft=chosen, warning="Narrow."), lookahead=lambda: False
    )
    plain = await events(pool.ask(tiny, HELLO, session="a", sampling=GREEDY, max_tokens=60))
    await pool.unload(tiny)
    chosen = smaller
    guessed = []
    for session in ("a", "a", "b"):
        drafted = await events(pool.ask(tiny, HELLO, session=session, sampling=GREEDY, max_tokens=60))
        assert end(drafted).token_ids == end(plain).token_ids
        guessed.append(end(drafted).drafted_tokens)
    assert guessed[0] > 0, "later ones know that it does not pay"
    scratch = await events(pool.ask(tiny, HELLO, session=SCRATCH, sampling=GREEDY, max_tokens=60))
    assert end(scratch).drafted_tokens == 0, "a title is too short for that"
    facts = pool.loaded(tiny)
    assert facts and facts.warning == "Narrow."
    await pool.close()


async def test_one_that_cannot_draft_is_told_of_and_the_model_answers(
    places: Paths, tiny: Path, tmp_path: Path
) -> None:
    stranger = reciting_checkpoint(tmp_path / "stranger", b"well", b"done")
    for draft, sentence in (
        (stranger, "stranger cannot draft for tiny: their vocabularies differ; choose a smaller model of the same"),
        (tmp_path / "nowhere", "nowhere is not a model folder"),
    ):
        pool = Pool(places, appraise=lambda checkpoint, held, draft=draft: Appraisal(draft=draft))
        assert end(await events(pool.ask(tiny, HELLO, session="a", max_tokens=5))).completion_tokens == 5
        facts = pool.loaded(tiny)
        assert facts and sentence in facts.warning
        await pool.close()
