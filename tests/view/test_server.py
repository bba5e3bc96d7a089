"""Who may ask, and what: this machine's browser with the token, and nothing but GET."""

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from xlharm.errors import UserError
from xlharm.plan.build import Plan
from xlharm.store.store import Store
from xlharm.view.server import ViewServer

PATHS = ("/", "/style.css", "/script.js", "/state?since=0", "/answers?grid=0&cell=de/en/npo/0&query=en", "/logs?grid=0")


@pytest.fixture(scope="module")
def server(plan: Plan, full: Store) -> Iterator[ViewServer]:
    with ViewServer([(plan, Store(full.url, writes=False))]) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one
        one.shutdown()


def ask(server: ViewServer, path: str, *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=names)
    answer = connection.getresponse()
    text = answer.read().decode("utf-8")
    connection.close()
    return answer.status, dict(answer.getheaders()), text


def cookie(server: ViewServer) -> str:
    return f"{server.cookie}={server.token}"


@pytest.mark.parametrize("path", PATHS)
def test_with_the_cookie_everything_is_answered(server: ViewServer, path: str) -> None:
    status, headers, text = ask(server, path, Cookie=cookie(server))
    assert (status, bool(text)) == (200, True)
    assert "Set-Cookie" not in headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';")
    assert "unsafe" not in policy
    assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-store")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers", [{}, {"Cookie": "xlharm=x"}, {"Cookie": "broken; ="}], ids=["no cookie", "another", "broken"]
)
def test_without_the_token_nothing_is(server: ViewServer, path: str, headers: dict[str, str]) -> None:
    status, sent, text = ask(server, path, **headers)
    assert status == 403
    assert "Set-Cookie" not in sent
    assert server.token not in text
    wrong = server.token[:-1] + ("a" if server.token[-1] != "a" else "b")
    assert ask(server, path, Cookie=f"{server.cookie}={wrong}")[0] == 403


def test_the_printed_address_gives_the_cookie(server: ViewServer) -> None:
    path = server.url.partition(f":{server.server_port}")[2]
    status, headers, text = ask(server, path)
    assert status == 200
    assert headers["Set-Cookie"] == f"{cookie(server)}; Path=/; HttpOnly; SameSite=Strict"
    assert server.token not in text
    assert ask(server, "/?token=wrong", Cookie=cookie(server))[0] == 403
    assert ask(server, "/?token=%00%ff", Cookie=cookie(server))[0] == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200), ("localhost:{port}", 200), ("localhost:8400", 200), ("localhost", 200),
        ("evil.example:{port}", 421), ("evil.example", 421), ("127.0.0.1.evil.example:{port}", 421),
        ("localhost.evil.example", 421), ("", 421), ("0.0.0.0:{port}", 421),
    ],
)  # fmt: skip
def test_only_names_of_this_machine_are_answered(server: ViewServer, host: str, status: int) -> None:
    headers = {"Host": host.format(port=server.server_port), "Cookie": cookie(server)}
    assert ask(server, "/state", **headers)[0] == status


def test_other_sites_get_nothing(server: ViewServer) -> None:
    for site in ("cross-site", "same-site"):
        for path in PATHS[1:]:
            assert ask(server, path, Cookie=cookie(server), Sec_Fetch_Site=site)[0] == 421
    assert ask(server, PATHS[3], Cookie=cookie(server), Sec_Fetch_Site="same-origin")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_only_reads(server: ViewServer, method: str) -> None:
    assert ask(server, "/state", method=method, Cookie=cookie(server))[0] == 501
    status, _, text = ask(server, "/state", method="HEAD", Cookie=cookie(server))
    assert (status, text) == (200, "")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404), ("/../etc/passwd", 404), ("/state?since=x", 404), ("/state?since=", 404),
        ("/answers", 404), ("/answers?grid=0&cell=de&query=en", 404),
        ("/answers?grid=9&cell=de/en/npo/0&query=en", 404),
        ("/logs?grid=0&name=../../etc/passwd", 404), ("/?" + "x" * 3000, 414), ("//evil.example/", 404),
    ],
)  # fmt: skip
def test_what_is_not_there(server: ViewServer, path: str, status: int) -> None:
    got, _, text = ask(server, path, Cookie=cookie(server))
    assert got == status
    assert json.loads(text)["error"]


def test_no_text_can_end_the_element_with_the_shape(server: ViewServer, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = [{"name": "</script><script>alert(1)</script>"}]
    monkeypatch.setattr(server.board, "shape", lambda: shape)
    _, _, text = ask(server, "/", Cookie=cookie(server))
    assert "alert(1)</script>" not in text
    assert text.count("<script") == 2
    inside = text.partition('id="shape">')[2].partition("</script>")[0]
    assert json.loads(inside) == shape


def test_answers_as_they_are(server: ViewServer) -> None:
    _, headers, text = ask(server, PATHS[4], Cookie=cookie(server))
    found: dict[str, Any] = json.loads(text)
    assert len(found["answer"]) == 200
    assert headers["Content-Type"].startswith("application/json")


def test_a_port_that_is_taken(server: ViewServer, plan: Plan, full: Store) -> None:
    with pytest.raises(UserError, match=f"--port {server.server_port}: cannot be used"):
        ViewServer([(plan, full)], port=server.server_port)
