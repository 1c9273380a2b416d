"""The downloads of one window: one runs, others wait their turn or are paused, in the order they were asked for.

Each runs in a process of its own (`app.library.download`); what came of it lies on the disk whatever happens here, so
that a half download of yesterday is one that is paused today. It knows no widget, and belongs to one event loop.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from app.library.local import InstalledModel

State = Literal["waiting", "running", "paused", "failed"]

_SPAN = 5.0
"""Seconds over which the rate is taken."""
_SURE = 1.0
"""Seconds before there is one."""


class Download(msgspec.Struct, frozen=True):
    """How one download stands."""

    repo: str
    name: str
    state: State = "waiting"
    done: int = 0
    """Bytes that are here."""
    total: int = 0
    """Bytes in all; 0 until they are known."""
    rate: float = 0.0
    """Bytes a second over the last seconds; 0 while it does not run, or is not known."""
    left: float | None = None
    """Seconds that are left at this rate."""
    sentence: str = ""
    """Why it failed, or what it does where that is not simply fetching."""


class Downloads:
    """The downloads there are. What is finished is none any more: its path is what `start` promised."""

    def __init__(self, models: Path, on_change: Callable[[], None], now: Callable[[], float] = time.monotonic) -> None:
        """`on_change` is called after every change, several times a second while something comes."""
        self._models = models
        self._on_change = on_change
        self._now = now
        self._jobs: dict[str, _Job] = {}
        self._running: asyncio.Task[Path] | None = None
        self._closed = False

    @property
    def all(self) -> tuple[Download, ...]:
        """Every download that is not finished, in the order they came."""
        return tuple(job.download for job in self._jobs.values())

    def start(self, repo: str, revision: str = "main", *, agreed: bool = False) -> "asyncio.Future[Path]":
        """Fetch `repo` as soon as it is its turn; the snapshot's folder, once it is here and verified.

        Asked for again it is the same download. QuietlyError (in the future) where it fails, Unagreed among them where
        its licence has to be `agreed` to first; cancelling the future pauses the download; cancelling the download
        cancels the future.
        """
        if repo not in self._jobs:
            self._jobs[repo] = _Job(Download(repo, repo.rpartition("/")[2], "paused"), revision)
        self._jobs[repo].agreed |= agreed
        return self.resume(repo)

    def pause(self, repo: str) -> None:
        """Stop it; what has come stays. Its turn is over."""
        job = self._jobs.get(repo)
        if job is not None and job.download.state in ("waiting", "running"):
            self._stop(job)
            self._on_change()

    def resume(self, repo: str) -> "asyncio.Future[Path]":
        """Go on with one that is paused or failed, as soon as it is its turn; as `start`."""
        if repo not in self._jobs:  # it has come to its end just now
            return self.start(repo)
        job = self._jobs[repo]
        if job.download.state in ("paused", "failed"):
            job.show(state="waiting", sentence="")
            self._jobs[repo] = self._jobs.pop(repo)  # to the end of the line
        if job.end is None or job.end.done():
            job.end = asyncio.get_running_loop().create_future()
            job.end.add_done_callback(lambda end: self._given_up(repo, end))
        self._go_on()
        self._on_change()
        return job.end

    async def cancel(self, repo: str) -> int:
        """End it and remove what came; the bytes that frees. QuietlyError where that may not be removed.

        One that has come to its end by now is a model, and stays; one that is asked for again meanwhile begins anew.
        """
        from app.library.layout import Repository

        job = self._jobs.get(repo)
        if job is None or job.leaving:
            return 0
        job.leaving = True
        try:
            await self._stopped(job)
            freed = await asyncio.to_thread(Repository(self._models, repo).discard)
            job.show(done=0, total=0)
            if job.download.state != "waiting":
                if self._jobs.get(repo) is job:
                    del self._jobs[repo]
                if job.end is not None:
                    job.end.cancel()
        finally:
            job.leaving = False
            self._go_on()
            self._on_change()
        return freed

    def found(self, unfinished: "Sequence[InstalledModel]") -> None:
        """Take the half downloads that are on the disk as paused ones; those known already stay as they are."""
        from app.library.layout import Repository

        for model in unfinished:
            if model.repo is None or model.repo in self._jobs or model.unfinished is None:
                continue
            record = Repository(self._models, model.repo).record
            done, total = model.unfinished
            download = Download(model.repo, model.repo.rpartition("/")[2], "paused", done, total)
            self._jobs[model.repo] = _Job(download, record.revision if record else "main")
        self._on_change()

    async def close(self) -> None:
        """Pause all; nothing runs any more when this returns."""
        self._closed = True
        for job in list(self._jobs.values()):
            await self._stopped(job)
            if job.end is not None:
                job.end.cancel()

    def _go_on(self) -> None:
        """Let the next one run, where none does."""
        waiting = (job for job in self._jobs.values() if job.download.state == "waiting" and not job.leaving)
        if self._running is None and not self._closed and (job := next(waiting, None)) is not None:
            job.show(state="running")
            self._running = job.turn = asyncio.create_task(self._run(job))
            self._running.add_done_callback(lambda turn: self._over(job, turn))

    async def _run(self, job: "_Job") -> Path:
        """One turn of one download: to its end, or until it is stopped."""
        from app.library.download import fetch

        job.marks.clear()
        return await fetch(
            job.download.repo,
            self._models,
            progress=lambda done, total: self._came(job, done, total),
            revision=job.revision,
            doing=lambda sentence: self._does(job, sentence),
            agreed=job.agreed,
        )

    def _over(self, job: "_Job", turn: "asyncio.Task[Path]") -> None:
        """Its turn is over: it was stopped, has failed, or is here."""
        self._running = job.turn = None
        end = job.end if job.end is not None and not job.end.done() else None
        if turn.cancelled():
            pass  # whoever stopped it has said why
        elif error := turn.exception():
            job.show(state="failed", sentence=str(error), rate=0.0, left=None)
            if end is not None:
                end.set_exception(error)
        else:
            self._jobs.pop(job.download.repo, None)
            if end is not None:
                end.set_result(turn.result())
        self._go_on()
        self._on_change()

    def _came(self, job: "_Job", done: int, total: int) -> None:
        if job.download.state == "running":
            job.take(self._now(), done, total)
            self._on_change()

    def _does(self, job: "_Job", sentence: str) -> None:
        if job.download.state == "running":
            job.show(sentence=sentence)
            self._on_change()

    def _stop(self, job: "_Job") -> None:
        job.show(state="paused", rate=0.0, left=None, sentence="")
        if job.turn is not None:
            job.turn.cancel()

    async def _stopped(self, job: "_Job") -> None:
        """Stop it, and wait until its process has ended."""
        turn = job.turn
        self._stop(job)
        if turn is not None:
            await asyncio.wait([turn])

    def _given_up(self, repo: str, end: "asyncio.Future[Path]") -> None:
        if end.cancelled():
            self.pause(repo)
        else:
            end.exception()  # looked at: whoever waits hears of it, and `all` has the sentence


class _Job:
    """One download, what was promised of it, and how fast it came lately."""

    def __init__(self, download: Download, revision: str) -> None:
        self.download = download
        self.revision = revision
        self.agreed = False
        """Whether the person has agreed to its licence, where that was asked."""
        self.end: asyncio.Future[Path] | None = None
        self.turn: asyncio.Task[Path] | None = None
        self.leaving = False
        """What came of it is being removed."""
        self.marks: deque[tuple[float, int]] = deque()
        """When how many bytes were here, over the last seconds."""

    def show(self, **changes: object) -> None:
        self.download = msgspec.structs.replace(self.download, **changes)

    def take(self, now: float, done: int, total: int) -> None:
        """So many bytes are here now."""
        self.marks.append((now, done))
        while now - self.marks[0][0] > _SPAN:
            self.marks.popleft()
        begun, before = self.marks[0]
        rate = max(0.0, (done - before) / (now - begun)) if now - begun >= _SURE else 0.0
        self.show(done=done, total=total, rate=rate, left=(total - done) / rate if rate else None)
