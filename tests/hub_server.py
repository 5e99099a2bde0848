"""A hub of data sets on the loopback interface: what `datasets` and `huggingface_hub` ask of one, answered from memory.

It speaks for itself: nothing of the two libraries is imported here.
"""

import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_NOT_FOUND = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
_NO_ENTRY = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
_NO_REVISION = {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"}


@dataclass
class Hub:
    """A server of data sets, to be used in a `with` statement.

    Attributes:
        datasets: The files of each data set, by its id and their paths; those
            of a revision other than `main` by `ID@REVISION`.
        gated: Ids whose files are for those only who have agreed to something.
        requests: What was asked for, method and path.
    """

    datasets: Mapping[str, Mapping[str, bytes]]
    gated: tuple[str, ...] = ()
    requests: list[str] = field(default_factory=list)

    def __enter__(self) -> "Hub":
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def address(self) -> str:
        """What HF_ENDPOINT is to be."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Returns status, headers and content for a path."""
        parts = urllib.parse.unquote(urllib.parse.urlsplit(path).path).strip("/").split("/")
        if parts[:2] == ["api", "datasets"]:
            return self._api(parts[2:], body)
        if parts[0] == "datasets" and "resolve" in parts:
            at = parts.index("resolve")
            return self._file("/".join(parts[1:at]), parts[at + 1], "/".join(parts[at + 2 :]))
        return 404, _NO_ENTRY, b""

    def _find(self, name: str, revision: str) -> str | None:
        """Returns the key of a data set's revision: a name or a commit."""
        keys = (name, f"{name}@{revision}", *self.datasets)
        matching = (key for key in keys if key in self.datasets and key.partition("@")[0] == name)
        return next((key for key in matching if revision in (key.partition("@")[2] or "main", commit(key))), None)

    def _api(self, parts: list[str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        verbs = [place for place, part in enumerate(parts) if part in ("revision", "tree", "paths-info")]
        at = verbs[0] if verbs else len(parts)
        name, revision = "/".join(parts[:at]), parts[at + 1] if verbs else "main"
        if name not in self.datasets:
            return 401, _NOT_FOUND, json.dumps({"error": "Repository not found"}).encode()
        key = self._find(name, revision)
        if key is None:
            return 404, _NO_REVISION, json.dumps({"error": f"Invalid rev id: {revision}"}).encode()
        files = self.datasets[key]
        if at == len(parts) or parts[at] == "revision":
            return _json(_described(name, commit(key), files))
        if parts[at] == "tree":
            return _json(_listed(files, "/".join(parts[at + 2 :])))
        wanted = urllib.parse.parse_qs(body.decode()).get("paths") or json.loads(body or b"{}").get("paths", [])
        return _json([_entry(name, files[name]) for name in wanted if name in files])

    def _file(self, name: str, revision: str, path: str) -> tuple[int, dict[str, str], bytes]:
        if name not in self.datasets:
            return 401, _NOT_FOUND, b""
        if name in self.gated:
            return 403, {"X-Error-Code": "GatedRepo", "X-Error-Message": f"Access to dataset {name} is restricted"}, b""
        key = self._find(name, revision)
        if key is None:
            return 404, _NO_REVISION, b""
        content, headers = self.datasets[key].get(path), {"X-Repo-Commit": commit(key)}
        if content is None:
            return 404, {**_NO_ENTRY, **headers}, b""
        return 200, {"ETag": f'"{_digest(content)}"', "Accept-Ranges": "bytes", **headers}, content


def commit(key: str) -> str:
    """Returns the commit of a data set's revision."""
    return _digest(key.encode())


def _described(name: str, revision: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "_id": "0", "id": name, "sha": revision, "private": False, "gated": False, "disabled": False, "downloads": 0,
        "likes": 0, "tags": [], "siblings": [{"rfilename": path} for path in files],
    }  # fmt: skip


def _listed(files: Mapping[str, bytes], folder: str) -> list[dict[str, Any]]:
    """All that lies below a folder, whatever was asked for: a client filters what it is sent."""
    below = {path: content for path, content in files.items() if not folder or path.startswith(f"{folder}/")}
    folders = sorted({path.rpartition("/")[0] for path in below} - {"", folder})
    return [{"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in folders] + [
        _entry(path, content) for path, content in below.items()
    ]


def _entry(path: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "oid": _digest(content), "size": len(content), "path": path}


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _json(value: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _handler(hub: Hub) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # noqa: N802
            hub.requests.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, content = hub.answer(self.path, body)
            asked = self.headers.get("Range", "")
            if asked.startswith("bytes=") and status == 200:
                first, _, last = asked.removeprefix("bytes=").partition("-")
                start, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
                headers = {**headers, "Content-Range": f"bytes {start}-{end}/{len(content)}"}
                status, content = 206, content[start : end + 1]
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    return Handler
