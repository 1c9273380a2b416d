"""Where Quietly keeps things, and what a person has set.

The settings are one TOML file, which people write by hand or change in a screen, and variables of the environment
stand over it. What Quietly does not understand of it is said and stays as it is. Nothing here knows what the settings
are for.
"""

from app.settings.places import Paths, paths, private_folder, turn_in
from app.settings.reading import load_settings, meant, overridden, set_in, variable
from app.settings.schema import FIELDS, Settings, values
from app.settings.writing import save_settings

__all__ = [
    "FIELDS",
    "Paths",
    "Settings",
    "load_settings",
    "meant",
    "overridden",
    "paths",
    "private_folder",
    "save_settings",
    "set_in",
    "turn_in",
    "values",
    "variable",
]
