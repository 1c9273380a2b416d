"""Deleting everything that was said, at the window, which ends by it: so nothing of it is left in memory either."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from app.chat.text import visible
from app.errors import QuietlyError

if TYPE_CHECKING:
    from textual.app import App

    from app.erasing import Left

WORD = "delete"


def ask_and_erase(app: "App[None]", erase: "Callable[[], Sequence[Left]]", ended: Callable[[str], None]) -> None:
    """Ask for a word that nobody types by accident, then `erase` on another thread.

    `ended` is called with what stays, in words; where it could not be done, that is said and the window goes on.
    """
    from app.tui.screens.asking import AskLine
    from app.tui.screens.progress import ProgressScreen

    def done(left: "Sequence[Left] | QuietlyError | None") -> None:
        match left:
            case QuietlyError():
                app.notify(str(left), severity="error", timeout=10, markup=False)
            case None:
                pass  # it went wrong in a way nobody foresaw, which has been said
            case _:
                ended(told(left))

    def typed(word: str | None) -> None:
        if word is None:
            return
        if word.strip().casefold() != WORD:
            app.notify("Nothing was deleted.", markup=False)
            return
        app.push_screen(ProgressScreen("Deleting everything…", lambda report: erase(), can_end=False), done)

    app.push_screen(
        AskLine(
            "Delete everything?",
            "",
            "Every conversation, draft, template, preset and system prompt, and the backups: nothing brings them back, "
            f"and Quietly closes. Type {WORD} and press Enter; Esc leaves everything as it is.",
        ),
        typed,
    )


def told(left: "Sequence[Left]") -> str:
    """What was done, and which files stay and why."""
    lines = [f"  {visible(str(one.file))}: {one.why}" for one in left]
    return "\n".join(["Everything that was said is deleted. These files stay:", *lines])
