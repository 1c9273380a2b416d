"""A hundred downloads, each killed on its way: they all end as the model that was listed, and little comes twice."""

import contextlib
import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from app.errors import QuietlyError
from app.library.download import fetch
from app.library.layout import Repository
from tests.app.library.children import children
from tests.app.library.hub import Hub
from tests.app.library.tiny import FILES, FIRST, REPO, SECOND

MIB = 1 << 20
SIZE = 50_000_000


class Killer:
    """Kills the process that fetches, as soon as so many bytes were sent to it."""

    def __init__(self, after: int) -> None:
        self._after = after
        self._process = 0
        self.has_killed = False

    def look(self, sent: int) -> None:
        self._process = self._process or children()[0]  # known before it is needed: looking takes a while
        if sent >= self._after and not self.has_killed:
            os.kill(self._process, signal.SIGKILL)
            self.has_killed = True


@pytest.mark.soak
async def test_a_hundred_kills_end_in_a_hundred_verified_models(hub: Hub, tmp_path: Path) -> None:
    content = os.urandom(SIZE)
    hub.repositories[REPO] = listed = {**FILES, FIRST: content[: SIZE // 3], SECOND: content[SIZE // 3 :]}
    whole = sum(map(len, listed.values()))
    dice = random.Random(6)
    twice = []
    for _ in range(100):
        hub.bytes_sent.clear()
        killer = Killer(dice.randrange(whole))
        hub.on_sent = killer.look
        with contextlib.suppress(QuietlyError):  # killed at its last byte, it may have ended all the same
            await fetch(REPO, tmp_path)
        assert killer.has_killed
        snapshot = await fetch(REPO, tmp_path)
        assert all((snapshot / name).read_bytes() == content for name, content in listed.items())
        assert Repository(tmp_path, REPO).discard() == 0, "it is no half download any more"
        shutil.rmtree(Repository(tmp_path, REPO).folder)
        assert not list(tmp_path.glob("models*"))
        twice.append(hub.bytes_sent.total() - whole)
    twice.sort()
    print(f"\nFetched twice in a kill, KiB: {twice[50] >> 10} in the middle, {twice[-1] >> 10} at most.")
    assert twice[0] >= 0 and twice[-1] <= MIB
