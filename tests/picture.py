"""Makes the README's picture: the real window with the real starter, as `python -m tests.picture`."""

import asyncio
import os
import re
import tempfile
from pathlib import Path

PICTURE = Path(__file__).parent.parent / "assets" / "docs" / "window.svg"
QUESTIONS = (
    "What is the capital of France?",
    "Write a short Python function that adds two numbers, and show how to call it.",
)


async def take(home: Path) -> str:
    """The window after the questions were answered, as SVG."""
    os.environ["QUIETLY_HOME"] = str(home)
    from app.chat.store import Store
    from app.engine.pool import Pool
    from app.settings import paths
    from app.tui.app import QuietlyApp
    from app.tui.library import Library

    where = paths()
    with Store.open(where.database) as store:
        for earlier in ("A name for a grey cat", "Why is the sky blue?"):
            conversation = store.create(model="starter")
            store.ask(conversation.id, None, earlier)
        app = QuietlyApp(store, lambda: Pool(where), Library(where), where.logs)
        async with app.run_test(size=(108, 34)) as pilot:
            await until(pilot, lambda: app.shelf.chosen is not None)
            await pilot.press("ctrl+n")
            for answers, question in enumerate(QUESTIONS, start=1):
                await pilot.press(*question)
                await pilot.press("enter")
                await until(pilot, lambda wanted=answers: finished(store) >= wanted)
            await pilot.pause()
            return app.export_screenshot(title="Quietly")


def finished(store) -> int:
    """How many answers of the latest conversation are complete."""
    latest = store.latest()
    return sum(message.status == "complete" for message in store.branch(latest.id)[1::2])


async def until(pilot, happened) -> None:
    while not happened():
        await pilot.pause(0.05)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        svg = asyncio.run(take(Path(folder)))
    # The picture fetches nothing: whoever looks at it has a monospaced font.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL))


if __name__ == "__main__":
    main()
