"""The line of downloads: what runs, what waits, what is paused, failed, cancelled and found again."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import QuietlyError
from app.library import download
from app.library.downloads import Download, Downloads
from app.library.local import installed
from tests.app.library.hub import Hub
from tests.app.library.tiny import FILES, REPO, SECOND, TOTAL
from tests.waiting import PATIENCE

OTHER = "someone/Other-4bit"


class Line:
    """The downloads of a window that keeps what it was shown."""

    def __init__(self, models: Path, now: Callable[[], float] | None = None) -> None:
        self.changed = asyncio.Event()
        self.downloads = Downloads(models, self.changed.set, *([now] if now else []))

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(one.repo, one.state) for one in self.downloads.all]

    async def until(self, comes: Callable[[], bool]) -> None:
        """Wait for what a change brings."""
        async with asyncio.timeout(PATIENCE):
            while not comes():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def line(hub: Hub, tmp_path: Path) -> Line:
    hub.repositories[OTHER] = FILES
    return Line(tmp_path / "home/data/models")


def of(line: Line, repo: str = REPO) -> Download:
    return next(one for one in line.downloads.all if one.repo == repo)


async def test_one_runs_and_the_next_has_its_turn_after_it(line: Line) -> None:
    first, second = line.downloads.start(REPO), line.downloads.start(OTHER)
    assert line.states == [(REPO, "running"), (OTHER, "waiting")]
    assert line.downloads.start(REPO) is first, "asked for again it is the same"
    snapshot = await first
    assert (snapshot / SECOND).read_bytes() == FILES[SECOND]
    assert line.states == [(OTHER, "running")]
    assert (await second).is_dir()
    assert line.downloads.all == ()


async def test_a_download_can_be_paused_and_goes_on_where_it_was(hub: Hub, line: Line) -> None:
    hub.stall_after = 1_000_000
    first = line.downloads.start(REPO)
    line.downloads.start(OTHER)
    await line.until(lambda: of(line).done > TOTAL - len(FILES[SECOND]))
    line.downloads.pause(REPO)
    assert of(line).state == "paused" and not first.done()
    hub.stall_after = None
    await line.until(lambda: line.states == [(REPO, "paused")])
    assert of(line).total == TOTAL and (of(line).rate, of(line).left) == (0, None)
    assert line.downloads.resume(REPO) is first
    assert (await first).is_dir()
    assert hub.parts[-1][1] > 0, "what was there was not fetched again"


async def test_a_cancelled_download_leaves_nothing_and_says_how_much_that_frees(hub: Hub, line: Line) -> None:
    hub.stall_after = 1_000_000
    end = line.downloads.start(REPO)
    await line.until(lambda: of(line).done > TOTAL - len(FILES[SECOND]))
    assert await line.downloads.cancel(REPO) > TOTAL - len(FILES[SECOND])
    assert end.cancelled() and line.downloads.all == ()
    assert installed() == [model for model in installed() if model.source != "quietly"]
    assert await line.downloads.cancel(REPO) == 0, "what has ended is not there to be cancelled"


async def test_what_is_cancelled_twice_goes_once_and_what_is_wanted_again_meanwhile_begins_anew(
    hub: Hub, line: Line
) -> None:
    hub.stall_after = 1_000_000
    line.downloads.start(REPO)
    await line.until(lambda: of(line).done > TOTAL - len(FILES[SECOND]))
    going = asyncio.gather(line.downloads.cancel(REPO), line.downloads.cancel(REPO))
    await line.until(lambda: of(line).state == "paused")
    again = line.downloads.start(REPO)
    hub.stall_after = None
    freed, nothing = await going
    assert freed > TOTAL - len(FILES[SECOND]) and nothing == 0
    assert line.states == [(REPO, "running")] and of(line).done < TOTAL
    assert (await again / SECOND).read_bytes() == FILES[SECOND]
    assert hub.parts[-1] == (SECOND, 0)


async def test_yesterdays_half_download_is_paused_today(hub: Hub, line: Line, tmp_path: Path) -> None:
    hub.stall_after = 1_000_000
    end = line.downloads.start(REPO)
    await line.until(lambda: of(line).done > TOTAL - len(FILES[SECOND]))
    await line.downloads.close()
    assert end.cancelled() and of(line).state == "paused"
    hub.stall_after = None
    today = Line(tmp_path / "home/data/models")
    today.downloads.found([model for model in installed() if model.unfinished])
    assert [(one.repo, one.state, one.total) for one in today.downloads.all] == [(REPO, "paused", TOTAL)]
    assert of(today).done > TOTAL - len(FILES[SECOND])
    assert (await today.downloads.resume(REPO)).is_dir()


@pytest.mark.soak
async def test_over_a_slow_line_the_rate_and_the_time_that_is_left_are_told(hub: Hub, line: Line) -> None:
    hub.rate = 1_000_000
    line.downloads.start(REPO)
    await line.until(lambda: of(line).rate > 0)
    now = of(line)
    assert now.rate < 3_000_000 and now.left == (now.total - now.done) / now.rate
    await line.downloads.close()


# --- laws, with a fetch that ends when it is told to ------------------------------------------------


class Fetches:
    """Stands in for `fetch`: which ones are under way, and how they end."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.under_way: dict[str, asyncio.Future[Path]] = {}
        self.progress: Callable[[int, int], None] = lambda done, total: None
        patch.setattr(download, "fetch", self.fetch)

    async def fetch(
        self,
        repo: str,
        models: Path,
        progress: Callable[[int, int], None],
        revision: str,
        doing: Callable[[str], None],
        agreed: bool,
    ) -> Path:
        assert not self.under_way, "two at once"
        self.progress = progress
        self.under_way[repo] = asyncio.get_running_loop().create_future()
        try:
            return await self.under_way[repo]
        finally:
            del self.under_way[repo]


