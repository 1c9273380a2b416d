"""An app with a transcript, entries to put into it, and a mouse that drags: what tests of the transcript share."""

from collections.abc import Iterator, Sequence

from textual.app import App, ComposeResult
from textual.geometry import Offset
from textual.pilot import Pilot
from textual.strip import Strip

from app.tui.markdown.rows import cells
from app.tui.widgets.transcript import Entry, Transcript

CODE = 'Here:\n\n```python\ndef f():\n    return "x"\n```\n\nand **after** it.'


class Window(App[None]):
    """An app with a transcript and nothing else; it keeps what was asked for."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        super().__init__()
        self.entries = entries
        self.copied: list[str] = []
        self.asked: list[tuple[object, ...]] = []

    def compose(self) -> ComposeResult:
        yield Transcript()

    def on_mount(self) -> None:
        self.transcript.show(self.entries)
        self.transcript.focus()

    def on_transcript_copy_requested(self, message: Transcript.CopyRequested) -> None:
        self.copied.append(message.text)

    def on_transcript_branch_requested(self, message: Transcript.BranchRequested) -> None:
        self.asked.append(("branch", message.key, message.step))

    def on_transcript_menu_requested(self, message: Transcript.MenuRequested) -> None:
        self.asked.append(("menu", message.key))

    def on_transcript_link_requested(self, message: Transcript.LinkRequested) -> None:
        self.asked.append(("link", message.url))

    def on_transcript_selection_made(self, message: Transcript.SelectionMade) -> None:
        self.asked.append(("selection", message.text))

    @property
    def transcript(self) -> Transcript:
        return self.query_one(Transcript)

    def strips(self) -> list[Strip]:
        transcript = self.transcript
        return [transcript.render_line(y) for y in range(transcript.size.height)]

    def at(self, text: str) -> tuple[int, int]:
        """The (cell, line) of a text in sight; its first one."""
        for line, row in enumerate(self.rows()):
            if text in row:
                return cells(row[: row.index(text)]), line
        raise AssertionError(f"{text!r} is not in sight")

    def rows(self) -> list[str]:
        """What is in sight, row by row."""
        return [strip.text.rstrip() for strip in self.strips()]


def answer(key: int, text: str, reasoning: str = "", note: str = "", wrong: bool = False) -> Entry:
    return Entry(key, "assistant", "model", text, reasoning, note, wrong)


def question(key: int, text: str) -> Entry:
    return Entry(key, "user", "You", text)


def conversation(turns: int) -> list[Entry]:
    entries: list[Entry] = []
    for turn in range(turns):
        entries.append(question(2 * turn, f"Question {turn}?"))
        text = f"Answer {turn}.\n\n- a point\n- another\n\n" + "and words " * (10 + turn % 7 * 20)
        entries.append(answer(2 * turn + 1, text))
    return entries


async def painted(pilot: Pilot[None]) -> None:
    """Wait until the live answer has been painted."""
    transcript = pilot.app.query_one(Transcript)
    while transcript._pending:
        await pilot.pause(0.01)
    await pilot.pause()


async def drag(pilot: Pilot[None], start: tuple[int, int], end: tuple[int, int]) -> None:
    await pilot.mouse_down(Transcript, offset=start)
    for at in _between(Offset(*start), Offset(*end)):
        await pilot.hover(Transcript, offset=at)
    await pilot.mouse_up(Transcript, offset=end)


def _between(start: Offset, end: Offset) -> Iterator[tuple[int, int]]:
    yield (start.x + 1, start.y)
    yield (end.x, end.y)
