"""What tests of the engine share: a small model that speaks, and a pool that is closed in the end."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.engine.pool import Pool
from app.settings import Paths
from tests.checkpoints import speaking_checkpoint


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that loads in no time and says nonsense for as long as it is let."""
    return speaking_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest_asyncio.fixture
async def pool(places: Paths) -> AsyncIterator[Pool]:
    pool = Pool(places, memory=16 * 1024**3)
    yield pool
    await pool.close()
