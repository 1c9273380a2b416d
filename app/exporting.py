"""Where an export goes that a person did not give a place: the folder that is set, else the one people look into.

Knows nothing of what is exported.
"""

from pathlib import Path

from app.home import expanded
from app.settings import Settings


def export_folder(settings: Settings) -> Path:
    """The folder that is set, by its name from the home folder on; else Downloads, or the home folder."""
    if settings.export_folder:
        return Path.home() / expanded(settings.export_folder)
    downloads = Path.home() / "Downloads"
    return downloads if downloads.is_dir() else Path.home()
