"""A small Hub on loopback: the part of the Hub's API that its client uses, and faults a real one can have."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server holds, how it behaves, and what it was asked."""

    url: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False
    status: int | None = None
    lies: dict[str, bytes] = field(default_factory=dict)
    """Content sent instead of the listed one, by file."""
    stall_after: int | None = None
    """Bytes of a weight file after which nothing more comes, until `go_on`."""
    cut_after: int | None = None
    """Bytes of a weight file after which the connection is closed and no other is served."""
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    is_gone: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of each request."""
    agents: set[str] = field(default_factory=set)

    def sent(self, name: str) -> int:
        """How often the content of a file was asked for."""
        return sum(method == "GET" and path.endswith(f"/{name}") for method, path in self.asked)


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
        if self.hub.status is not None:
            return self._send(self.hub.status, b"{}", {})
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            return self._api("/".join(parts[2:4]), parts[4:])
        return self._file("/".join(parts[:2]), parts[2:])

    def _api(self, repo: str, rest: list[str]) -> None:
        files = self.hub.repositories.get(repo)
        if files is None:
            return self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        if rest[:1] == ["tree"]:
            entries = []
            for name, content in files.items():
                entry: dict[str, object] = {
                    "type": "file",
                    "path": name,
                    "size": len(content),
                    "oid": blob(content),
                }
                if is_lfs(name):
                    sha = hashlib.sha256(content).hexdigest()
                    entry["lfs"] = {"oid": sha, "size": len(content), "pointerSize": 134}
                entries.append(entry)
            return self._json(entries)
        if rest[:1] == ["revision"] and rest[1] not in ("main", COMMIT):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        return self._json({"id": repo, "modelId": repo, "sha": COMMIT, "siblings": [], "tags": [], "private": False})

    def _file(self, repo: str, rest: list[str]) -> None:
        name = "/".join(rest[2:])
        content = self.hub.repositories.get(repo, {}).get(name)
        if content is None:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        if self.hub.gated:
            return self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        etag = hashlib.sha256(content).hexdigest() if is_lfs(name) else blob(content)
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}
        if is_lfs(name):
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{etag}"'}
        return self._send(200, self.hub.lies.get(name, content), headers, name)

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
            after = self.hub.stall_after
            if after is not None and name.endswith(".safetensors") and len(body) > after:
                self.wfile.write(body[:after])
                self.wfile.flush()
                self.hub.stalled.set()
                self.hub.go_on.wait(30)
                body = body[after:]
            if self.hub.cut_after is not None and name.endswith(".safetensors"):
                self.wfile.write(body[: self.hub.cut_after])
                self.hub.is_gone = len(body) > self.hub.cut_after
                self.close_connection = True
                return
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is part of the test."""


@contextlib.contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` on a free port of the loopback interface."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with _Server(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.go_on.set()
            server.shutdown()
            thread.join()
