"""From a key to its letter on the terminal, while an answer streams: `python -m tests.benchmarks.keys [presses]`.

The real window in a pty of 120 by 40, with 2,000 messages above and an engine that plays 100 tokens a second, beside
an empty app with a text area. A press is a byte written to the pty; it is on screen when its letter, which nothing
else shows, is in the bytes that come back.
"""

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from app.chat.store import Store
from tests.benchmarks.messages import CODE, FENCE, PROSE, RATE, TOKEN, fill
from tests.benchmarks.program import Program
from tests.playing import Script

LETTERS = "".join(map(chr, range(0x410, 0x450)))  # Cyrillic: neither the answers nor the window have any
PAUSE = (0.05, 0.15)  # seconds between two presses: no beat of the painter is kept
SETTLING = 3.0
EMPTY = (
    "from textual.app import App; from textual.widgets import TextArea\n"
    "class Empty(App):\n    def compose(self): yield TextArea(placeholder='first frame')\nEmpty().run()"
)


class Pressed(msgspec.Struct, frozen=True):
    """Seconds from key to letter; the program's CPU share meanwhile."""

    waits: list[float]
    share: float

    def __str__(self) -> str:
        cuts = statistics.quantiles(self.waits, n=20)
        return (
            f"p50 {cuts[9] * 1000:5.1f} ms   p95 {cuts[18] * 1000:5.1f} ms   most {max(self.waits) * 1000:5.1f} ms"
            f"   CPU {self.share:.0%} of a core"
        )


def press(program: Program, presses: int) -> Pressed:
    """Press letters one after the other and wait for each."""
    moments = random.Random(presses)
    waits: list[float] = []
    began, cpu = time.perf_counter(), program.cpu()
    for number in range(presses):
        program.watch(moments.uniform(*PAUSE))
        letter = LETTERS[number % len(LETTERS)].encode()
        if number and number % len(LETTERS) == 0:
            program.send(b"\x15" * 8)  # a line cleared, so that each letter is new again
            program.watch(0.5)
        pressed = time.perf_counter()
        program.send(letter)
        program.until(letter)
        waits.append(time.perf_counter() - pressed)
    return Pressed(waits, (program.cpu() - cpu) / (time.perf_counter() - began))


def in_the_window(source: str, presses: int, messages: int = 2000) -> Pressed:
    """In the real window, while `source` is played into a conversation of `messages`."""
    with tempfile.TemporaryDirectory() as home:
        with Store.open(Path(home) / "data" / "conversations.sqlite3") as store:
            fill(store, messages)
        tokens = [source[at : at + TOKEN] for at in range(0, len(source), TOKEN)]
        needed = int((presses * (PAUSE[1] + 0.1) + 4 * SETTLING) * RATE)
        script = Script((tokens * (needed // len(tokens) + 1))[:needed], RATE)
        with Program(script.command(Path(home) / "script.json"), {"QUIETLY_HOME": home}) as program:
            program.until("● starter".encode())
            program.watch(SETTLING)  # heights are measured when nothing else is to be done
            program.send(b"go on\r")
            program.until(b"writing")
            program.watch(SETTLING)
            return press(program, presses)


def in_an_empty_app(presses: int) -> Pressed:
    """In a text area with nothing around it."""
    with Program([sys.executable, "-c", EMPTY]) as program:
        program.until(b"irst frame")
        program.watch(1)
        return press(program, presses)


def main(presses: int) -> None:
    print(f"empty app, text area           {in_an_empty_app(presses)}")
    print(f"2,000 messages, prose          {in_the_window(PROSE, presses)}")
    print(f"2,000 messages, open fence     {in_the_window(FENCE + CODE * 400, presses)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
