"""The system's clipboard by its own program, where there is one within reach. Knows nothing of the window."""

import os
import shutil
import subprocess

_PROGRAMS = (("pbcopy",), ("wl-copy",), ("xclip", "-selection", "clipboard"))
_NEEDS = {"wl-copy": "WAYLAND_DISPLAY", "xclip": "DISPLAY"}
_PATIENCE = 2.0


def copy(text: str) -> bool:
    """Give `text` to the clipboard of the machine the person sits at. False where only the terminal can.

    Over SSH a program would fill the clipboard of the wrong machine.
    """
    if "SSH_TTY" in os.environ or "SSH_CONNECTION" in os.environ:
        return False
    for command in _PROGRAMS:
        needed = _NEEDS.get(command[0])
        if shutil.which(command[0]) and (needed is None or os.environ.get(needed)):
            # pbcopy reads bytes in the locale's encoding, and many shells on macOS have none set.
            environment = {**os.environ, "LC_ALL": "en_US.UTF-8"} if command[0] == "pbcopy" else None
            try:
                subprocess.run(
                    command,
                    input=text.encode("utf-8", "replace"),
                    env=environment,
                    timeout=_PATIENCE,
                    check=True,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            except (OSError, subprocess.SubprocessError):
                continue
            return True
    return False
