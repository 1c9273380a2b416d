"""`quietly`: without arguments the window, with arguments the commands. Nothing slow is imported before the window, and
what connects anywhere is written down from the first line on."""

import os
import sys

from app.connections import watch

_NO_TERMINAL = (
    "Quietly's window needs a terminal for input, output and errors alike (no `2>`); without one, ask with "
    '`quietly ask "..."` (see `quietly --help`).'
)


def main() -> None:
    """Start what was asked for; ends the process with its exit status."""
    _open_closed_streams()
    watch("command" if len(sys.argv) > 1 else "window")
    if len(sys.argv) > 1:
        from app.cli import run

        run()
    elif all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        import gc

        gc.disable()  # until the first frame: `run_window` turns it on again
        from app.tui.app import run_window

        sys.exit(run_window())
    else:
        # Whoever sent the errors elsewhere looks at what is left.
        print(_NO_TERMINAL, file=sys.stdout if sys.stdout.isatty() else sys.stderr)
        sys.exit(1)


def _open_closed_streams() -> None:
    """Who starts us with a closed stream wants nothing from it; left closed, the database could take its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


if __name__ == "__main__":
    main()
