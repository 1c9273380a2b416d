"""How many bytes the Hub's client sends and gets, by host, written into this process's ledger.

They are the requests and answers as HTTP has them, before encryption: what encrypting and packets add is not in them,
nor is a request that got no answer. The client says for each answer how much of it has come; nothing is patched and
nothing of the content is looked at.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from app import connections

_LINE = len(" HTTP/1.1\r\n")
_FIELD = len(": \r\n")
_PORTS = {"http": 80, "https": 443}


class Traffic:
    """What the client's requests and answers come to."""

    def __init__(self) -> None:
        self._coming: list[tuple[str, Any, int]] = []
        """By host the answers that may still grow, each with how much of it is written down already."""
        self._lock = threading.Lock()

    def count(self) -> None:
        """Count what the Hub's client does from here on."""
        from huggingface_hub import get_session, set_client_factory

        usual = get_session()
        hooks = {**usual.event_hooks, "response": [*usual.event_hooks["response"], self._comes]}
        make: Callable[..., Any] = type(usual)
        follow, timeout = usual.follow_redirects, usual.timeout
        set_client_factory(lambda: make(event_hooks=hooks, follow_redirects=follow, timeout=timeout))

    def tell(self) -> None:
        """Write down what has come since this was last called."""
        with self._lock:
            coming, self._coming = self._coming, []
            for host, answer, known in coming:
                over, here = answer.is_closed, answer.num_bytes_downloaded
                if here > known:
                    connections.note(host, times=0, received=here - known)
                if not over:
                    self._coming.append((host, answer, here))

    def _comes(self, answer: Any) -> None:
        asked, url = answer.request, answer.request.url
        host = connections.place(url.host, url.port or _PORTS.get(url.scheme))
        body = int(asked.headers.get("content-length", 0))
        sent = len(asked.method) + 1 + len(url.raw_path) + _LINE + _length(asked.headers.raw) + body
        received = _LINE + len("200 ") + len(answer.reason_phrase) + _length(answer.headers.raw)
        connections.note(host, times=0, sent=sent, received=received)
        with self._lock:
            self._coming.append((host, answer, 0))


def _length(fields: Iterable[tuple[bytes, bytes]]) -> int:
    """Bytes of the header's fields and the empty line after them."""
    return sum(len(name) + len(value) + _FIELD for name, value in fields) + 2
