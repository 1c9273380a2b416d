"""A process for the tests of `app.child`: it says what it is told to, in its own ways."""

import os
import sys
import time
from collections.abc import Sequence

import msgspec

from app import connections
from app.child import Say, serve, tell_connections
from app.errors import QuietlyError


class Word(msgspec.Struct, frozen=True, tag=True):
    text: str


def main(arguments: Sequence[str]) -> None:
    """Do the one of these things that is named."""
    [what] = arguments

    def work(say: Say) -> None:
        match what:
            case "variables":
                for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET"):
                    say(Word(os.environ.get(name, "")))
            case "pid, then nothing":
                say(Word(str(os.getpid())))
                time.sleep(60)
            case "library":
                print("what libraries print")
                say(Word("x" * 1_000_000))
            case "sentence":
                raise QuietlyError("No such thing: choose another.")
            case "no Unicode":
                raise QuietlyError("a\ud800b is no name: choose another.")
            case "error":
                raise ValueError("inner")
            case "connection":
                tell_connections(say, "speaker", "the test")
                connections.note("example.org:443")
            case "half a word":
                os.write(3, b'{"type": "Wo')
                os._exit(3)

    serve(work, lambda error: f"It broke ({error}): mend it.")


if __name__ == "__main__":
    main(sys.argv[1:])
