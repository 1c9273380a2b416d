"""The clipboard of the person's machine: who can fill it from here, and filling it by a program of the system.

A program is surest on the machine itself: some terminals, macOS' own among them, ignore being asked (OSC 52). Over SSH
a program would fill the clipboard of the wrong machine, and only the terminal reaches the right one; but where X11 is
forwarded, xclip does too. Knows nothing of the window.
"""

import os
import shutil
import subprocess

_PROGRAMS = (("pbcopy",), ("wl-copy",), ("xclip", "-selection", "clipboard"))
_NEEDS = {"wl-copy": "WAYLAND_DISPLAY", "xclip": "DISPLAY"}
_PATIENCE = 2.0


def terminal_first() -> bool:
    """Whether the person sits at another machine, so that their terminal is to be asked before any program."""
    return any(os.environ.get(name) for name in ("SSH_TTY", "SSH_CONNECTION", "SSH_CLIENT"))


def copy(text: str) -> bool:
    """Give `text` to the clipboard of the machine the person sits at. False where no program here can.

    Waits for the program, two seconds at most; not for the event loop.
    """
    return any(_filled_by(command, text) for command in _PROGRAMS if _reaches(command[0]))


def _reaches(program: str) -> bool:
    """Whether `program` is there and fills the right clipboard."""
    needed = _NEEDS.get(program)
    display = os.environ.get(needed, "") if needed is not None else ""
    if terminal_first() and not (program == "xclip" and _forwarded(display)):
        return False
    return (needed is None or bool(display)) and shutil.which(program) is not None


def _forwarded(display: str) -> bool:
    """Whether an X11 display is reached over the network: localhost:10.0, where :0 is this machine's."""
    host, colon, _ = display.partition(":")
    return bool(colon) and host not in ("", "unix") and not host.startswith("/")


def _filled_by(command: tuple[str, ...], text: str) -> bool:
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
        return False
    return True
