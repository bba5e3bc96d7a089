"""A W&B server on this machine: it keeps what runs send, and fails as it is told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "someone"
_VIEWER = {"id": "v", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}


@dataclass
class SentRun:
    """What one run has sent: lines of its history, its summary, the names of its files."""

    project: str
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)


@dataclass
class WandbServer:
    """The server's state.

    Attributes:
        url: its address.
        runs: what was sent, by run id.
        stream: how the file stream answers: an HTTP status, or 0 for no answer until the server ends.
        stream_limit: how many lines of history the file stream takes before it answers ``stream``; None: no limit.
        taken: lines of history taken so far.
        free_starts: how many runs may start before each further start is answered with 429; None: all.
        refused: starts answered with 429.
        started: ids of runs in the order of their starts.
    """

    url: str = ""
    runs: dict[str, SentRun] = field(default_factory=dict)
    stream: int = 200
    stream_limit: int | None = None
    taken: int = 0
    started: list[str] = field(default_factory=list)
    free_starts: int | None = None
    refused: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer a GraphQL call."""
        answers = {
            "upsertBucket": self._started,
            "RunResumeStatus": self._resumed,
            "createRunFiles": self._files,
            "createArtifact": _stored_artifact,
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "query Viewer": lambda _: {"viewer": _VIEWER},
        }
        answer = next((answers[name] for name in answers if name in query), lambda _: {"project": None})
        return answer(variables)

    def _started(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["name"]
        self.started.append(name)
        run = self.runs.setdefault(name, SentRun(project=variables["project"]))
        project = {"name": run.project, "entity": {"name": variables.get("entity") or ENTITY}}
        bucket = {
            "id": f"id-{name}", "name": name, "displayName": variables.get("displayName"), "project": project,
            "description": None, "config": "{}", "sweepName": None, "historyLineCount": len(run.history),
        }  # fmt: skip
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def _files(self, variables: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
        self.runs[variables["run"]].files += variables["files"]
        return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}

    def limited(self, name: str) -> bool:
        """Whether the start of a run is answered with 429, too many requests."""
        if self.free_starts is None or name in self.started or len({*self.started}) < self.free_starts:
            return False
        self.refused += 1
        return True

    def _resumed(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["name"]
        run = self.runs.get(name)
        bucket = run and {
            "name": name, "displayName": name, "historyLineCount": len(run.history), "eventsLineCount": 0,
            "logLineCount": 0, "historyTail": json.dumps([json.dumps(line) for line in run.history[-1:]]),
            "eventsTail": "[]", "summaryMetrics": json.dumps(run.summary), "config": "{}", "tags": [],
            "wandbConfig": json.dumps({"t": 1}), "id": f"id-{name}",
        }  # fmt: skip
        return {"model": {"id": "m", "name": variables["project"], "bucket": bucket}}

    def file_stream(self, name: str, body: dict[str, Any]) -> int:
        """Keep a part of a run's file stream; return the answer's status."""
        files = body.get("files") or {}
        lines = (files.get("wandb-history.jsonl") or {}).get("content") or []
        if self.stream != 200 and self.taken + len(lines) > (self.stream_limit or 0):
            if self.stream == 0:
                self.ended.wait()
                return 500
            return self.stream
        run = self.runs[name]
        if lines:
            offset = files["wandb-history.jsonl"]["offset"]
            run.history[offset:] = [json.loads(line) for line in lines]
            self.taken += len(lines)
        for line in (files.get("wandb-summary.json") or {}).get("content") or []:
            run.summary.update(json.loads(line))
        return 200


def _stored_artifact(_: dict[str, Any]) -> dict[str, Any]:
    """Say that the server has an artifact's contents already, so that nothing is uploaded."""
    sequence = {"id": "s", "latestArtifact": None}
    return {"createArtifact": {"artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": sequence}}}


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """Serve on a free port of this machine."""
    state = WandbServer()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, status: int, value: object) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_GET(self) -> None:
            self._answer(200, {})

        def do_PUT(self) -> None:
            self._body()
            self._answer(200, {})

        def do_POST(self) -> None:
            body = json.loads(self._body() or b"{}")
            if self.path.endswith("/graphql"):
                limited = "upsertBucket" in body["query"] and state.limited(body["variables"]["name"])
                answer = {} if limited else {"data": state.graphql(body["query"], body.get("variables") or {})}
                self._answer(429 if limited else 200, answer)
            elif self.path.endswith("/file_stream"):
                status = state.file_stream(self.path.split("/")[-2], body)
                self._answer(status, {})
            else:
                self._answer(404, {})

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.ended.set()
        server.shutdown()
        server.server_close()
