"""A real chat-completions server whose behaviour a test chooses."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What the server does with one request; ``cut`` sends only so many bytes of the body and hangs up."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: float = 0.0


def completion(text: str | None, *, finish: str = "stop", refusal: str | None = None) -> Answer:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    return Answer(body=json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode())


def verdict(word: str, why: str = "because") -> Answer:
    """Judge as the prompts ask for it."""
    return completion(json.dumps({"verdict": word, "rationale": why}))


Behaviour = Callable[[dict[str, Any], dict[str, str]], Answer]


@dataclass
class ChatServer:
    """Requests seen, and what to answer: ``behave`` gets the request's JSON and headers."""

    behave: Behaviour
    requests: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def serving(behave: Behaviour) -> Iterator[ChatServer]:
    state = ChatServer(behave)
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                state.requests.append({**request, "path": self.path})
                answer = state.behave(request, dict(self.headers))
            if answer.stall:
                stop.wait(answer.stall)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body if answer.cut is None else answer.body[: answer.cut])
            if answer.cut is not None:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield state
    finally:
        stop.set()
        server.shutdown()
        server.server_close()


def scripted(*answers: Answer) -> Behaviour:
    """Give the answers in order, the last one for ever."""
    left = list(answers)
    return lambda _request, _headers: left.pop(0) if len(left) > 1 else left[0]
