"""Doing something slow aside, also where what is wanted changes with every key."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from textual.dom import DOMNode
from textual.worker import Worker

Wanted = TypeVar("Wanted")


Work = Callable[[], Coroutine[Any, Any, Any]]
"""What is done aside: a function and not its coroutine, which nobody would await if it ended before it has begun."""


def aside(node: DOMNode, work: Work, group: str = "default") -> Worker[Any]:
    """Do `work` while the window goes on. It ends with `node`, a widget or the app."""
    return node.run_worker(work, group=group, exit_on_error=False)


def in_place(node: DOMNode, group: str, work: Work) -> Worker[Any]:
    """Do `work` aside, in place of what was begun last in its `group`."""
    return node.run_worker(work, group=group, exclusive=True, exit_on_error=False)


class Following(Generic[Wanted]):
    """Does one thing at a time, and then the last that was wanted meanwhile. It ends with its widget."""

    def __init__(self, node: DOMNode, do: Callable[[Wanted], Awaitable[None]]) -> None:
        self._node, self._do = node, do
        self._next: list[Wanted] = []
        """Nothing, or what is wanted next."""
        self._under_way = False

    def want(self, wanted: Wanted) -> None:
        """Do it for `wanted`, as soon as what is being done has ended."""
        self._next = [wanted]
        if not self._under_way:
            self._begin()

    def _begin(self) -> None:
        if self._next:
            self._under_way = True
            aside(self._node, partial(self._run, self._next.pop()))

    async def _run(self, wanted: Wanted) -> None:
        try:
            await self._do(wanted)
        except asyncio.CancelledError:
            self._next.clear()  # the widget has gone
            raise
        finally:
            self._under_way = False
            self._begin()
