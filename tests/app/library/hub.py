"""A small Hub on loopback: the part of the Hub's API that its client uses, ranges, another host that has the files, and
faults a real one can have."""

import contextlib
import hashlib
import json
import re
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_PIECE = 16 * 1024


@dataclass
class Hub:
    """What the server holds, how it behaves, and what it was asked."""

    url: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict, repr=False)
    said: dict[str, dict[str, object]] = field(default_factory=dict)
    """What the API says of a repository besides its files; only these are found by a search."""
    searches: list[dict[str, list[str]]] = field(default_factory=list)
    """The fields of each search."""
    commit: str = COMMIT
    """What `main` is now; files are served at every commit there ever was."""
    gated: bool = False
    status: int | None = None
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Statuses, and their headers, that the next requests for a file get instead of it, one each."""
    lies: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Content sent instead of the listed one, by file."""
    lying: int | None = None
    """How often it lies; None: always."""
    stall_after: int | None = None
    """Bytes of a weight file after which nothing more comes, until `go_on`."""
    cut_after: int | None = None
    """Bytes of a weight file after which the connection is closed and no other is served."""
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the connection is closed, of the next answers with a weight file, one each."""
    ranges: bool = True
    """Whether it can send a part of a file."""
    shift: int = 0
    """How many bytes too late the parts begin that it sends."""
    rate: int | None = None
    """Bytes a second of each answer; None: as fast as can be."""
    elsewhere: str = ""
    """Where another host is that has the large files, if they are there."""
    blocked: threading.Event = field(default_factory=threading.Event)
    """Set once a client does not take what is sent."""
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    is_gone: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of each request."""
    parts: list[tuple[str, int]] = field(default_factory=list)
    """Of each request for a file its name, and the byte from which on it was asked for."""
    agents: set[str] = field(default_factory=set)
    tokens: set[tuple[str, str]] = field(default_factory=set)
    """Host and path of each request with a token, and the token."""
    bytes_sent: Counter[str] = field(default_factory=Counter)
    """Of the content of each file."""
    on_sent: Callable[[int], object] = lambda total: None
    """Called with the sum of these after each little piece."""

    def sent(self, name: str) -> int:
        """How often the content of a file was asked for."""
        return sum(asked == name for asked, _ in self.parts)


