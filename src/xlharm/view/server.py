"""A local server of one page about runs: it only reads, and answers only who has the token of its address.

It listens on 127.0.0.1, which all users of a machine reach, and pages of other sites in the user's browser as well.
Against the former there is the token; against the latter, the cookie is sent by the same site only (SameSite), and the
Host header must name this machine, so that a foreign name that is made to point here (DNS rebinding) is of no use.
"""

import hmac
import json
import secrets
import sys
from collections.abc import Callable, Sequence
from functools import cache
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined

from xlharm.errors import UserError
from xlharm.plan.build import Plan
from xlharm.report import colours
from xlharm.report.html import template_environment
from xlharm.store.store import Store
from xlharm.view.data import Board

HOST = "127.0.0.1"
_NAMES = {"127.0.0.1", "localhost"}
_PATIENCE = 30.0  # seconds for a client to send its request
_LONGEST = 2000  # characters of a path
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_JSON = "application/json; charset=utf-8"
_Query = dict[str, str]


class ViewServer(ThreadingHTTPServer):
    """Serves the page of some grids.

    Args:
        grids: a plan and its store each.
        port: of this machine; 0 takes a free one.

    Raises:
        UserError: the port is taken, or not allowed.
    """

    daemon_threads = True

    def __init__(self, grids: Sequence[tuple[Plan, Store]], *, port: int = 0) -> None:
        self.board = Board(grids)
        self.token = secrets.token_urlsafe(32)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise UserError(f"--port {port}: cannot be used: {error.strerror or error}") from None

    @property
    def url(self) -> str:
        """The address with its token."""
        return f"http://{HOST}:{self.server_port}/?token={self.token}"

    @property
    def cookie(self) -> str:
        """The cookie's name: browsers keep one jar for all ports of a machine."""
        return f"xlharm-{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where a browser has closed its connection; else what went wrong."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD; everything else is refused."""

    server: ViewServer
    server_version, sys_version = "xlharm", ""
    timeout = _PATIENCE

    def do_GET(self) -> None:
        """Answer a request."""
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        if refused := self._refusal(query.get("token")):
            status, why = refused
            self._send(status, _JSON, json.dumps({"error": why}))
            return
        try:
            status, (kind, text) = HTTPStatus.OK, _PAGES[url.path](self.server.board, query)
        except (KeyError, ValueError) as error:  # a UserError is a ValueError
            why = str(error) if isinstance(error, ValueError) else "there is no such page"
            status, kind, text = HTTPStatus.NOT_FOUND, _JSON, json.dumps({"error": why})
        except OSError as error:
            status, kind, text = HTTPStatus.SERVICE_UNAVAILABLE, _JSON, json.dumps({"error": str(error)})
        self._send(status, kind, text, cookie="token" in query)

    def do_HEAD(self) -> None:
        """Answer as to GET, without the content."""
        self.do_GET()

    def _refusal(self, token: str | None) -> tuple[HTTPStatus, str] | None:
        """Say why a request is refused; None for one that is answered."""
        if len(self.path) > _LONGEST:
            return HTTPStatus.REQUEST_URI_TOO_LONG, "the address is too long"
        if not self._is_for_us():
            return HTTPStatus.MISDIRECTED_REQUEST, "this server is for its own machine alone"
        if not self._may_enter(token):
            return HTTPStatus.FORBIDDEN, "open the address that `xlharm view` has printed, with its token"
        return None

    def _is_for_us(self) -> bool:
        hosts = self.headers.get_all("Host") or []
        name = hosts[0].rpartition(":")[0] if len(hosts) == 1 and ":" in hosts[0] else "".join(hosts)
        site = self.headers.get("Sec-Fetch-Site", "none")
        page = urlsplit(self.path).path == "/"  # only the page itself may be opened from elsewhere
        return len(hosts) == 1 and name in _NAMES and (site in {"none", "same-origin"} or page)

    def _may_enter(self, given: str | None) -> bool:
        if given is None:
            try:
                kept = SimpleCookie(self.headers.get("Cookie", "")).get(self.server.cookie)
            except CookieError:
                kept = None
            given = kept.value if kept is not None else ""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.server.token.encode("ascii"))

    def _send(self, status: HTTPStatus, kind: str, text: str, *, cookie: bool = False) -> None:
        body = text.encode("utf-8")
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if cookie:
            settings = "Path=/; HttpOnly; SameSite=Strict"
            self.send_header("Set-Cookie", f"{self.server.cookie}={self.server.token}; {settings}")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Print nothing: addresses hold the token."""


# -- pages -------------------------------------------------------------------------------------------------------


def _page(board: Board, _: _Query) -> tuple[str, str]:
    shape = json.dumps(board.shape()).replace("<", "\\u003c")  # so that no text can end the element
    title = ", ".join(grid.plan.grid.name for grid in board.grids)
    return "text/html; charset=utf-8", _templates().get_template("view.html.j2").render(title=title, shape=shape)


def _style(_board: Board, _: _Query) -> tuple[str, str]:
    return "text/css; charset=utf-8", _style_text()


def _script(_board: Board, _: _Query) -> tuple[str, str]:
    basics = files("xlharm.report") / "script" / "1-basics.js"
    own = files("xlharm.view") / "page" / "view.js"
    return "text/javascript; charset=utf-8", "\n".join(part.read_text(encoding="utf-8") for part in (basics, own))


def _state(board: Board, query: _Query) -> tuple[str, str]:
    return _JSON, json.dumps(board.changes(int(query.get("since", "0"))))


def _answers(board: Board, query: _Query) -> tuple[str, str]:
    grid = board.grid(query.get("grid", ""))
    return _JSON, json.dumps(grid.answers(query.get("cell", ""), query.get("query", "")))


def _logs(board: Board, query: _Query) -> tuple[str, str]:
    grid = board.grid(query.get("grid", ""))
    return _JSON, json.dumps({"log": grid.log(query["name"])} if "name" in query else {"logs": grid.logs()})


_PAGES: dict[str, Callable[[Board, _Query], tuple[str, str]]] = {
    "/": _page,
    "/style.css": _style,
    "/script.js": _script,
    "/state": _state,
    "/answers": _answers,
    "/logs": _logs,
}


@cache
def _templates() -> Environment:
    return Environment(loader=PackageLoader("xlharm.view", "page"), autoescape=True, undefined=StrictUndefined)


@cache
def _style_text() -> str:
    """Return the report's style, with its scales of colours, and what this page adds."""
    modes = {mode: {measure: colours.swatches(measure, mode) for measure in ("of", "qr")} for mode in ("light", "dark")}
    shared = template_environment().get_template("style.css.j2").render(modes=modes)
    return f"{shared}\n{(files('xlharm.view') / 'page' / 'view.css').read_text(encoding='utf-8')}"
