"""The settings, as a form over their description. Knows neither the file nor what they do."""

from app.fields import Field, shown
from app.settings import FIELDS, Settings, overridden, values, variable
from app.tui.screens.form import Form
from app.tuning import unchosen

_NOTHING = {"system_prompt": "nothing", "export_folder": "Downloads"}
"""What holds where a text is left empty."""


class SettingsScreen(Form):
    """All that can be set; what a variable of the environment decides is shown and stays."""

    def __init__(self, settings: Settings) -> None:
        by_id = {field.id: field for field in FIELDS}
        decided = overridden()
        super().__init__(
            "Settings",
            FIELDS,
            values(settings),
            unset=lambda id: _unset(by_id[id]),
            locked={field.id: f"set by {variable(field)}" for field in FIELDS if field.id in decided},
        )


def _unset(field: Field) -> str:
    if field.optional:
        return unchosen(field, ())
    return _NOTHING.get(field.id) or shown(field, values(Settings())[field.id])
