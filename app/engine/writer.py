"""What a worker says to the window: sent by a thread of its own, text gathered, so that a fast model does not wake the
window for every token. It knows no model."""

import os
import queue
import threading
import time
from typing import BinaryIO

from app.engine import protocol
from app.engine.protocol import Delta, Progress, Reply

_MESSAGES_A_SECOND = 30


class Writer:
    """Sends replies from a thread of its own, text and progress gathered to about thirty messages a second."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._deaf = False
        """Whether nobody reads what is sent; the end of the input follows, and ends the process."""
        self._replies: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def send(self, reply: Reply) -> None:
        self._replies.put(reply)

    def close(self) -> None:
        """Send what was given, and stop."""
        self._replies.put(None)
        self._thread.join(timeout=2)

    def _run(self) -> None:
        interval = 1 / _MESSAGES_A_SECOND
        held: Delta | Progress | None = None
        due = 0.0
        while True:
            try:
                reply = self._replies.get(timeout=max(0.0, due - time.monotonic()) if held else None)
            except queue.Empty:
                reply, held = held, None  # nothing has joined it in time
            else:
                if held and (joined := _joined(held, reply)):
                    held = joined
                    continue
                if held:
                    self._write(held)
                    held = None
                    due = time.monotonic() + interval
                if isinstance(reply, Delta | Progress):
                    held = reply  # the first words of an answer find `due` in the past and go at once
                    continue
            if reply is None:
                return
            self._write(reply)
            due = time.monotonic() + interval

    def _write(self, reply: Reply) -> None:
        if self._deaf:
            return
        try:
            self._stream.write(protocol.frame(reply))
            self._stream.flush()
        except BrokenPipeError:
            self._deaf = True
        except ValueError:
            os._exit(0)


def _joined(held: Delta | Progress, reply: Reply | None) -> Delta | Progress | None:
    """One message that says what both say; None where they belong to different things."""
    match held, reply:
        case Delta(), Delta() if (held.id, held.part) == (reply.id, reply.part):
            return Delta(held.id, held.part, held.text + reply.text)
        case Progress(), Progress() if (held.id, held.stage, held.total) == (reply.id, reply.stage, reply.total):
            return reply
    return None
