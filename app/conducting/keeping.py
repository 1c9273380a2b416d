"""Keeping what is being written: a growing answer on disk a few times a second, its end once, all of it aside.

The disk may take its time, and another program may hold the file: typing waits for neither. Knows no engine but for
what it said at the end of an answer, and no screen.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from app.conducting.lives import Live, News, Trouble
from app.errors import QuietlyError

if TYPE_CHECKING:
    from app.chat.store import Message, Outcome
    from app.conducting.stores import Stores
    from app.engine.protocol import Finished

HELD = 60.0
"""Seconds that the end of an answer waits for a file that another program holds."""


class Keeper:
    """Writes lives to their stores."""

    def __init__(
        self,
        stores: "Stores",
        post: Callable[[News], object],
        report: Callable[[BaseException], str],
        stop: Callable[[Live], object],
    ) -> None:
        """`stop` is called with a live that cannot be stored any further."""
        self._stores, self._post, self._report, self._stop = stores, post, report, stop
        self._tasks: set[asyncio.Task[None]] = set()
        self.closing = False
        """Whether the program is about to end: then nothing is waited for."""

    def aside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` without anyone waiting for it, but for `drain`."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, timeout: float) -> None:
        """Wait for what is on its way to the disk, so many seconds at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    # --- as it grows ---

    def write_soon(self, live: Live) -> None:
        """It has grown: write it before long, and never beside an earlier write that the disk keeps waiting."""
        if live.write_due is None:
            from app.answering import STORE_EVERY

            live.write_due = asyncio.get_running_loop().call_later(STORE_EVERY, self._write, live)

    def cancel(self, live: Live) -> None:
        """What was to be written soon need not be."""
        if live.write_due is not None:
            live.write_due.cancel()
            live.write_due = None

    def _write(self, live: Live) -> None:
        self.aside(self._write_aside(live))

    async def _write_aside(self, live: Live) -> None:
        from app.chat.failures import HeldError

        # A write that comes after the answer's end changes nothing.
        store, words = self._stores.of(live.message), _words(live)
        try:
            await asyncio.to_thread(store.write, live.message, *words)
        except HeldError:
            pass  # the next write, or the last, finds the file free again
        except Exception as error:
            if not live.stopping and not live.over:
                self._tell_unsaved(live, error)
                self._stop(live)
        finally:
            live.write_due = None
            if not live.over and _words(live) != words:
                self.write_soon(live)

    # --- its end ---

    async def keep(self, live: Live, status: "Outcome", note: str, finished: "Finished | None") -> "Message | None":
        """Record the end of an answer, waiting for a file that is held; None where it could not be stored."""
        from app.chat.failures import HeldError

        deadline = time.monotonic() + HELD
        while True:
            try:
                return await asyncio.to_thread(self.record, live, status, note, finished)
            except HeldError as error:
                live.stage = "waiting for the conversations file"
                live.version += 1
                if self.closing or time.monotonic() > deadline:
                    self._tell_unsaved(live, error)
                    return None
            except Exception as error:
                self._tell_unsaved(live, error)
                return None

    def record(self, live: Live, status: "Outcome", note: str = "", finished: "Finished | None" = None) -> "Message":
        """Record the end of an answer, now. Raises what the store raises."""
        from app.answering import record

        return record(
            self._stores.of(live.message),
            live.message,
            status,
            answer=live.written.answer,
            reasoning=live.written.reasoning,
            note=note,
            facts=live.turn.facts if live.turn is not None else None,
            finished=finished,
            begun=live.begun,
        )

    def save(self, live: Live) -> None:
        """Record a running answer as interrupted, at once: for an end that leaves no time to wait."""
        self.cancel(live)
        with contextlib.suppress(QuietlyError):  # then what was written last stands, as interrupted
            self.record(live, "interrupted")

    def _tell_unsaved(self, live: Live, error: Exception) -> None:
        if live.unsaved or live.forgotten:
            return  # said already, or deleted meanwhile
        live.unsaved = True
        reason = str(error) if isinstance(error, QuietlyError) else self._report(error)
        self._post(Trouble(f"The answer could not be saved; copy what you need from the screen. {reason}"))


def _words(live: Live) -> tuple[str, str]:
    return live.written.answer, live.written.reasoning
