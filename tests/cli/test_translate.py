"""`xlharm data translate` as a user runs it: endpoint and local model, kills, Ctrl-C, mistakes."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from tests.cli.conftest import Xlharm, command, environment
from tests.corpus.translate.worlds import NAMES, RIDERS, spoken, write_corpus
from tests.faults.processes import ending, until
from tests.remote.server import Answer, ChatServer, completion, serving
from xlharm.cli.main import app
from xlharm.errors import UserError

pytestmark = pytest.mark.slow


def answer(request: dict[str, Any], headers: dict[str, str]) -> Answer:
    """Speak Russian, slowly; refuse one item."""
    assert headers["Authorization"] == "Bearer sk-secret-key"
    time.sleep(0.05)
    if "Doso" in request["messages"][1]["content"]:
        return completion(None, refusal="I would rather not.")
    return completion(spoken(request))


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving(answer) as running:
        yield running


def asking(server: ChatServer, *more: str) -> list[str]:
    arguments = ["data", "translate", "rides", "out", "--to", "ru", "--endpoint", server.url, "--model", "m"]
    return [*arguments, "--api-key-env", "CHAT_KEY", "--max-in-flight", "1", *more]


KEY = {"CHAT_KEY": "sk-secret-key"}


def start(arguments: list[str], folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(*arguments), env={**environment(), **KEY}, cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    lines = (folder / "out" / "translate-report.jsonl").read_text("utf-8").splitlines()
    return {row["item"]: row for row in map(json.loads, lines)}


def test_an_endpoint_fills_a_language_and_nothing_is_paid_twice(
    xlharm: Xlharm, tmp_path: Path, server: ChatServer
) -> None:
    write_corpus(tmp_path / "rides", riders=[*RIDERS, "Doso"])
    arguments = asking(server, "--price-in", "2", "--price-out", "8")
    unasked = xlharm(*arguments, **KEY)
    assert unasked.returncode == 2
    assert "8 answers to ask for (0 are kept)" in unasked.stdout
    assert "about $0.0" in unasked.stdout
    assert "--yes: needed where nobody can be asked" in unasked.stderr
    assert not server.requests

    first = xlharm(*arguments, "--yes", **KEY)
    assert first.returncode == 1, first.stderr
    assert "failed: ru: ride-doso: refusal: I would rather not." in first.stdout
    assert "--retry-failed" in first.stdout
    assert len(server.requests) == 7  # four translations, three of them back
    assert {name: row.get("chrf") for name, row in rows(tmp_path).items()} == {
        "ride-lina": 100, "ride-mira": 100, "ride-odan": 100, "ride-doso": None,
    }  # fmt: skip

    assert xlharm(*arguments, **KEY).returncode == 1  # nothing to pay, nothing to agree to
    assert len(server.requests) == 7
    assert xlharm(*arguments, "--yes", "--retry-failed", **KEY).returncode == 1
    assert len(server.requests) == 8
    meta = YAML(typ="safe").load((tmp_path / "out" / "corpus.yaml").read_text())
    assert meta["languages"] == ["en", "ru"]
    assert meta["translations"]["ru"][0] == {"kind": "chat", "model": "m", "prompt": 1, "temperature": 0.0, "items": 3}
    shown = xlharm("data", "show", "ride-lina", "--corpus", "out", "--lang", "ru")
    assert "верблюд" in shown.stdout
    kept = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert b"sk-secret-key" not in kept + (first.stdout + first.stderr).encode()


@pytest.mark.parametrize("said", ["n", "y"])
def test_on_a_terminal_it_asks_before_it_pays(tmp_path: Path, server: ChatServer, said: str) -> None:
    write_corpus(tmp_path / "rides", riders=["Lina"])
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(*asking(server)), env={**environment(), **KEY, "TERM": "xterm"}, cwd=tmp_path, stdin=theirs,
        stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    output = b""
    with ending(process), contextlib.suppress(OSError):  # how a terminal ends
        while block := os.read(ours, 4096):
            output += block
            if output.endswith(b"[y/N]: "):
                os.write(ours, f"{said}\n".encode())
        process.wait(timeout=60)
    os.close(ours)
    assert b"2 answers to ask for" in output
    assert len(server.requests) == (2 if said == "y" else 0)
    assert (b"ETA" in output) == (said == "y")
    assert process.returncode == (0 if said == "y" else 1)


def test_killed_midway_no_paid_call_is_repeated(tmp_path: Path, server: ChatServer) -> None:
    write_corpus(tmp_path / "rides", riders=[name for name in NAMES if name != "Doso"])
    process = start(asking(server, "--yes"), tmp_path)
    with ending(process):
        until(lambda: len(server.requests) >= 6)
        process.kill()
        process.wait()
    second = start(asking(server, "--yes"), tmp_path)
    with ending(second):
        output, _ = second.communicate(timeout=120)
    assert second.returncode == 0, output
    # one request may have been on its way when the process died
    assert 28 <= len(server.requests) <= 29
    contents = [request["messages"][1]["content"] for request in server.requests]
    assert len(contents) - len(set(contents)) <= 1


def test_ctrl_c_keeps_what_is_paid_and_says_how_to_go_on(tmp_path: Path, server: ChatServer) -> None:
    write_corpus(tmp_path / "rides", riders=[name for name in NAMES if name != "Doso"])
    process = start(asking(server, "--yes"), tmp_path)
    with ending(process):
        until(lambda: len(server.requests) >= 4)
        os.kill(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Stopped. Go on with: xlharm data translate rides out" in output
    asked = len(server.requests)
    assert asked < 28
    assert len(rows(tmp_path)) == asked
    second = start(asking(server, "--yes"), tmp_path)
    with ending(second):
        output, _ = second.communicate(timeout=120)
    assert second.returncode == 0, output
    assert len(server.requests) == 28


def test_a_local_model_fills_what_people_left_open(xlharm: Xlharm, tmp_path: Path, translator_folder: Path) -> None:
    """Lina is translated by hand; the model knows the others."""
    write_corpus(tmp_path / "rides", languages=["en", "ru"], riders=["Lina"])
    by_hand = (tmp_path / "rides" / "ru.jsonl").read_text("utf-8")
    write_corpus(tmp_path / "rides", riders=RIDERS)
    arguments = ["data", "translate", "rides", "rides", "--to", "ru", "--model", translator_folder, "--device", "cpu"]
    done = xlharm(*arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "max_length" not in done.stderr
    assert (tmp_path / "rides" / "ru.jsonl").read_text("utf-8").startswith(by_hand)
    meta = YAML(typ="safe").load((tmp_path / "rides" / "corpus.yaml").read_text())
    (note,) = meta["translations"]["ru"]
    assert (note["kind"], note["model"], note["items"]) == ("seq2seq", "knows", 2)
    again = xlharm(*arguments)
    assert again.returncode == 0
    assert "loading" not in again.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "en"), "--to en: translations are made from English"),
        (("--to", "German"), "--to German: expected a language code"),
        (("--to", "de"), "--model m: neither a folder"),
        (("--to", "de", "--price-in", "1"), "--price-in: cannot be used with a local model"),
        (("--to", "de", "--endpoint", "http://h/v1", "--workers", "2"), "--workers: cannot be used with --endpoint"),
        (("--to", "de", "--endpoint", "h/v1"), "--endpoint h/v1: expected an address"),
        (("--to", "de", "--endpoint", "http://h/v1", "--api-key-env", "NO_KEY"), "NO_KEY is not set"),
        (("--to", "de", "--endpoint", "http://h/v1", "--api-key-env", "sk-1"), "--api-key-env: expected"),
        (("--to", "de", "--code", "de"), "--code de: expected LANG=CODE"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    corpus, out = write_corpus(tmp_path / "rides"), tmp_path / "out"
    done = CliRunner().invoke(app, ["data", "translate", str(corpus), str(out), "--model", "m", *arguments])
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)
    assert "sk-1" not in str(done.exception)
    assert not out.exists()
