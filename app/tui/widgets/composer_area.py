"""The foot of the page: the composer and what belongs to it.

From top to bottom: the commands that fit what is typed, a line that says what is being edited, the attachments, the
composer, and the tally of tokens. Each takes a row only while it has something to say. It knows nothing of
conversations: whoever owns it fills the parts.
"""

from functools import cached_property
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical

from app.tui.widgets.composer import Composer

if TYPE_CHECKING:
    from app.tui.widgets.attachments import AttachmentBar
    from app.tui.widgets.completion import CompletionList
    from app.tui.widgets.saying import Banner, Tally


class ComposerArea(Vertical):
    """The composer with its banner, attachments, tally and commands."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.composer = Composer(id="composer")

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

    @cached_property
    def banner(self) -> "Banner":
        """What the composer is for just now; made when it is first asked for."""
        from app.tui.widgets.saying import Banner

        return Banner(id="banner")

    @cached_property
    def tally(self) -> "Tally":
        """How much is typed; made when it is first asked for."""
        from app.tui.widgets.saying import Tally

        return Tally(self.composer, id="tally")

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
        self.call_after_refresh(lambda: self.tally.settle())

    async def on_composer_completing(self, event: Composer.Completing) -> None:
        event.stop()
        await self._fill()
        self.completions.show(event.commands, event.place)

    def on_completion_list_chosen(self, event: "CompletionList.Chosen") -> None:
        event.stop()
        # In its own queue, so that what it posts is its own.
        self.composer.call_later(self.composer.take_command, event.command)
