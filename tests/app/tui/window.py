"""What the window's tests share: a pool of engines and a library that answer without a model."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from app.chat.store import Store
from app.engine.protocol import (
    Candidate,
    CandidatesFound,
    ChatMessage,
    Counted,
    Delta,
    Event,
    Finished,
    Loaded,
    Progress,
    Reading,
    Restated,
    SamplingOptions,
)
from app.errors import QuietlyError
from app.library.catalogue import catalogue, waiting
from app.library.downloads import Download
from app.library.fit import Fit
from app.library.hub import Found
from app.library.licences import Terms, Unagreed
from app.library.local import InstalledModel, Source
from app.library.machine import Machine
from app.library.removing import Removal
from app.tui.library import Offers, Recommended, Stock

ENGINES = {"starter": Path("/models/starter.gguf"), "larger": Path("/models/larger")}


class EngineDied(QuietlyError):
    kind = "engine"


class TooBig(QuietlyError):
    kind = "too big"


def a_model(name: str, path: Path, source: Source = "folder", **fields: object) -> InstalledModel:
    """An installed model, small and whole unless `fields` say otherwise."""
    return InstalledModel(name, path, source, **({"size": 98_000_000, "context": 8192} | fields))


STARTER = a_model("starter", Path("/models/starter.gguf"), "starter")
LARGER = a_model("Qwen2.5 7B Instruct", Path("/models/larger"), "hub", size=4_300_000_000, context=32768)
DEMONSTRATION = a_model(
    "demo-llama", Path("/quietly/demo-llama"), "demonstration", size=3_000_000, architecture="llama"
)
BROKEN = a_model("broken", Path("/models/broken"), problem="broken has no config.json; download it again.")


class FakeTurn:
    """An answer that the test writes."""

    def __init__(
        self,
        pool: "FakePool",
        checkpoint: Path,
        messages: Sequence[ChatMessage],
        session: str,
        sampling: SamplingOptions,
        reading: Reading,
        max_tokens: int | None,
    ) -> None:
        self.pool, self.checkpoint, self.messages, self.session = pool, checkpoint, messages, session
        self.sampling, self.reading, self.max_tokens = sampling, reading, max_tokens
        self.events: asyncio.Queue[Event | Exception] = asyncio.Queue()
        self.stopped = False
        self.written = 0

    @property
    def facts(self) -> Loaded | None:
        return self.pool.loaded(self.checkpoint)

    def say(self, text: str, part: str = "answer") -> None:
        self.written += 1
        self.events.put_nowait(Delta(1, part, text))

    def restate(self) -> None:
        """Say what is being continued, as an engine does before it goes on."""
        self.events.put_nowait(Restated(1, self.messages[-1].content, ""))

    def read(self, done: int, total: int) -> None:
        self.events.put_nowait(Progress(1, "prefill", done, total))

    def finish(self, reason: str = "stop") -> None:
        ids = tuple(range(100, 100 + self.written))
        self.events.put_nowait(
            Finished(1, reason, 12, 0, self.written, ids, 0.1, 0.25, 0.5 * max(1, self.written - 1), 0)
        )

    def die(self, sentence: str = "The engine stopped unexpectedly; ask again.") -> None:
        self.pool.known.pop(self.checkpoint, None)
        self.events.put_nowait(EngineDied(sentence))

    def fail(self, sentence: str) -> None:
        self.events.put_nowait(QuietlyError(sentence))

    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.finish("cancelled")

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            event = await self.events.get()
            if isinstance(event, Exception):
                raise event
            yield event
            if isinstance(event, Finished):
                return


class FakePool:
    """Loads at once, and answers what the test says."""

    def __init__(self) -> None:
        self.known: dict[Path, Loaded] = {}
        self.turns: list[FakeTurn] = []
        self.forgotten: list[str] = []
        self.looked: list[tuple[SamplingOptions, Reading]] = []
        """What each look at candidates was asked with."""
        self.on_change: Callable[[Path], object] = lambda checkpoint: None
        self.refuses: dict[Path, str] = {}
        self.too_big: dict[Path, str] = {}
        """What is judged too big, with the sentence that says so."""
        self.holds: asyncio.Event | None = None
        self.closed = False
        self.prepared = 0
        """How often it was to begin an engine ahead."""
        self.context = 8192
        self.parameters = 134_000_000
        self._ids = itertools.count(1)

    def ask(
        self,
        checkpoint: Path,
        messages: Sequence[ChatMessage],
        *,
        session: str,
        sampling: SamplingOptions | None = None,
        reading: Reading | None = None,
        max_tokens: int | None = None,
    ) -> FakeTurn:
        self._load(checkpoint)
        options = sampling or SamplingOptions(), reading or Reading(), max_tokens
        self.turns.append(FakeTurn(self, checkpoint, messages, session, *options))
        return self.turns[-1]

    def _load(self, checkpoint: Path) -> Loaded:
        if checkpoint in self.refuses:
            raise QuietlyError(self.refuses[checkpoint])
        if checkpoint in self.too_big:
            raise TooBig(self.too_big[checkpoint])
        return self.known.setdefault(
            checkpoint,
            Loaded(
                1,
                "llama",
                f"print of {checkpoint.name}",
                self.parameters,
                4.5,
                self.context,
                "CPU",
                10**8,
                0.4,
                SamplingOptions(),
            ),
        )

    def prepare(self) -> None:
        self.prepared += 1

    async def load(self, checkpoint: Path, progress: Callable[[Progress], None]) -> Loaded:
        progress(Progress(1, "load", 43, 100))
        if self.holds is not None:
            await self.holds.wait()
        return self._load(checkpoint)

    def loaded(self, checkpoint: Path) -> Loaded | None:
        return self.known.get(checkpoint)

    async def count(
        self,
        checkpoint: Path,
        messages: Sequence[ChatMessage],
        *,
        session: str | None = None,
        reading: Reading | None = None,
    ) -> Counted | None:
        """A token a word; the oldest are dropped one by one."""
        if checkpoint not in self.known:
            return None
        context = min(self.context, (reading and reading.context) or self.context)
        lengths = [len(message.content.split()) for message in messages]
        dropped = 0
        while session is not None and sum(lengths[dropped:]) > context and dropped < len(lengths) - 1:
            dropped += 1
        return Counted(1, sum(lengths[dropped:]), dropped, context)

    async def pieces(self, checkpoint: Path, token_ids: Sequence[int]) -> tuple[str, ...]:
        return tuple(f"w{token} " for token in token_ids)

    async def candidates(
        self,
        checkpoint: Path,
        messages: Sequence[ChatMessage],
        position: int,
        *,
        session: str,
        sampling: SamplingOptions | None = None,
        reading: Reading | None = None,
        progress: Callable[[Progress], None],
    ) -> CandidatesFound:
        self.looked.append((sampling or SamplingOptions(), reading or Reading()))
        chosen = (messages[-1].token_ids or ())[position]
        found = (Candidate(chosen, f"w{chosen} ", 0.6, 0.75), Candidate(7, "seven ", 0.2, 0.25))
        return CandidatesFound(1, chosen, found, 2, 0.8)

    def forget(self, session: str) -> None:
        self.forgotten.append(session)

    def insist(self, checkpoint: Path) -> None:
        self.too_big.pop(checkpoint, None)

    async def unload(self, checkpoint: Path) -> None:
        self.known.pop(checkpoint, None)

    async def close(self) -> None:
        self.closed = True


MAC = Machine("Apple M4", 16 << 30, 12 << 30, "macOS 15.6", "Metal")


class FakeDownloads:
    """Downloads that stand still until the test says how far they have come."""

    def __init__(self, told: Callable[[], object]) -> None:
        self._told = told
        self._promised: dict[str, asyncio.Future[Path]] = {}
        self.all: tuple[Download, ...] = ()
        self.agreed = False

    def set(self, repo: str, **fields: object) -> None:
        """One download as it stands now; no fields: it is none any more."""
        others = [one for one in self.all if one.repo != repo]
        self.all = (*others, Download(repo, repo.rpartition("/")[2], **fields)) if fields else tuple(others)
        self._told()

    def start(self, repo: str, revision: str = "main", *, agreed: bool = False) -> asyncio.Future[Path]:
        if repo not in self._promised or self._promised[repo].done():
            self._promised[repo] = asyncio.get_running_loop().create_future()
        self.agreed |= agreed
        self.set(repo, state="running")
        return self._promised[repo]

    def resume(self, repo: str) -> asyncio.Future[Path]:
        return self.start(repo)

    def pause(self, repo: str) -> None:
        self.set(repo, state="paused", done=43, total=100)

    def arrive(self, repo: str, path: Path) -> None:
        self.set(repo)
        self._promised.pop(repo).set_result(path)

    def fail(self, repo: str, why: str | QuietlyError) -> None:
        self.set(repo, state="failed", done=43, total=100, sentence=str(why))
        self._promised.pop(repo).set_exception(why if isinstance(why, QuietlyError) else QuietlyError(why))

    async def cancel(self, repo: str) -> int:
        if all(one.repo != repo for one in self.all):
            return 0
        self.set(repo)
        if repo in self._promised:
            self._promised.pop(repo).cancel()
        return 43 << 20

    def found(self, unfinished: Sequence[InstalledModel]) -> None:
        for one in unfinished:
            done, total = one.unfinished or (0, 0)
            self.set(one.repo or "", state="paused", done=done, total=total)


class FakeLibrary:
    """A machine with the models a test gives it."""

    def __init__(self, *models: InstalledModel) -> None:
        self.found = list(models)
        self.starter: Path | None = STARTER.path
        self.downloading: asyncio.Event | None = None
        self.terms: Terms | None = None
        """Of the recommended model's licence, if it has to be agreed to."""
        self.cancelled = False
        self.on_hub: tuple[Found, ...] | QuietlyError = ()
        self.searched: list[str] = []
        self.removed: list[InstalledModel] = []
        self._listeners: list[Callable[[], object]] = []
        self.downloads = FakeDownloads(lambda: [listener() for listener in self._listeners])

    def models(self, folders: Sequence[Path]) -> Sequence[InstalledModel]:
        return [*self.found, *(a_model(folder.name, folder) for folder in folders)]

    def listen(self, listener: Callable[[], object]) -> None:
        self._listeners.append(listener)

    @property
    def coming(self) -> tuple[Download, ...]:
        return self.downloads.all

    def stock(self, models: Sequence[InstalledModel], context: int | None) -> Stock:
        from app.library.fit import fit_of

        fits = {str(one.path): fit_of(one, MAC, context) for one in models if one.problem is None}
        offers = catalogue()
        fits |= {offer.reference: fit_of(offer, MAC, context) for offer in offers}
        return Stock("Apple M4, 16.0 GiB of memory, macOS 15.6, Metal", offers, waiting(), fits)

    def fits(self, found: Sequence[Found], context: int | None) -> dict[str, Fit]:
        from app.library.fit import fit_of

        return {one.repo: fit_of(one, MAC, context) for one in found}

    async def search(self, words: str) -> tuple[Found, ...]:
        self.searched.append(words)
        if isinstance(self.on_hub, QuietlyError):
            raise self.on_hub
        return self.on_hub

    async def look_up(self, repo: str) -> Found:
        assert not isinstance(self.on_hub, QuietlyError)
        return next(one for one in self.on_hub if one.repo == repo)

    def removal(self, one: InstalledModel) -> Removal:
        return Removal((one.path,), one.size)

    def remove(self, one: InstalledModel) -> int:
        self.found.remove(one)
        self.removed.append(one)
        return one.size

    async def close(self) -> None:
        pass

    def offers(self) -> Offers:
        return Offers(
            "Apple M4, 16.0 GiB of memory, macOS 15.6, Metal",
            Recommended("Qwen2.5 7B Instruct", "mlx-community/Qwen2.5-7B-Instruct-4bit", 4_300_000_000, "Apache-2.0"),
            self.starter,
            tuple(model for model in self.found if model.source == "demonstration"),
        )

    def folder(self, typed: str, folders: Sequence[Path]) -> Path:
        if not Path(typed).is_dir():
            raise QuietlyError(f"{typed} is not a folder with a model; name one that holds config.json.")
        return Path(typed)

    async def download(self, model: Recommended, progress: Callable[[int, int], None], *, agreed: bool = False) -> Path:
        if self.terms is not None and not agreed:
            raise Unagreed(model.repo, self.terms)
        progress(1_000_000_000, model.size)
        if self.downloading is not None:
            try:
                await self.downloading.wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
        self.found.append(LARGER)
        return LARGER.path

    async def bring_starter(self) -> Path:
        self.found.append(STARTER)
        return STARTER.path


ANSWER = """The short answer: **Paris**.

A few facts about the city:

- about 2.1 million people live within its limits
- the Seine runs through it from east to west

```python
def capital(country: str) -> str:
    return {"France": "Paris"}[country]
```
"""


def converse(store: Store, question: str, answer: str, model: str = "starter", title: str = "") -> int:
    """A stored conversation of one question and its answer."""
    made = store.create(title=title, model=model)
    asked = store.ask(made.id, None, question)
    begun = store.begin_answer(made.id, asked.id, model, {})
    store.finish(
        begun.id,
        "complete",
        answer=answer,
        prompt_tokens=412,
        completion_tokens=100,
        first_token_seconds=0.31,
        decode_seconds=2.35,
    )
    return made.id
