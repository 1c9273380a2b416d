"""From exec to the first frame in a real pty, beside an empty Textual app: `python -m tests.benchmarks.start [rounds]`.

The two alternate, so that whatever else the machine does meets both. Ours opens a home with 200 conversations. Each is
started once before it counts, so that Python has compiled both, as it has for a person: where it may write no
bytecode, ours alone would be compiled at each start.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.chat.store import Store
from tests.benchmarks.program import Program

EMPTY = "from textual.app import App; from textual.widgets import Label\n" + (
    "class Empty(App):\n    def compose(self): yield Label('first frame')\nEmpty().run()"
)
OURS = [str(Path(sys.executable).with_name("quietly"))]  # as a person starts it


def seconds_to(text: bytes, command: Sequence[str], environment: Mapping[str, str]) -> float:
    """Start `command` in a pty of 110 by 32 and wait until it has painted `text`."""
    with Program(command, environment, (110, 32)) as program:
        program.until(text)
        return time.perf_counter() - program.started


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
            ours.append(seconds_to(b"sk anything", OURS, environment))
        del empty[0], ours[0]
    print(f"empty Textual app   median {statistics.median(empty):.3f} s   least {min(empty):.3f} s")
    print(f"Quietly             median {statistics.median(ours):.3f} s   least {min(ours):.3f} s")
    print(f"ratio               median {statistics.median(ours) / statistics.median(empty):.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
