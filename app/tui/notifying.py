"""Saying that an answer has ended to someone who went away meanwhile.

A long answer that ends in sight needs no word. One that ends elsewhere gets a quiet notice in the window, and where
the window itself is not looked at, the terminal is asked to tell. Knows nothing of engines or conversations.
"""

import os
from collections.abc import Mapping
from typing import Any

from textual.app import App

from app import words

_TELLING = frozenset({"iTerm.app", "ghostty", "WezTerm", "WarpTerminal"})
"""Terminals ($TERM_PROGRAM) that show a notification on OSC 9; kitty names itself by $TERM. Others get the bell."""


def should_announce(seconds: float, focused: bool, after: float) -> bool:
    """Whether the terminal should tell that an answer which took `seconds` has ended.

    `after` is the setting: seconds from which on an answer is long; 0 switches it off.
    """
    return not focused and _long(seconds, after)


def _long(seconds: float, after: float) -> bool:
    return 0 < after <= seconds


def signal(said: str, environment: Mapping[str, str]) -> str:
    """What makes a terminal tell `said`, which must be safe to show: OSC 9 where it is understood, else the bell."""
    program, kind = environment.get("TERM_PROGRAM", ""), environment.get("TERM", "")
    return f"\x1b]9;{said}\x07" if program in _TELLING or kind == "xterm-kitty" else "\x07"


def announce(app: App[Any], title: str, seconds: float, after: float, *, in_view: bool = False) -> None:
    """Say that an answer in the conversation `title`, which took `seconds`, has ended, where that is worth saying.

    `after` as in `should_announce`; `in_view`: the conversation is on the screen.
    """
    if not _long(seconds, after) or (in_view and app.app_focus):
        return
    said = words.ready(title, seconds)
    app.notify(said, markup=False)
    if should_announce(seconds, app.app_focus, after) and app._driver is not None:
        app._driver.write(signal(said, os.environ))
