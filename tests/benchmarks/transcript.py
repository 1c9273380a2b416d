"""What the transcript costs, beside a Markdown widget per message and beside an app with nothing in it.

    python -m tests.benchmarks.transcript

Prints; asserts nothing. CPU seconds are this process's; memory is its resident set.
"""

import asyncio
import gc
import platform
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Markdown

from app.tui.widgets.transcript import Entry, Transcript

SIZE = (120, 40)
SECONDS = 10
RATE = 100  # tokens per second, of four characters
PARAGRAPH = "Words that an answer is made of, **some** of them bold, `others` code, and all of them to be wrapped. "
LIST = "- one\n- two\n- three"
FUNCTION = "```python\ndef f(x):\n    return x + 1\n```"
MESSAGE = f"{PARAGRAPH * 4}\n\n{LIST}\n\n{FUNCTION}\n\n{PARAGRAPH * 8}"
PROSE = f"{PARAGRAPH * 3}\n\n- {PARAGRAPH}\n- {PARAGRAPH}\n\n"
CODE = "    value = compute(left, 'text', 42)  # and why\n"


def resident() -> float:
    """MiB."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


class Window(App[None]):
    def compose(self) -> ComposeResult:
        yield Transcript()


class Naive(App[None]):
    def compose(self) -> ComposeResult:
        yield VerticalScroll()


def entries(count: int) -> list[Entry]:
    return [Entry(key, "assistant" if key % 2 else "user", "name", f"{key} {MESSAGE}") for key in range(count)]


async def opening(count: int) -> None:
    app = Window()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        transcript = app.query_one(Transcript)
        gc.collect()
        memory = resident()
        given = entries(count)
        began = perf_counter()
        transcript.show(given)
        for y in range(SIZE[1]):
            transcript.render_line(y)
        opened = perf_counter() - began
        print(f"{count:6,} messages   open {opened:.3f} s   memory +{resident() - memory:.0f} MiB", end="")
        if transcript._idle:
            transcript._idle.pause()

        def timed(action: Callable[[], None], times: int) -> float:
            began = process_time()
            for _ in range(times):
                action()
                for y in range(SIZE[1]):
                    transcript.render_line(y)
            return (process_time() - began) / times * 1000

        print(f"   line up {timed(transcript.action_scroll_up, 100):.1f} ms", end="")
        print(f"   page up {timed(transcript.action_page_up, 50):.1f} ms", end="")
        print(f"   home {timed(transcript.action_scroll_home, 1):.1f} ms", end="")
        print(f"   end {timed(transcript.action_scroll_end, 1):.1f} ms", end="")
        added = iter(range(count, count + 50))
        append = timed(lambda: transcript.add(Entry(next(added), "user", "You", MESSAGE)), 50)
        print(f"   append {append:.1f} ms", end="")
        began = process_time()
        await pilot.resize_terminal(90, 40)
        print(f"   resize {(process_time() - began) * 1000:.0f} ms", end="")
        began = process_time()
        app.theme = "textual-light"
        await pilot.pause()
        print(f"   theme {(process_time() - began) * 1000:.0f} ms   after it all +{resident() - memory:.0f} MiB")


async def streaming(name: str, opening_text: str, piece: str, hertz: int) -> None:
    """A synthetic engine's tokens into a transcript that holds 2,000 messages already."""
    app = Window()
    async with app.run_test(size=SIZE) as pilot:
        transcript = app.query_one(Transcript)
        transcript.show([*entries(2000), Entry(9999, "assistant", "name", "")])
        transcript._sweep = 0  # the idle work is measured on its own
        source = opening_text + piece * (SECONDS * RATE * 4 // len(piece) + 1)
        await pilot.pause()
        lags: list[float] = []

        async def watch() -> None:
            while True:
                began = perf_counter()
                await asyncio.sleep(0.005)
                lags.append(perf_counter() - began - 0.005)

        watcher = asyncio.create_task(watch())
        began, cpu = perf_counter(), process_time()
        while (now := perf_counter() - began) < SECONDS:
            transcript.stream(9999, source[: int(now * RATE * 4)])
            await asyncio.sleep(1 / hertz)
        share = (process_time() - cpu) / (perf_counter() - began)
        watcher.cancel()
        lags.sort()
        print(
            f"{name:12} {RATE} tokens/s at {hertz} Hz: {share:.0%} of a core, "
            f"loop lag p95 {lags[int(len(lags) * 0.95)] * 1000:.0f} ms, most {lags[-1] * 1000:.0f} ms"
        )


async def watching() -> None:
    """What the measurement itself costs: the same loop over an app with nothing in it."""
    app = Naive()
    async with app.run_test(size=SIZE):
        began, cpu = perf_counter(), process_time()
        while perf_counter() - began < SECONDS:
            await asyncio.sleep(0.005)
        print(f"empty app    {(process_time() - cpu) / SECONDS:.0%} of a core")


async def naive() -> None:
    app = Naive()
    async with app.run_test(size=SIZE) as pilot:
        memory, cpu = resident(), process_time()
        box = app.query_one(VerticalScroll)
        await box.mount_all([Markdown(entry.text) for entry in entries(50)])
        await pilot.pause()
        used = process_time() - cpu
        print(
            f"Markdown widgets, 50 messages: {used:.1f} s to open, memory +{resident() - memory:.0f} MiB",
            end="",
        )
        live = Markdown("")
        await box.mount(live)
        began, cpu = perf_counter(), process_time()
        stream = Markdown.get_stream(live)
        written = 0
        source = PROSE * 50
        while (now := perf_counter() - began) < SECONDS:
            upto = int(now * RATE * 4)
            await stream.write(source[written:upto])
            written = upto
            await asyncio.sleep(0.1)
        await stream.stop()
        print(f"; streaming prose at 10 Hz: {(process_time() - cpu) / (perf_counter() - began):.0%} of a core")


async def main() -> None:
    print(f"{platform.platform()}, Python {platform.python_version()}, {SIZE[0]}x{SIZE[1]}")
    await opening(100)  # imports and caches are warm from here on
    for count in (2000, 10_000):
        await opening(count)
    await watching()
    for hertz in (10, 20):
        await streaming("prose", "", PROSE, hertz)
        await streaming("open fence", "```python\n", CODE, hertz)
    await naive()


if __name__ == "__main__":
    asyncio.run(main())
