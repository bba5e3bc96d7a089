"""A data-set hub on this machine: as much of its HTTP interface as `datasets` asks for, and one data set."""

import json
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c0ffee" + "0" * 34


class _Hub(ThreadingHTTPServer):
    def __init__(self, files: Mapping[str, bytes], name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.name = files, name

    def tells(self, path: str) -> Any:
        """Answer what is asked about the data set, or None."""
        api = f"/api/datasets/{self.name}"
        if path in {api, f"{api}/revision/{COMMIT}"}:
            siblings = [{"rfilename": name} for name in self.files]
            return {"_id": "1", "id": self.name, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
        if path.startswith(f"{api}/tree/{COMMIT}"):
            below = path.removeprefix(f"{api}/tree/{COMMIT}").strip("/")
            inside = {name: body for name, body in self.files.items() if name.startswith(below)}
            return [{"type": "file", "path": n, "size": len(b), "oid": _tag(b)} for n, b in inside.items()]
        return None

    def file(self, path: str) -> bytes | None:
        return self.files.get(path.removeprefix(f"/datasets/{self.name}/resolve/{COMMIT}/"))


def _tag(body: bytes) -> str:
    return f"{zlib.crc32(body):040x}"


class _Handler(BaseHTTPRequestHandler):
    server: _Hub

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        metadata, body = self.server.tells(path), self.server.file(path)
        if metadata is None and body is None:
            return self.send_error(404)
        answer = json.dumps(metadata).encode() if body is None else body
        self.send_response(200)
        for key, value in {"Content-Length": len(answer), "ETag": f'"{_tag(answer)}"', "X-Repo-Commit": COMMIT}.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer)
        return None

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(files: Mapping[str, bytes], *, name: str) -> Iterator[str]:
    """Serve a data set's files; yields the hub's address."""
    server = _Hub(files, name)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
