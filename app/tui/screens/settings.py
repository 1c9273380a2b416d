"""The settings, as a form over their description. Knows neither the file nor what they do."""

from collections.abc import Iterable, Sequence

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Static

from app.chat.text import visible
from app.fields import Field, shown
from app.settings import FIELDS, Settings, overridden, values, variable
from app.tui.screens.form import Form
from app.tui.screens.page import PageScreen
from app.tuning import unchosen

_NOTHING = {"system_prompt": "nothing", "export_folder": "Downloads", "draft_model": "none"}
"""What holds where a text is left empty."""


class SettingsScreen(Form):
    """All that can be set; what a variable of the environment decides is shown and stays."""

    def __init__(self, settings: Settings, mistakes: Sequence[str] = ()) -> None:
        """`mistakes`: a sentence for each thing that is set and not understood."""
        by_id = {field.id: field for field in FIELDS}
        decided = overridden()
        super().__init__(
            "Settings",
            FIELDS,
            values(settings),
            unset=lambda id: _unset(by_id[id]),
            locked={field.id: f"set by {variable(field)}" for field in FIELDS if field.id in decided},
        )
        self._mistakes = mistakes

    def further(self) -> Iterable[Widget]:
        if self._mistakes:
            yield Button("Mistakes…", id="mistakes", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "mistakes":
            self.app.clear_notifications()  # what they say stands there as well, and they would stand over it
            self.app.push_screen(MistakesScreen(self._mistakes))
        else:
            super().on_button_pressed(event)


class MistakesScreen(PageScreen):
    """All that is set and not understood."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("Mistakes in the settings", Static(Content(visible("\n\n".join(mistakes)))))


def _unset(field: Field) -> str:
    if field.optional:
        return unchosen(field, ())
    return _NOTHING.get(field.id) or shown(field, values(Settings())[field.id])
