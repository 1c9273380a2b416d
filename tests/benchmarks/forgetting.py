"""What forgetting costs on a large file, and how long it keeps writers waiting: `python -m tests.benchmarks.forgetting
[messages]`.

Beside it two windows, this one and another, write a little every ten milliseconds, as drafts and answers do; the
longest wait of either is what a person could notice. Seven backups are cleaned each time.
"""

import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

from app.chat import backups, cleaning
from app.chat.store import Store
from tests.benchmarks.search import SEED, Words, fill

TODAY = date(2026, 1, 7)


class Writer(threading.Thread):
    """Writes until it is stopped, and knows how long it had to wait for that, in seconds."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store, self._over = store, threading.Event()
        self.longest = 0.0

    def run(self) -> None:
        while not self._over.wait(0.01):
            begun = time.monotonic()
            self._store.remember("benchmark", str(begun))
            self.longest = max(self.longest, time.monotonic() - begun)

    def stop(self) -> float:
        self._over.set()
        self.join()
        return self.longest


def measured(what: str, store: Store, act: Callable[[], object]) -> None:
    with Store.open(store.path) as other:
        writers = [Writer(store), Writer(other)]
        for writer in writers:
            writer.start()
        begun = time.monotonic()
        act()
        took = time.monotonic() - begun
        here, there = (writer.stop() for writer in writers)
        size = store.path.stat().st_size / 1e6
        print(
            f"{what}: {took:.2f} s, others waited {here:.2f} s in this window, {there:.2f} s in another; {size:.0f} MB"
        )


def main() -> None:
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 40_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "conversations.sqlite3"
        fill(path, Words(random.Random(SEED)), messages)
        store = Store.open(path)
        while store.catch_up():
            pass
        made = backups.back_up(path, TODAY)
        assert made is not None
        for day in range(1, 7):
            older = made.with_name(f"{path.stem}-{(TODAY - timedelta(days=day)).isoformat()}.sqlite3")
            shutil.copyfile(made, older)
        print(f"{messages} messages: {path.stat().st_size / 1e6:.0f} MB, a backup {made.stat().st_size / 1e6:.0f} MB")
        ids = [one.id for one in store.conversations()]
        first, second = (store.remove_conversation(ids.pop()) for _ in range(2))
        measured("forgetting a conversation, as a file of this size is", store, lambda: store.forget(first))
        cleaning.BRIEF = 1 << 40
        measured("with VACUUM of the file at once", store, lambda: store.forget(second))
        cleaning.BRIEF = 0
        many = [threading.Thread(target=store.forget, args=[store.remove_conversation(ids.pop())]) for _ in range(100)]
        measured("a hundred at once", store, lambda: [one.start() for one in many] and [one.join() for one in many])
        store.remove_conversation(ids.pop())
        begun = time.monotonic()
        store.close()
        print(f"closing the file with one more deleted: {time.monotonic() - begun:.2f} s")
        with Store.open(path) as store:
            begun = time.monotonic()
            store.erase()
            print(f"erasing everything: {time.monotonic() - begun:.2f} s")


if __name__ == "__main__":
    main()
