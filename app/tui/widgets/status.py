"""The line at the very bottom: model and device, context, what is happening, how fast the last answer was.

It is given finished words and lays them out; on a narrow terminal the least important give way.
"""

import msgspec
from rich.cells import cell_len
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from app.tui.words import Part, fitting

_GAP = "  │  "


class Facts(msgspec.Struct, frozen=True):
    """What the line says; an empty field is not shown."""

    model: str = ""
    device: str = ""
    context: str = ""
    activity: str = ""
    speed: str = ""
    hint: str = ""


class StatusLine(Widget):
    """One line of facts: what stands on the left, how fast it went and the way to help on the right."""

    facts: reactive[Facts] = reactive(Facts())

    def render(self) -> Content:
        facts, width = self.facts, self.size.width - 2
        kept = fitting(
            [
                Part(facts.model, 6),
                Part(facts.device, 2),
                Part(facts.activity, 5),
                Part(facts.context, 4),
                Part(facts.speed, 3),
                Part(facts.hint, 1),
            ],
            width,
            len(_GAP),
        )
        texts = [part.text for part in kept]
        right = [text for text in (facts.speed, facts.hint) if text in texts]
        left = [text for text in texts if text not in right]
        styled_left = (
            Content(_GAP)
            .stylize("$foreground 25%")
            .join(Content.styled(text, "$text-accent") if text == facts.activity else Content(text) for text in left)
        )
        styled_right = Content(_GAP).stylize("$foreground 25%").join(Content(text) for text in right)
        space = width - cell_len(styled_left.plain) - cell_len(styled_right.plain)
        return Content.assemble(" ", styled_left, " " * max(0, space), styled_right)
