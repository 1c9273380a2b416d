"""The processes that this one has started."""

import os
import subprocess


def children(of: str = "app.library") -> list[int]:
    """This process's own that run modules `of` a room, by a listing that Linux and macOS both have."""
    rows = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,command="], capture_output=True, text=True).stdout
    found = [row.split(maxsplit=2) for row in rows.splitlines()]
    return [int(pid) for pid, parent, command in found if int(parent) == os.getpid() and of in command]