def is_lfs(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", "tokenizer.json"))


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *values: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self.hub.is_gone and self.hub.cut_after is not None:
            self.close_connection = True
            return None
        self.hub.asked.append((self.command, path))
        self.hub.agents.add(self.headers.get("User-Agent", ""))
        if token := self.headers.get("Authorization"):
            self.hub.tokens.add((self.headers["Host"] + path, token))
        if self.hub.status is not None:
            return self._send(self.hub.status, b"{}", {})
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            return self._api("/".join(parts[2:4]), parts[4:])
        return self._file("/".join(parts[:2]), parts[2:])

    def _api(self, repo: str, rest: list[str]) -> None:
        if not repo:
            return self._search(parse_qs(urlsplit(self.path).query))
        files = self.hub.repositories.get(repo)
        if files is None:
            return self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        if rest[:1] == ["revision"] and rest[1] not in ("main", self.hub.commit):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        blobs = "blobs" in parse_qs(urlsplit(self.path).query)
        siblings = [_sibling(name, content) if blobs else {"rfilename": name} for name, content in files.items()]
        told = {"id": repo, "modelId": repo, "sha": self.hub.commit, "tags": [], "private": False}
        return self._json({**told, **self.hub.said.get(repo, {}), "siblings": siblings})

    def _search(self, asked: dict[str, list[str]]) -> None:
        """Models whose names hold all the words and that have all the tags, the most fetched first."""
        self.hub.searches.append(asked)
        words, tags = asked.get("search", [""])[0].lower().split(), {*asked.get("filter", [])}
        fitting = [
            {"id": repo, **said}
            for repo, said in self.hub.said.items()
            if all(word in repo.lower() for word in words) and tags <= {*cast(list[str], said.get("tags", []))}
        ]
        fitting.sort(key=lambda said: -cast(int, said.get("downloads", 0)))
        return self._json(fitting[: int(asked["limit"][0])])

    def _file(self, repo: str, rest: list[str]) -> None:
        name = "/".join(rest[2:])
        content = self.hub.repositories.get(repo, {}).get(name)
        if content is None:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        if self.hub.gated:
            return self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        if self.hub.answers:
            status, headers = self.hub.answers.pop(0)
            return self._send(status, b"", headers)
        etag = hashlib.sha256(content).hexdigest() if is_lfs(name) else blob(content)
        headers = {"X-Repo-Commit": self.hub.commit, "ETag": f'"{etag}"'}
        if is_lfs(name):
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{etag}"'}
            if self.hub.elsewhere and not self._is_elsewhere():
                return self._send(302, b"", {**headers, "Location": f"{self.hub.elsewhere}{self.path}"})
        return self._content(name, content, headers)

    def _is_elsewhere(self) -> bool:
        return self.hub.elsewhere.endswith(f":{self.server.server_address[1]}")

    def _content(self, name: str, content: bytes, headers: dict[str, str]) -> None:
        """A file, or the part of it that is asked for."""
        if name in self.hub.lies and self.hub.lying != 0:
            content = self.hub.lies[name]
            self.hub.lying = None if self.hub.lying is None else self.hub.lying - 1
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.hub.parts.append((name, start))
        if not asked or not self.hub.ranges:
            return self._send(200, content, headers, name)
        if start >= len(content):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        start += self.hub.shift
        part = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self._send(206, content[start:], {**headers, "Content-Range": part}, name)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str], name: str = "") -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        with contextlib.suppress(ConnectionError):
            if not name.endswith(".safetensors"):
                self._write(body, name)
                return
            after = self.hub.stall_after
            if after is not None and len(body) > after:
                self._write(body[:after], name)
                self.hub.stalled.set()
                self.hub.go_on.wait(30)
                body = body[after:]
            if self.hub.cut_after is not None:
                self._write(body[: self.hub.cut_after], name)
                self.hub.is_gone = len(body) > self.hub.cut_after
                self.close_connection = True
                return
            if self.hub.cuts and (cut := self.hub.cuts.pop(0)) < len(body):
                body, self.close_connection = body[:cut], True
            self._write(body, name)

    def _write(self, body: bytes, name: str) -> None:
        """Send it; what is counted as sent is not in our own system's buffer any more, but for little."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * _PIECE)
        begun, rest = time.monotonic(), memoryview(body)
        while rest:
            try:
                done = self.connection.send(rest[:_PIECE], socket.MSG_DONTWAIT)
            except BlockingIOError:
                if not select.select([], [self.connection], [], 0.1)[1]:
                    self.hub.blocked.set()
                continue
            if name:
                self.hub.bytes_sent[name] += done
                self.hub.on_sent(self.hub.bytes_sent.total())
            rest = rest[done:]
            if self.hub.rate is not None:
                ahead = (len(body) - len(rest)) / self.hub.rate - (time.monotonic() - begun)
                if ahead > 0:
                    time.sleep(ahead)


def _sibling(name: str, content: bytes) -> dict[str, object]:
    """What the Hub lists about a file, when it is asked for that."""
    listed: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob(content)}
    if is_lfs(name):
        listed["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return listed


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is part of the test."""


@contextlib.contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` on a free port of the loopback interface."""
    with _serving(hub) as hub.url:
        yield hub


@contextlib.contextmanager
def with_another_host(hub: Hub) -> Iterator[Hub]:
    """Let the large files of a running `hub` be at another port, to which it redirects, as the Hub does."""
    with _serving(hub) as hub.elsewhere:
        yield hub


@contextlib.contextmanager
def _serving(hub: Hub) -> Iterator[str]:
    """A server for `hub`; its URL."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            hub.go_on.set()
            server.shutdown()
            thread.join()
