"""The transcript beside a Markdown widget per message and beside an app with nothing in it.

    python -m tests.benchmarks.transcript [seconds]

Prints; asserts nothing. Each figure comes from a process of its own. CPU seconds are that process's, memory its
resident set; keys are measured at the real window in a real pty (`tests.benchmarks.keys`).
"""

import asyncio
import gc
import multiprocessing
import platform
import sys
import tempfile
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import msgspec
import textual
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.pilot import Pilot
from textual.widgets import Markdown

from app.chat.store import Store
from app.tui.telling import entry_of
from app.tui.widgets.transcript import Entry, Transcript
from tests.benchmarks import keys
from tests.benchmarks.messages import CODE, FENCE, MESSAGE, PROSE, RATE, TOKEN, fill

SIZE = (120, 40)
HERTZ = 10
WIDGETS = 100
"""Messages that the naive version opens: 2,000 would take minutes and gigabytes."""
PRESSES = 100
ANSWERS = {"prose": PROSE * 1000, "open fence": FENCE + CODE * 10_000}


class Opened(msgspec.Struct, frozen=True):
    """Seconds of the clock and of the CPU, MiB."""

    seconds: float
    cpu: float
    memory: float

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s (CPU {self.cpu:.2f} s), +{self.memory:.0f} MiB"

    def times(self, factor: float) -> "Opened":
        return Opened(self.seconds * factor, self.cpu * factor, self.memory * factor)


class Streamed(msgspec.Struct, frozen=True):
    """Share of a core; seconds that the event loop came late: 95th percentile, most."""

    share: float
    late: float
    latest: float

    def __str__(self) -> str:
        return f"{self.share:.0%} of a core, loop late p95 {self.late * 1000:.0f} ms, most {self.latest * 1000:.0f} ms"


class Scrolled(msgspec.Struct, frozen=True):
    """CPU milliseconds a step, the repainted page included."""

    line: float
    page: float
    home: float
    end: float
    append: float
    resize: float
    theme: float

    def __str__(self) -> str:
        return "   ".join(f"{name} {getattr(self, name):.1f}" for name in self.__struct_fields__)


class Ours(App[None]):
    def compose(self) -> ComposeResult:
        yield Transcript()


class Naive(App[None]):
    def compose(self) -> ComposeResult:
        yield VerticalScroll()


# --- opening ------------------------------------------------------------------------------------------------


