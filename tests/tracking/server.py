"""A W&B server on this machine: it keeps what runs send, and fails as it is told."""

import base64
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
    entity: str | None = None
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
        views: workspaces and reports as the last mutation left them, by their ids.
        charts: custom charts by `entity/name`; a second one of the same name is refused.
        artifacts: what was said of artifacts, in the order of their creation.
    """

    url: str = ""
    runs: dict[str, SentRun] = field(default_factory=dict)
    stream: int = 200
    stream_limit: int | None = None
    taken: int = 0
    started: list[str] = field(default_factory=list)
    free_starts: int | None = None
    refused: int = 0
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    charts: dict[str, Any] = field(default_factory=dict)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer a GraphQL call."""
        answers = {
            "upsertBucket": self._started,
            "RunResumeStatus": self._resumed,
            "createRunFiles": self._files,
            "createArtifact(": self._stored_artifact,
            "createCustomChart": self._new_chart,
            "upsertView": self._kept_view,
            "allViews": self._all_views,
            "SpecificReport": lambda given: {"view": self._shown(self.views[given["reportId"]])},
            "ProjectInternalId": self._project,
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "viewer": lambda _: {"viewer": _VIEWER},
            "models(": self._projects,
        }
        answer = next((answers[name] for name in answers if name in query), lambda _: {"project": None})
        return answer(variables)

    def _started(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["name"]
        self.started.append(name)
        run = self.runs.setdefault(name, SentRun(project=variables["project"], entity=variables.get("entity")))
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

    def _projects(self, _: dict[str, Any]) -> dict[str, Any]:
        names = sorted({run.project for run in self.runs.values()})
        nodes = [
            {"id": n, "name": n, "entityName": ENTITY, "createdAt": "2026-01-01T00:00:00Z", "isBenchmark": False,
             "access": "PRIVATE", "internalId": n, "user": None} for n in names
        ]  # fmt: skip
        edges = [{"cursor": node["name"], "node": node} for node in nodes]
        return {"models": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}

    def _project(self, given: dict[str, Any]) -> dict[str, Any]:
        known = any(run.project == given["projectName"] for run in self.runs.values())
        return {"project": {"id": "p", "internalId": f"internal-{given['projectName']}"} if known else None}

    def _new_chart(self, given: dict[str, Any]) -> dict[str, Any]:
        name = f"{given['entity']}/{given['chartName']}"
        if name in self.charts:
            raise ValueError(f"a chart named {given['chartName']} already exists")
        self.charts[name] = json.loads(given["spec"])
        return {"createCustomChart": {"chart": {"id": name}}}

    def _kept_view(self, given: dict[str, Any]) -> dict[str, Any]:
        new = base64.b64encode(f"view-{len(self.views):04}".encode()).decode().rstrip("=")
        found = given.get("id") or new
        inserted = found not in self.views
        self.views[found] = {**given, "id": found}
        return {"upsertView": {"view": self._shown(self.views[found]), "inserted": inserted}}

    def _shown(self, view: dict[str, Any]) -> dict[str, Any]:
        project = {"id": "p", "name": view["projectName"], "entityName": view["entityName"]}
        kept = {name: view[name] for name in ("id", "name", "displayName", "description", "type", "spec")}
        times = dict.fromkeys(("createdAt", "updatedAt"), "2026-01-01T00:00:00Z")
        return {**kept, **times, "project": project, "user": {"username": ENTITY, "photoUrl": None, "email": None}}

    def _all_views(self, given: dict[str, Any]) -> dict[str, Any]:
        kind, name = given.get("viewType") or "runs", given.get("viewName")
        some = [v for v in self.views.values() if v["type"] == kind and name in (None, v["name"])]
        edges = [{"cursor": view["id"], "node": self._shown(view)} for view in some]
        return {"project": {"allViews": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}}

    def _stored_artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        """Say that the server has an artifact's contents already, so that nothing is uploaded."""
        self.artifacts.append(given)
        sequence = {"id": "s", "latestArtifact": None}
        return {"createArtifact": {"artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": sequence}}}

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


@contextmanager
def wandb_server() -> Iterator[WandbServer]:  # noqa: C901 - a handler with a few lines for each kind of request
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
                self._answer(429 if limited else 200, {} if limited else self._graphql(body))
            elif self.path.endswith("/file_stream"):
                status = state.file_stream(self.path.split("/")[-2], body)
                self._answer(status, {})
            else:
                self._answer(404, {})

        def _graphql(self, body: dict[str, Any]) -> dict[str, Any]:
            try:
                return {"data": state.graphql(body["query"], body.get("variables") or {})}
            except ValueError as error:
                return {"data": None, "errors": [{"message": str(error)}]}

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # W&B's core sends many files at once
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.ended.set()
        server.shutdown()
        server.server_close()
