"""What an engine tells of the embedding matrix of the model it holds."""

import mlx.core as mx
import numpy as np
import pytest

from app.engine.client import EngineError
from app.engine.protocol import SamplingOptions
from tests.app.engine.conftest import HELLO, end, events


@pytest.fixture(scope="module")
def stored(tiny) -> np.ndarray:
    """The matrix as it lies on disk."""
    return np.array(mx.load(str(tiny / "model.safetensors"))["model.embed_tokens.weight"])


async def test_norms_cosines_neighbours_and_the_product_come_at_once(pool, tiny, stored):
    found = await pool.embeddings(tiny, [5, 5, 9], words=[[5], [9, 11]], near=9)
    assert (found.rows, found.width, found.stored, found.memory) == (*stored.shape, "float32", stored.nbytes)
    assert found.norms == pytest.approx(np.linalg.norm(stored[[5, 5, 9]], axis=-1).tolist(), rel=1e-5)
    means = stored[5], stored[[9, 11]].mean(axis=0)
    expected = means[0] @ means[1] / (np.linalg.norm(means[0]) * np.linalg.norm(means[1]))
    assert found.cosines[0][1] == found.cosines[1][0] == pytest.approx(expected, abs=1e-5)
    cosines = [one.cosine for one in found.near]
    assert (
        len(cosines) == 10 and cosines == sorted(cosines, reverse=True) and 9 not in [one.token for one in found.near]
    )
    assert all(one.spelling for one in found.near)
    assert found.one_hot is not None and found.one_hot.difference == 0
    assert (found.one_hot.vector, found.one_hot.matrix) == (4 * len(stored), stored.nbytes)


async def test_what_nobody_asked_for_is_not_looked_for(pool, tiny):
    found = await pool.embeddings(tiny)
    assert (found.norms, found.cosines, found.near, found.one_hot) == ((), (), (), None)


async def test_what_is_no_token_is_one_sentence_and_the_engine_lives(pool, tiny):
    for asked in ({"token_ids": [258]}, {"words": [[3], [-1]]}, {"near": 10**6}):
        with pytest.raises(EngineError, match="is not one of tiny's 258"):
            await pool.embeddings(tiny, **asked)
    with pytest.raises(EngineError, match="A word without a token"):
        await pool.embeddings(tiny, words=[[3], []])
    assert (await pool.embeddings(tiny, [3])).norms


async def test_rows_are_looked_up_behind_an_answer_which_is_not_disturbed(pool, tiny):
    greedy = SamplingOptions(temperature=0)
    alone = end(await events(pool.ask(tiny, HELLO, session="alone", sampling=greedy, max_tokens=20)))
    said = aiter(pool.ask(tiny, HELLO, session="beside", sampling=greedy, max_tokens=20))
    await anext(said)
    found = await pool.embeddings(tiny, [5])
    assert found.norms and end([event async for event in said]).token_ids == alone.token_ids