def resident() -> float:
    """MiB."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def opening(app: App[None], show: Callable[[Pilot[None]], Coroutine[Any, Any, None]]) -> Opened:
    """What `show` takes in `app`, whose first frame has been painted."""
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        gc.collect()
        memory, cpu, began = resident(), process_time(), perf_counter()
        await show(pilot)
        return Opened(perf_counter() - began, process_time() - cpu, resident() - memory)


def painted(transcript: Transcript) -> None:
    for y in range(SIZE[1]):
        transcript.render_line(y)


def ours_opened(database: Path, conversation: int) -> Opened:
    """Read from the file, shown, painted: what choosing a conversation takes."""

    async def show(pilot: Pilot[None]) -> None:
        transcript = pilot.app.query_one(Transcript)
        transcript.show([entry_of(message) for message in store.branch(conversation)])
        painted(transcript)

    with Store.open(database) as store:
        warm = Ours()
        asyncio.run(opening(warm, lambda pilot: warmed(pilot.app.query_one(Transcript))))
        return asyncio.run(opening(Ours(), show))


async def warmed(transcript: Transcript) -> None:
    """A first message: what is imported at the first one is not what a conversation costs."""
    transcript.show(entries(2))
    painted(transcript)


def entries(count: int) -> list[Entry]:
    return [Entry(key, "assistant" if key % 2 else "user", "name", f"{key} {MESSAGE}") for key in range(count)]


def naive_opened(count: int) -> Opened:
    async def show(pilot: Pilot[None]) -> None:
        await pilot.app.query_one(VerticalScroll).mount_all([Markdown(entry.text) for entry in entries(count)])
        await pilot.pause()

    return asyncio.run(opening(Naive(), show))


# --- streaming ----------------------------------------------------------------------------------------------


async def streaming(app: App[None], source: str, seconds: float, write: Callable[[str], Coroutine[Any, Any, None]]) -> (
    Streamed
):  # fmt: skip
    """`source` at RATE, given to `write` HERTZ times a second."""
    lags: list[float] = []

    async def watch() -> None:
        while True:
            began = perf_counter()
            await asyncio.sleep(0.005)
            lags.append(perf_counter() - began - 0.005)

    watcher = asyncio.create_task(watch())
    began, cpu = perf_counter(), process_time()
    while (now := perf_counter() - began) < seconds:
        await write(source[: int(now * RATE * TOKEN)])
        await asyncio.sleep(1 / HERTZ)
    share = (process_time() - cpu) / (perf_counter() - began)
    watcher.cancel()
    lags.sort()
    return Streamed(share, lags[int(len(lags) * 0.95)], lags[-1])


def ours_streamed(source: str, seconds: float) -> Streamed:
    """Below 2,000 messages."""

    async def run() -> Streamed:
        app = Ours()
        async with app.run_test(size=SIZE) as pilot:
            transcript = app.query_one(Transcript)
            transcript.show([*entries(2000), Entry(9999, "assistant", "name", "")])
            await pilot.pause()

            async def write(text: str) -> None:
                transcript.stream(9999, text)

            return await streaming(app, source, seconds, write)

    return asyncio.run(run())


def naive_streamed(source: str, seconds: float) -> Streamed:
    """Below WIDGETS messages, into a MarkdownStream."""

    async def run() -> Streamed:
        app = Naive()
        async with app.run_test(size=SIZE) as pilot:
            box = app.query_one(VerticalScroll)
            await box.mount_all([Markdown(entry.text) for entry in entries(WIDGETS)])
            live = Markdown("")
            await box.mount(live)
            await pilot.pause()
            stream = Markdown.get_stream(live)
            written = 0

            async def write(text: str) -> None:
                nonlocal written
                await stream.write(text[written:])
                written = len(text)

            streamed = await streaming(app, source, seconds, write)
            await stream.stop()
            return streamed

    return asyncio.run(run())


def nothing_streamed(seconds: float) -> Streamed:
    """What the measurement itself costs."""

    async def run() -> Streamed:
        app = Naive()
        async with app.run_test(size=SIZE):

            async def write(text: str) -> None:
                pass

            return await streaming(app, "", seconds, write)

    return asyncio.run(run())


# --- moving about -------------------------------------------------------------------------------------------


def scrolled(count: int) -> Scrolled:
    async def run() -> Scrolled:
        app = Ours()
        async with app.run_test(size=SIZE) as pilot:
            transcript = app.query_one(Transcript)
            transcript.show(entries(count))
            painted(transcript)

            def timed(action: Callable[[], object], times: int) -> float:
                began = process_time()
                for _ in range(times):
                    action()
                    painted(transcript)
                return (process_time() - began) / times * 1000

            line = timed(transcript.action_scroll_up, 100)
            page = timed(transcript.action_page_up, 50)
            home = timed(transcript.action_scroll_home, 1)
            end = timed(transcript.action_scroll_end, 1)
            added = iter(range(count, count + 50))
            append = timed(lambda: transcript.add(Entry(next(added), "user", "You", MESSAGE)), 50)
            began = process_time()
            await pilot.resize_terminal(90, 40)
            resize = (process_time() - began) * 1000
            began = process_time()
            app.theme = "textual-light"
            await pilot.pause()
            theme = (process_time() - began) * 1000
            return Scrolled(line, page, home, end, append, resize, theme)

    return asyncio.run(run())


# --- the table ----------------------------------------------------------------------------------------------


def alone(measure: Callable[..., Any], *given: Any) -> Any:
    """`measure(*given)` in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, *given).result()


def main(seconds: float) -> None:
    print(
        f"{platform.platform()}, Python {platform.python_version()}, Textual {textual.__version__}, {SIZE[0]}x{SIZE[1]}"
    )
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "conversations.sqlite3"
        with Store.open(database) as store:
            filled = {count: fill(store, count) for count in (2000, 10_000)}
        for count, conversation in filled.items():
            print(f"open {count:6,} messages   ours             {alone(ours_opened, database, conversation)}")
    naive = alone(naive_opened, WIDGETS)
    print(f"open {WIDGETS:6,} messages   Markdown widgets {naive}")
    print(f"open  2,000 messages   Markdown widgets {naive.times(2000 / WIDGETS)}: extrapolated, not measured")
    print(f"stream nothing         empty app        {alone(nothing_streamed, seconds)}")
    for name, source in ANSWERS.items():
        print(f"stream {name:10}      ours             {alone(ours_streamed, source, seconds)}")
        print(f"stream {name:10}      Markdown widgets {alone(naive_streamed, source, seconds)}")
    for count in filled:
        print(f"{count:6,} messages, CPU ms: {alone(scrolled, count)}")
    keys.main(PRESSES)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10)
