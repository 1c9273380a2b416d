"""Makes the pictures of the tour and of the README: the real window with the real starter, as `python -m tests.tour`.

The pictures are one stay, in order: each opens the window on what those before it have left. What is asked and answered
is the same every time: the likeliest words are taken, once those of a seed. How fast it went and what memory it took is
as it was.
"""

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from app import connections
from app.chat.store import GenerationSettings, Store
from app.engine.pool import Pool
from app.settings import Paths, Settings
from app.tui.app import QuietlyApp
from app.tui.library import Library
from tests.app.tui.conftest import Window
from tests.documents import DOCUMENTS

PICTURES = DOCUMENTS / "pictures"
HOME = "/Users/you"
"""What the pictures say where the program names the home folder."""
LIKELIEST = GenerationSettings(temperature=0, max_tokens=200)
_PATIENCE = 300.0
"""Seconds that anything may take."""


class Visit(Window):
    """The window while a picture is being made."""

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(_PATIENCE):
            while not true():
                await self.pilot.pause(0.05)

    async def ready(self) -> None:
        """Wait for the page and its model, and let the cursor stand still."""
        shelf, conductor = self.app.shelf, self.app.conductor
        await self.until(lambda: shelf.chosen and conductor.loaded(shelf.chosen.path))
        self.composer.cursor_blink = False

    async def ask(self, text: str) -> None:
        """Write `text`, send it, and wait for the answer."""
        await self.pilot.press(*text)
        await self.send(text)

    async def send(self, question: str) -> None:
        """Send what stands in the composer, and wait for its answer."""
        await self.pilot.press("enter")

        def answered() -> bool:
            latest = self.store.latest()
            said = self.store.branch(latest.id)[-2:] if latest else []
            return [message.content for message in said[:-1]] == [question] and said[-1].status == "complete"

        await self.until(answered)
        print(f"  {question}", file=sys.stderr)

    async def command(self, typed: str) -> None:
        await super().command(typed)
        await self.until(lambda: self.app.screen is not self.app.chat)

    async def shows(self, text: str) -> None:
        """Wait until `text` stands on the screen."""
        await self.until(lambda: text in self.page)


class Picture(NamedTuple):
    """One picture, and what is done until it is taken."""

    take: Callable[[Visit], Awaitable[None]]
    size: tuple[int, int] = (100, 30)
    theme: str = "textual-dark"
    generation: GenerationSettings = LIKELIEST
    shown: bool = True
    """Whether it becomes a picture; else it is only lived through."""

    @property
    def name(self) -> str:
        return self.take.__name__.replace("_", "-")


async def first_start(visit: Visit) -> None:
    """Nothing was said yet."""


async def earlier(visit: Visit) -> None:
    """A few conversations, so that the pictures that follow have some in their lists."""
    for question in (
        "Suggest a title for a short story about a lighthouse.",
        "What is worth seeing in 東京 (Tokyo) on a rainy day?",
        "My train leaves 東京 at nine. What is a polite way to say goodbye?",
        "Why is the sky blue?",
    ):
        await visit.pilot.press("ctrl+n")
        await visit.ask(question)


async def answer(visit: Visit) -> None:
    await visit.pilot.press("ctrl+n")
    await visit.ask("What is the capital of France?")
    await visit.ask("Write a short Python function that adds two numbers, and show how to call it.")


async def branches(visit: Visit) -> None:
    await visit.pilot.press("ctrl+n")
    await visit.ask("Suggest a title for a story about a whale.")
    await visit.pilot.press("ctrl+t", "k", "e")
    await visit.shows("Editing")
    await visit.pilot.press("backspace", *" who cannot swim.")
    await visit.send("Suggest a title for a story about a whale who cannot swim.")
    await visit.pilot.press("ctrl+t")


async def probabilities(visit: Visit) -> None:
    await visit.pilot.press("ctrl+n")
    await visit.ask("Give me a name for a grey cat.")
    await visit.command("/why")
    await visit.pilot.press("home", *["right"] * 8)  # to the name
    await visit.shows("token 9 of")
    await visit.shows("kept")


async def library(visit: Visit) -> None:
    await visit.command("/models")
    await visit.shows("models may take")
    while "mlx-community/Qwen3-8B-4bit" not in visit.page:
        await visit.pilot.press("down")


async def inspect(visit: Visit) -> None:
    await visit.command("/models")
    await visit.shows("models may take")
    await visit.pilot.press("i")
    await visit.shows("KV cache")


async def tokens(visit: Visit) -> None:
    await visit.command("/models")
    await visit.shows("models may take")
    await visit.pilot.press("w")
    await visit.shows("A text, to be made tokens of")
    await visit.pilot.press(*"The king and the queen of 東京", "down")
    await visit.shows("king, id")
    await visit.shows("norm")


async def search(visit: Visit) -> None:
    await visit.pilot.press("ctrl+l")
    await visit.pilot.press(*"東京")
    await visit.shows("places")
    await visit.pilot.press("down", "down")


async def tune(visit: Visit) -> None:
    await visit.command("/tune")
    await visit.pilot.press(*"You answer in one short sentence.")
    await visit.shows("one short sentence")


async def settings(visit: Visit) -> None:
    await visit.command("/settings")


async def export(visit: Visit) -> None:
    await visit.command("/export-as")


async def connected(visit: Visit) -> None:
    await visit.pilot.press("ctrl+right_square_bracket")
    await visit.shows("Connections")


async def narrow(visit: Visit) -> None:
    """A small terminal: the sidebar waits behind a key."""


async def delete_everything(visit: Visit) -> None:
    await visit.command("/delete-everything")


_VARIED = GenerationSettings(temperature=0.6, top_k=40, seed=2)
STAY = (
    Picture(first_start),
    Picture(earlier, generation=GenerationSettings(temperature=0, max_tokens=40), shown=False),
    Picture(answer, (108, 34)),
    Picture(branches),
    Picture(probabilities, (120, 30), generation=_VARIED),
    Picture(search),
    Picture(tune),
    Picture(settings, theme="textual-light", generation=GenerationSettings()),
    Picture(export, (100, 22)),
    Picture(library, (108, 34)),
    Picture(inspect, (108, 40)),
    Picture(tokens, (112, 34)),
    Picture(connected),
    Picture(narrow, (60, 20)),
    Picture(delete_everything),
)


async def take(picture: Picture, places: Paths) -> str:
    """The window when all was done for the picture, as SVG."""
    chosen = Settings(theme=picture.theme, generation=picture.generation, export_folder="~/Downloads")
    with Store.open(places.database) as store:
        pool, library = Pool(places), Library(places)
        app = QuietlyApp(store, lambda: pool, library, places, settings=chosen)
        async with app.run_test(size=picture.size) as pilot:
            visit = Visit(app, pool, library, pilot)
            await visit.ready()
            await picture.take(visit)
            await pilot.pause()
            return app.export_screenshot(title="Quietly")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"QUIETLY_HOME": folder, "HF_HOME": f"{folder}/huggingface", "HOME": HOME}
        connections.watch("window")
        for picture in STAY:
            print(picture.name, file=sys.stderr)
            svg = asyncio.run(take(picture, Paths.below(Path(folder))))
            if picture.shown:
                # The picture fetches nothing: whoever looks at it has a monospaced font.
                (PICTURES / f"{picture.name}.svg").write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL))


if __name__ == "__main__":
    main()
