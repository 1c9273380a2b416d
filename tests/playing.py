"""The real window with an engine that plays what it was given: `python -P -m tests.playing SCRIPT`.

For measurements and tests that need a real terminal and no model. The conversations are those of $QUIETLY_HOME;
everything but the engine and the list of models is the program as people start it.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from tests.app.tui.window import FakeLibrary, FakePool, FakeTurn, a_model

ROOT = Path(__file__).parents[1]


class Script(msgspec.Struct, frozen=True):
    """What the engine answers to everything: `pieces` at `rate` a second."""

    pieces: list[str]
    rate: float
    model: str = "starter"

    def command(self, path: Path) -> list[str]:
        """Write the script to `path`; returns the command that plays it, to be run in `ROOT`."""
        path.write_bytes(msgspec.json.encode(self))
        return [sys.executable, "-m", "tests.playing", str(path)]


class PlayingPool(FakePool):
    """Answers with the script, by the clock: what was late is made up for."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._script = script
        self._playing: set[asyncio.Task[None]] = set()

    def ask(self, *asked: Any, **options: Any) -> FakeTurn:
        turn = super().ask(*asked, **options)
        self._playing.add(asyncio.create_task(self._play(turn)))
        return turn

    async def _play(self, turn: FakeTurn) -> None:
        began = time.monotonic()
        for number, piece in enumerate(self._script.pieces, 1):
            if turn.stopped:
                return
            turn.say(piece)
            await asyncio.sleep(max(0.0, began + number / self._script.rate - time.monotonic()))
        if not turn.stopped:
            turn.finish()


def main(script: Path) -> int:
    played = msgspec.json.decode(script.read_bytes(), type=Script)
    model = a_model(played.model, Path("/models/played"))
    library = FakeLibrary(model)
    library.starter = model.path
    with (
        patch("app.tui.app._pool", lambda where, settings: PlayingPool(played)),
        patch("app.tui.library.Library", lambda where: library),
    ):
        from app.tui.app import run_window

        return run_window()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