async def settled() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


STEPS = st.lists(
    st.tuples(st.sampled_from(["start", "pause", "resume", "cancel", "end", "fail", "go on"]), st.integers(0, 3)),
    max_size=40,
)


@settings(max_examples=60)
@given(STEPS)
def test_whatever_is_asked_in_whatever_order_one_runs_and_none_is_forgotten(steps: list[tuple[str, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(_walk(Fetches(patch), steps))


async def _walk(fetches: Fetches, steps: list[tuple[str, int]]) -> None:
    line = Line(Path("/nowhere"))
    downloads = line.downloads
    promised: dict[str, asyncio.Future[Path]] = {}
    for what, number in steps:
        repo = f"some/model{number}"
        known = {one.repo: one.state for one in downloads.all}
        if what == "start" or (what == "resume" and repo in known):
            promised[repo] = getattr(downloads, what)(repo)
        elif what == "pause":
            downloads.pause(repo)
        elif what == "cancel":
            await downloads.cancel(repo)
            assert repo not in dict(line.states)
        elif what == "go on":
            await settled()
        elif fetches.under_way:
            (end,) = fetches.under_way.values()
            if not end.done():
                end.set_result(Path("/here")) if what == "end" else end.set_exception(QuietlyError("no"))
        states = [state for _, state in line.states]
        assert states.count("running") <= 1
        assert "waiting" not in states or "running" in states or fetches.under_way or downloads._running
    await settled()
    states = [state for _, state in line.states]
    assert ("waiting" in states) <= ("running" in states), "somebody's turn was forgotten"
    assert set(fetches.under_way) == {repo for repo, state in line.states if state == "running"}
    for repo, state in line.states:
        if repo in promised and state in ("waiting", "running"):
            assert not promised[repo].done()
    await downloads.close()
    assert not fetches.under_way
    assert {state for _, state in line.states} <= {"paused", "failed"}


async def test_one_that_fails_says_why_and_holds_up_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fetches, line = Fetches(monkeypatch), Line(tmp_path)
    failing, other = line.downloads.start(REPO), line.downloads.start(OTHER)
    await settled()
    fetches.under_way[REPO].set_exception(QuietlyError("There is no such model."))
    with pytest.raises(QuietlyError, match="There is no such model"):
        await failing
    assert line.states == [(REPO, "failed"), (OTHER, "running")]
    assert of(line).sentence == "There is no such model."
    await settled()
    fetches.under_way[OTHER].set_result(tmp_path)
    assert await other == tmp_path
    assert await line.downloads.cancel(REPO) == 0
    assert line.downloads.all == ()


async def test_who_waits_no_more_has_paused_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fetches, line = Fetches(monkeypatch), Line(tmp_path)
    line.downloads.start(REPO).cancel()
    await settled()
    assert line.states == [(REPO, "paused")] and not fetches.under_way
    again = line.downloads.resume(REPO)
    await settled()
    assert not again.done() and line.states == [(REPO, "running")]
    await line.downloads.close()


async def test_the_rate_is_that_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    fetches, clock = Fetches(monkeypatch), [0.0]
    line = Line(Path("/nowhere"), lambda: clock[0])
    line.downloads.start(REPO)
    await settled()
    for second in range(11):
        clock[0] = float(second)
        fetches.progress(1_000_000 + 1000 * second, 1_030_000)
    assert (of(line).rate, of(line).left) == (1000, 20)
    for second in range(11, 17):
        clock[0] = float(second)
        fetches.progress(1_010_000, 1_030_000)
    assert (of(line).rate, of(line).left) == (0, None), "nothing has come for a while"
    await line.downloads.close()
