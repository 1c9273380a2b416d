"""Templates: texts kept under a name, to be put into the composer again."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from app.chat.store import Template
from app.chat.text import one_line
from app.tui.room import Room

if TYPE_CHECKING:
    from app.tui.desks.conversations import Act


class Templates:
    """The person's own texts."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.acts: dict[str, Act] = {
            "writing.template": self.use,
            "writing.keep": lambda _: self.keep(),
            "writing.forget": lambda _: self.forget(),
        }

    def use(self, name: str) -> None:
        """Put the template whose name contains `name` into the composer, or let the person choose one."""
        templates = self._room.stores.disk.templates()
        found = [one for one in templates if name.casefold() in one.name.casefold()]
        if not templates:
            self._room.decline("There is no template yet. Type one, then choose “Keep as a template…” with Ctrl+P.")
        elif name and len(found) == 1:
            self._insert(found[0])
        else:
            self._choose("Use a template…", found or templates, self._insert)

    def _insert(self, template: Template) -> None:
        composer = self._room.area.composer
        composer.insert(template.text)
        composer.focus()

    def keep(self) -> None:
        """Keep what is typed, under a name that is asked for."""
        from app.tui.screens.asking import AskLine

        text = self._room.area.composer.text
        if not text.strip():
            self._room.say("Type the text first, then keep it as a template.")
            return

        def named(name: str | None) -> None:
            if name and name.strip():
                kept = Template(name.strip(), text)
                if self._room.guarded(lambda: self._room.stores.disk.keep_template(kept)):
                    self._room.say(f"Kept as “{one_line(kept.name, 40)}”. /template brings it back.")

        self._room.app.push_screen(AskLine("A name for this template", ""), named)

    def forget(self) -> None:
        """Remove the one that the person chooses."""
        disk = self._room.stores.disk

        def forget(template: Template) -> None:
            if self._room.guarded(lambda: disk.remove_template(template.name)):
                self._room.say(f"The template “{one_line(template.name, 40)}” is gone.")

        self._choose("Remove a template…", disk.templates(), forget)

    def _choose(self, question: str, templates: Sequence[Template], act: Callable[[Template], None]) -> None:
        from app.tui.palette import Choice, choose

        choose(
            self._room.app,
            question,
            [Choice(one.name, one_line(one.text, 80), partial(act, one)) for one in templates],
        )
