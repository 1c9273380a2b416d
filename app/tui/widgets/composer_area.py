"""The foot of the page: the composer and what belongs to it.

From top to bottom: the commands that fit what is typed, a line that says what is being edited, the attachments, the
composer, and the tally of tokens. Each takes a row only while it has something to say. It knows nothing of
conversations: whoever owns it fills the parts.
"""

from functools import cached_property
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from app.tui.widgets.composer import Composer

if TYPE_CHECKING:
    from app.tui.widgets.attachments import AttachmentBar
    from app.tui.widgets.completion import CompletionList


class Banner(Static):
    """A line that says what the composer is for just now. Hidden where it is for the next message."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__("", id=id, markup=False)
        self.display = False

    def show(self, text: str) -> None:
        """Say `text`; the empty text hides the line."""
        self.display = bool(text)
        self.update(Content(text))


class Tally(Static):
    """How many tokens are typed and left, or a warning.

    A few quiet words stand in the lower border of `host`; what is longer, and what warns, gets a row of its own.
    """

    def __init__(self, host: Widget, id: str | None = None) -> None:
        super().__init__("", id=id, markup=False)
        self._host = host
        self._text, self._warning = "", False
        self.display = False

    def show(self, text: str, warning: bool = False) -> None:
        """Say `text`, plainly or as a warning; the empty text hides it."""
        if (text, warning) != (self._text, self._warning):
            self._text, self._warning = text, warning
            self._settle()

    def settle(self) -> None:
        """Look again where there is room, after the width has changed."""
        self._settle()

    def _settle(self) -> None:
        inside = bool(self._text) and not self._warning and len(self._text) <= self._host.size.width - 4
        self._host.border_subtitle = Content(self._text) if inside else ""
        self.display = bool(self._text) and not inside
        self.set_class(self._warning, "-warning")
        self.update(Content(f"! {self._text}" if self._warning else self._text))


class ComposerArea(Vertical):
    """The composer with its banner, attachments, tally and commands."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.banner = Banner(id="banner")
        self.composer = Composer(id="composer")
        self.tally = Tally(self.composer, id="tally")

    @cached_property
    def completions(self) -> "CompletionList":
        """The commands that what is typed may become; made when it is first asked for."""
        from app.tui.widgets.completion import CompletionList

        return CompletionList(id="completions")

    @cached_property
    def attachments(self) -> "AttachmentBar":
        """What goes along with the message; made when it is first asked for."""
        from app.tui.widgets.attachments import AttachmentBar

        return AttachmentBar(id="attachments")

    def compose(self) -> ComposeResult:
        yield self.composer

    def on_mount(self) -> None:
        # The parts that have nothing to say yet must not keep the first frame waiting.
        self.call_after_refresh(self._fill)

    async def _fill(self) -> None:
        if not self.tally.is_attached:
            await self.mount_all([self.completions, self.banner, self.attachments], before=self.composer)
            await self.mount(self.tally)

    def on_resize(self) -> None:
        self.call_after_refresh(self.tally.settle)

    async def on_composer_completing(self, event: Composer.Completing) -> None:
        event.stop()
        await self._fill()
        self.completions.show(event.commands, event.place)

    def on_completion_list_chosen(self, event: "CompletionList.Chosen") -> None:
        event.stop()
        # In its own queue, so that what it posts is its own.
        self.composer.call_later(self.composer.take_command, event.command)
