"""What a person waits for at the start, in a real pty: `python -m tests.benchmarks.start [rounds]`.

From exec to the first frame, beside an empty Textual app; from there until the starter can answer; from Enter to the
first letter of its answer to a short question; and by engines alone from the choice of another model to its first word.

Ours and the empty app alternate, so that whatever else the machine does meets both. Ours opens a home with 200
conversations. Each is started once before it counts, so that Python has compiled both, as it has for a person: where it
may write no bytecode, ours alone would be compiled at each start; and so that the starter is converted.
"""

import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.chat.store import Store
from app.engine.pool import Pool
from app.engine.protocol import ChatMessage, Delta
from app.library.starter import starter_file
from app.settings import paths
from tests.benchmarks.program import Program

EMPTY = "from textual.app import App; from textual.widgets import Label\n" + (
    "class Empty(App):\n    def compose(self): yield Label('first frame')\nEmpty().run()"
)
OURS = [str(Path(sys.executable).with_name("quietly"))]  # as a person starts it
SIZE = (110, 32)
NEW, QUIT = b"\x0e", b"\x11"
READY, FIRST_LETTER = "● starter".encode(), b"writing"  # in the status line, painted with the answer's first letter
ONE_MODEL = 16 * 1024**3
"""Bytes of a machine that keeps one model loaded: another takes its place."""


def seconds_to(text: bytes, command: Sequence[str], environment: Mapping[str, str]) -> float:
    """Start `command` in a pty and wait until it has painted `text`."""
    with Program(command, environment, SIZE) as program:
        program.until(text)
        return time.perf_counter() - program.started


def first_conversation(environment: Mapping[str, str]) -> tuple[float, float, float]:
    """Seconds from exec to the first frame, from there until the starter is ready, from Enter to its first letter."""
    with Program(OURS, environment, SIZE) as program:
        program.until(b"sk anything")
        framed = time.perf_counter()
        program.until(READY)
        ready = time.perf_counter()
        program.send(NEW + b"Why is the sky blue?")
        program.until(b"tokens")  # it was counted, so that nothing else goes on
        asked = time.perf_counter()
        program.send(b"\r")
        program.until(FIRST_LETTER)
        answered = time.perf_counter()
        program.send(QUIT)
        program.until(b"\x1b[?1049l")  # the terminal is given back
    return framed - program.started, ready - framed, answered - asked


async def switches(folder: Path, rounds: int) -> list[float]:
    """Seconds from a question to another model than the one that is loaded to the first word of its answer."""
    starter = starter_file()
    assert starter is not None
    other = folder / "other.gguf"
    shutil.copyfile(starter, other)
    pool = Pool(paths(), memory=ONE_MODEL)
    waits: list[float] = []
    try:
        for model in (other, starter) * (rounds // 2 + 1):
            asked = time.perf_counter()
            question = [ChatMessage("user", "Why is the sky blue?")]
            async for event in pool.ask(model, question, session=model.name, max_tokens=4):
                if isinstance(event, Delta):
                    waits.append(time.perf_counter() - asked)
                    break
    finally:
        await pool.close()
    return waits[2:]  # the first two had to convert their files, and no other model to end


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        compiled = str(Path(home) / "compiled")
        environment = {"QUIETLY_HOME": home, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": compiled}
        with Store.open(Path(home) / "data" / "conversations.sqlite3") as store:
            for number in range(200):
                conversation = store.create(model="starter")
                store.ask(conversation.id, None, f"Question {number}")
        empty, ours = [], []
        for _ in range(1 + rounds):
            empty.append(seconds_to(b"first frame", [sys.executable, "-c", EMPTY], environment))
            ours.append(first_conversation(environment))
        del empty[0], ours[0]
        os.environ.update(environment)
        switched = asyncio.run(switches(Path(home), rounds))
    framed, ready, answered = zip(*ours, strict=True)
    for what, seconds in (
        ("empty Textual app, first frame", empty),
        ("first frame", framed),
        ("first frame to ready", ready),
        ("Enter to the first letter", answered),
        ("another model's first word", switched),
    ):
        print(f"{what:32} median {statistics.median(seconds):.3f} s   least {min(seconds):.3f} s")
    print(f"{'first frame beside the empty app':32} {statistics.median(framed) / statistics.median(empty):.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
