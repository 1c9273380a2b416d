"""Another's program, run for someone who may die first: `python -m app.benching.guarded PROGRAM ARGUMENT...`.

What it prints goes through. Behind that comes one line of our own: its exit status, and the most memory that it held.
When standard input ends, so do both, with all that they have started. It knows nothing of the program.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in which the system counts the memory of a process."""


def main(command: Sequence[str]) -> None:
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.exit(f"it could not be started: {error.strerror}")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _, status, used = os.wait4(process.pid, 0)  # only this tells what the process held
    process.returncode = os.waitstatus_to_exitcode(status)
    print(f"\n{json.dumps({'status': process.returncode, 'memory': used.ru_maxrss * _UNIT})}")


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
