"""The one resolver of packaged data: styles, catalogue, icon, demonstration models.

In the wheel they lie inside the package, in a checkout beside it.
"""

from pathlib import Path

_PACKAGED = Path(__file__).with_name("assets")
_CHECKOUT = Path(__file__).parent.with_name("assets")


def asset(name: str) -> Path:
    """The path of the asset `name`, relative to the assets folder."""
    return (_PACKAGED if _PACKAGED.is_dir() else _CHECKOUT) / name
