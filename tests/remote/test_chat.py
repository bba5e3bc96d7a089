"""The client against a real server that stalls, lies, hangs up, limits its rate and echoes secrets."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.remote.server import Answer, completion, scripted, serving
from xlharm.errors import UserError
from xlharm.remote.chat import ChatClient
from xlharm.remote.endpoint import Endpoint, Messages

pytestmark = pytest.mark.slow

ASK: Messages = (("system", "Be brief."), ("user", "Which colour?"))


def asks(count: int) -> list[Messages]:
    return [(("user", f"question {i}"),) for i in range(count)]


def client(url: str, *, cache: Path | None = None, **fields: Any) -> tuple[ChatClient, list[float]]:
    waits: list[float] = []
    endpoint = Endpoint(url=url, model="m", **{"attempts": 4, "timeout": 5.0, **fields})
    return ChatClient(endpoint, cache=cache, sleep=waits.append), waits


def test_an_answer_is_asked_for_once_and_kept(tmp_path: Path) -> None:
    with serving(scripted(completion("blue"))) as server:
        chat, _ = client(server.url, cache=tmp_path)
        assert chat.ask_all([ASK])[0].text == "blue"
        assert client(server.url, cache=tmp_path)[0].ask_all([ASK])[0].text == "blue"
        assert len(server.requests) == 1
        assert server.requests[0]["path"] == "/v1/chat/completions"
        assert server.requests[0]["temperature"] == 0


def test_another_model_or_question_is_another_answer(tmp_path: Path) -> None:
    with serving(scripted(completion("a"), completion("b"), completion("c"))) as server:
        client(server.url, cache=tmp_path)[0].ask_all([ASK])
        other = Endpoint(url=server.url, model="n")
        assert ChatClient(other, cache=tmp_path).ask_all([ASK])[0].text == "b"
        assert client(server.url, cache=tmp_path)[0].ask_all(asks(1))[0].text == "c"


def test_the_same_answers_serve_another_address(tmp_path: Path) -> None:
    with serving(scripted(completion("blue"))) as server:
        client(server.url, cache=tmp_path)[0].ask_all([ASK])
    assert client("http://127.0.0.1:9/v1", cache=tmp_path)[0].ask_all([ASK])[0].text == "blue"


def test_a_busy_server_is_given_the_time_it_asks_for() -> None:
    with serving(scripted(Answer(429, headers={"Retry-After": "7"}), Answer(503), completion("ok"))) as server:
        chat, waits = client(server.url)
        assert chat.ask_all([ASK])[0].text == "ok"
        assert waits[0] == 7
        assert 2 <= waits[1] <= 4  # half to all of 2²


@pytest.mark.parametrize(
    "broken",
    [
        Answer(500),
        Answer(200, b'{"choices": [{"message": {"content": "blu', cut=20),
        Answer(200, b'{"choices": [{"message": {"cont'),
        Answer(200, b"<html>busy</html>"),
        Answer(200, b'{"choices": []}'),
        Answer(200, b"[1, 2]"),
    ],
)
def test_a_broken_answer_is_asked_for_again(broken: Answer) -> None:
    with serving(scripted(broken, broken, completion("blue"))) as server:
        assert client(server.url)[0].ask_all([ASK])[0].text == "blue"
        assert len(server.requests) == 3


def test_what_never_comes_is_a_problem_and_costs_no_other_answer() -> None:
    def behave(request: dict[str, Any], _headers: dict[str, str]) -> Answer:
        return Answer(500) if request["messages"][0]["content"] == "question 1" else completion("ok")

    with serving(behave) as server:
        replies = client(server.url)[0].ask_all(asks(4))
    assert [r.text for r in replies] == ["ok", "", "ok", "ok"]
    assert replies[1].problem == "unavailable"
    assert replies[1].detail == "HTTP 500, 4 attempts"


def test_a_server_that_stalls_is_left_after_the_timeout() -> None:
    with serving(scripted(Answer(200, stall=30), completion("ok"))) as server:
        assert client(server.url, timeout=0.3)[0].ask_all([ASK])[0].text == "ok"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (completion("half a sent", finish="length"), "truncated"),
        (completion(None, refusal="I cannot help with that."), "refusal"),
        (completion("  "), "junk"),
        (Answer(422), "rejected"),
    ],
)
def test_answers_that_are_none_are_not_asked_for_again(answer: Answer, problem: str) -> None:
    with serving(scripted(answer)) as server:
        assert client(server.url)[0].ask_all([ASK])[0].problem == problem
        assert len(server.requests) == 1


def test_a_key_that_is_refused_is_not_tried_a_hundred_times() -> None:
    with serving(scripted(Answer(401))) as server:
        replies = client(server.url, max_in_flight=1)[0].ask_all(asks(20))
        assert {(r.problem, r.detail) for r in replies} == {("rejected", "HTTP 401")}
        assert len(server.requests) == 1


def test_an_endpoint_without_schemas_is_asked_without() -> None:
    def behave(request: dict[str, Any], _headers: dict[str, str]) -> Answer:
        return Answer(400) if "response_format" in request else completion("{}")

    with serving(behave) as server:
        chat, _ = client(server.url, max_in_flight=1)
        assert [r.text for r in chat.ask_all(asks(3), schema={"type": "object"})] == ["{}"] * 3
        assert len(server.requests) == 4


def test_the_key_goes_to_the_server_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-very-secret")
    caplog.set_level(logging.DEBUG)

    def behave(_request: dict[str, Any], headers: dict[str, str]) -> Answer:
        return completion(f"you sent {headers['Authorization']}")

    with serving(behave) as server:
        chat, _ = client(server.url, cache=tmp_path, api_key_env="SOME_KEY")
        assert chat.ask_all([ASK])[0].text == "you sent Bearer ***"
    kept = "".join(p.read_text() for p in tmp_path.rglob("*.json"))
    assert "very-secret" not in kept + caplog.text + repr(chat.endpoint)


def test_a_key_that_is_not_set_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(UserError, match=r"http://host/v1: the environment variable SOME_KEY is not set"):
        client("http://host/v1", api_key_env="SOME_KEY")


def test_the_rate_is_held() -> None:
    with serving(scripted(completion("ok"))) as server:
        chat, waits = client(server.url, requests_per_minute=60, max_in_flight=1)
        chat.ask_all(asks(3))
    assert len(waits) == 2
    assert sum(waits) > 0.5


def test_the_estimate_leaves_out_what_is_paid_for(tmp_path: Path) -> None:
    with serving(scripted(completion("ok"))) as server:
        chat, _ = client(server.url, cache=tmp_path, price_in=1.0, price_out=2.0, max_tokens=50)
        chat.ask_all(asks(1))
        estimated = chat.estimate(asks(3))
    assert (estimated.requests, estimated.cached, estimated.tokens_out) == (3, 1, 100)
    assert estimated.tokens_in == 2 * (10 // 4 + 4)
    assert estimated.cost == pytest.approx((estimated.tokens_in * 1 + 100 * 2) / 1e6)


def test_killed_midway_no_paid_call_is_repeated(tmp_path: Path) -> None:
    """kill -9 while requests run; a second process asks only for what the first had no answer to."""
    script = (
        "import sys; from pathlib import Path\n"
        "from xlharm.remote.chat import ChatClient\nfrom xlharm.remote.endpoint import Endpoint\n"
        "e = Endpoint(url=sys.argv[1], model='m', max_in_flight=1)\n"
        "asks = [(('user', f'question {i}'),) for i in range(30)]\n"
        "print(len([r for r in ChatClient(e, cache=Path(sys.argv[2])).ask_all(asks) if r.text]))"
    )
    answered: list[str] = []

    def behave(request: dict[str, Any], _headers: dict[str, str]) -> Answer:
        time.sleep(0.02)
        answered.append(request["messages"][0]["content"])
        return completion("ok")

    with serving(behave) as server:
        command = [sys.executable, "-c", script, server.url, str(tmp_path)]
        first = subprocess.Popen(command, stdout=subprocess.PIPE)
        while len(answered) < 8:
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        kept = {json.loads(p.read_text())["text"] for p in tmp_path.rglob("*.json")}
        assert kept == {"ok"}
        second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert second.stdout.strip() == "30"
    # what was on its way when the process died may be asked for again; nothing that was cached is
    assert len(answered) <= 31


@pytest.mark.parametrize(
    "broken",
    [
        Answer(429, headers={"Retry-After": "soon"}),
        Answer(200, b"[" * 100_000),
    ],
)
def test_nonsense_from_a_server_costs_no_other_answer(broken: Answer) -> None:
    with serving(scripted(broken, completion("blue"))) as server:
        assert client(server.url)[0].ask_all([ASK])[0].text == "blue"


def test_half_a_surrogate_pair_is_replaced_on_both_ways(tmp_path: Path) -> None:
    with serving(scripted(completion("a \ud800 b"))) as server:
        question = (("user", "what is \udfff?"),)
        assert client(server.url, cache=tmp_path)[0].ask_all([question])[0].text == "a ? b"


def test_a_key_with_a_newline_is_trimmed_and_a_strange_one_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-key\n")
    keys: list[str] = []

    def behave(_request: dict[str, Any], headers: dict[str, str]) -> Answer:
        keys.append(headers["Authorization"])
        return completion("ok")

    with serving(behave) as server:
        client(server.url, api_key_env="SOME_KEY")[0].ask_all([ASK])
    assert keys == ["Bearer sk-key"]
    monkeypatch.setenv("SOME_KEY", "schlüssel")
    with pytest.raises(UserError, match="SOME_KEY holds characters that no key has") as caught:
        client("http://host/v1", api_key_env="SOME_KEY")
    assert "schl" not in str(caught.value)


def test_another_variant_is_asked_anew_and_kept_beside_the_first(tmp_path: Path) -> None:
    with serving(scripted(completion("a"), completion("b"))) as server:
        chat, _ = client(server.url, cache=tmp_path)
        answers = [dict(chat.ask_each([ASK], variants=[n]))[0].text for n in (0, 1, 0, 1)]
        assert answers == ["a", "b", "a", "b"]
        assert len(server.requests) == 2


def test_a_wait_beyond_reason_is_left_for_another_day() -> None:
    with serving(scripted(Answer(429, headers={"Retry-After": "300"}), completion("ok"))) as server:
        chat, waits = client(server.url)
        assert chat.ask_all([ASK])[0].text == "ok"
        assert waits == [300]
    with serving(scripted(Answer(429, headers={"Retry-After": "86400"}))) as server:
        reply = client(server.url)[0].ask_all([ASK])[0]
        assert (reply.problem, reply.detail) == ("unavailable", "HTTP 429, asks to wait 86400 s")
        assert len(server.requests) == 1


def test_a_server_that_renamed_the_limit_is_asked_by_the_new_name() -> None:
    error = b'{"error": {"message": "Unsupported parameter: use \'max_completion_tokens\' instead."}}'

    def behave(request: dict[str, Any], _headers: dict[str, str]) -> Answer:
        return Answer(400, error) if "max_tokens" in request else completion("ok")

    with serving(behave) as server:
        chat, _ = client(server.url, max_in_flight=1, max_tokens=70)
        assert [r.text for r in chat.ask_all(asks(2), schema={"type": "object"})] == ["ok", "ok"]
        assert [r.get("max_completion_tokens") for r in server.requests] == [None, 70, 70]
        assert all(r["response_format"]["json_schema"]["strict"] for r in server.requests)


def test_why_a_request_is_rejected_is_told_but_nothing_about_keys() -> None:
    error = b'{"error": {"message": "the context\\nis 4096 tokens long; key sk-x"}}'

    def behave(request: dict[str, Any], _headers: dict[str, str]) -> Answer:
        return Answer(400, error) if request["messages"][0]["content"] == "question 0" else completion("{}")

    with serving(behave) as server:
        chat, _ = client(server.url, max_in_flight=1)
        replies = chat.ask_all(asks(2), schema={"type": "object"})
        assert replies[0].detail == "HTTP 400: the context is 4096 tokens long; key sk-x"
        assert "response_format" in server.requests[-1]  # one bad request does not mean that schemas are unknown
    with serving(scripted(Answer(403, error))) as server:
        assert client(server.url)[0].ask_all([ASK])[0].detail == "HTTP 403"


def test_a_filtered_answer_is_a_refusal_and_what_is_used_is_counted() -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 5}
    body = json.dumps(
        {"choices": [{"message": {"content": "half"}, "finish_reason": "content_filter"}], "usage": usage}
    )
    with serving(scripted(Answer(body=body.encode()))) as server:
        chat, _ = client(server.url, price_in=1.0, price_out=2.0)
        assert [r.problem for r in chat.ask_all(asks(2))] == ["refusal"] * 2
        assert chat.tokens == (22, 10)
        assert chat.price(*chat.tokens) == pytest.approx(42e-6)


def test_a_stopped_client_finishes_what_is_under_way_and_begins_no_more() -> None:
    with serving(scripted(completion("ok"))) as server:
        endpoint = Endpoint(url=server.url, model="m", max_in_flight=1)
        chat = ChatClient(endpoint, stopped=lambda: len(server.requests) >= 2)
        assert [r.text or r.problem for r in chat.ask_all(asks(4))] == ["ok", "ok", "stopped", "stopped"]
