"""The demonstration models: tiny ones of several architectures that come with Quietly, so that there are some to switch
among where nothing was fetched. They are checkpoints like any other; only where they lie is known here."""

import os
from collections.abc import Iterator
from pathlib import Path

from app.assets import asset
from app.home import expanded
from app.library.places.folders import below
from app.library.records import InstalledModel


def demonstrations_folder() -> Path | None:
    """Where they lie: $QUIETLY_DEMONSTRATIONS, else among Quietly's own files; None where that is set to nothing."""
    named = os.environ.get("QUIETLY_DEMONSTRATIONS")
    if named is None:
        return asset("demonstration")
    return expanded(named).absolute() if named else None


def demonstrations() -> Iterator[InstalledModel]:
    """Those that are there."""
    if (folder := demonstrations_folder()) is not None:
        yield from below(folder, "demonstration")
