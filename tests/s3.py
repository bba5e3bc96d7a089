"""A real S3 over HTTP: moto's server, which notes what it is asked and can behave as other servers do."""

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

KEY, SECRET = "AKIAMINIMINIMINI", "mini+secret/never-to-be-seen"
ACCOUNT = "123456789012"
Environ = dict[str, Any]
Respond = Callable[..., Any]


@dataclass
class S3:
    """A running server.

    Attributes:
        endpoint: its URL.
        conditional: what it makes of a condition: honour, terse (honours it, but does not say which one failed),
            refuse, or ignore.
        broken: requests whose path holds this word fail.
        delay: seconds before each request is answered.
        requests: method and path of what it was asked, in order.
    """

    endpoint: str = ""
    conditional: Literal["honour", "terse", "refuse", "ignore"] = "honour"
    broken: str | None = None
    delay: float = 0.0
    requests: list[tuple[str, str]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        """What a process needs to find it, and not to wait long for it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
        }  # fmt: skip

    @property
    def objects(self) -> dict[str, Any]:
        """What lies in the bucket: moto's own objects, by key."""
        return dict(self.bucket.keys.items())

    @property
    def bucket(self) -> Any:
        """Moto's own bucket."""
        return _backend().buckets["bucket"]

    def names(self) -> list[str]:
        """List the buckets."""
        return list(_backend().buckets)

    def counted(self) -> Counter[str]:
        """Count the requests so far by what they do, and begin anew."""
        seen, self.requests = self.requests, []
        return Counter("LIST" if method == "GET" and "?list" in path else method for method, path in seen)


@contextmanager
def serving() -> Iterator[S3]:
    """Serve an empty bucket of the name `bucket`."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    state = S3()
    app = _Watched(DomainDispatcherApplication(create_backend_app), state)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.daemon_threads = True
    state.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _backend().create_bucket("bucket", "us-east-1")
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        _backend().reset()


def _backend() -> Any:
    from moto.s3.models import s3_backends

    return s3_backends[ACCOUNT]["aws"]


class _Watched:
    """The server's application, with somebody at the door."""

    def __init__(self, app: Any, state: S3) -> None:
        self._app = app
        self._state = state
        self._one = threading.Lock()  # a check and the write behind it are one: moto's are two

    def __call__(self, environ: Environ, respond: Respond) -> Iterable[bytes]:
        state, method, query = self._state, environ["REQUEST_METHOD"], environ["QUERY_STRING"]
        path = environ["PATH_INFO"] + (f"?{query}" if query else "")
        state.requests.append((method, path))
        time.sleep(state.delay)
        if state.broken is not None and state.broken in path:
            return _fail(respond, "500 Internal Server Error", "InternalError", "We encountered an internal error.")
        user = re.search(r"Credential=([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        if user is None or user[1] != KEY:
            message = "The AWS Access Key Id you provided does not exist in our records."
            return _fail(respond, "403 Forbidden", "InvalidAccessKeyId", message)
        with self._one:
            if method == "PUT" and "HTTP_IF_NONE_MATCH" in environ:
                there = path.removeprefix("/bucket/") in state.objects
                if state.conditional == "refuse":
                    message = "A header you provided implies functionality that is not implemented"
                    return _fail(respond, "501 Not Implemented", "NotImplemented", message)
                if state.conditional == "terse" and there:
                    message = "At least one of the pre-conditions you specified did not hold"
                    return _fail(respond, "412 Precondition Failed", "PreconditionFailed", message)
                if state.conditional == "ignore":
                    del environ["HTTP_IF_NONE_MATCH"]
            return list(self._app(environ, respond))


def _fail(respond: Respond, status: str, code: str, message: str) -> list[bytes]:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    respond(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]
