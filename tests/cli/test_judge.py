"""Judges as a user meets them: in the grid file, beside matching, with people's labels."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Xlharm
from tests.remote.server import Answer, completion, serving


def moody(request: dict[str, Any], headers: dict[str, str]) -> Answer:
    """Judge German answers, and be out of order for English ones until told otherwise."""
    assert headers["Authorization"] == "Bearer sk-secret-key"
    if Mood.broken and "What is" in request["messages"][1]["content"]:
        return Answer(503)
    return completion(json.dumps({"verdict": "no", "rationale": "sk-secret-key"}))


class Mood:
    broken = True


@pytest.mark.cluster
@pytest.mark.heavy
def test_a_judge_that_was_away_is_asked_again(xlharm: Xlharm, grid_file: Path, tmp_path: Path) -> None:
    store, key = tmp_path / "store", {"JUDGE_KEY": "sk-secret-key"}
    few = ["-s", "contaminate=[de]", "-s", "unlearn={none: []}", "-s", "exclude=[]", "-s", "languages=[en, de]"]
    with serving(moody) as server:
        settings = "model: m, attempts: 1, api_key_env: JUDGE_KEY, price_in: 1, price_out: 2"
        judge = f"{{kind: chat, url: '{server.url}', {settings}}}"
        options = ["--store", store, *few, "-s", f"judges.strict={judge}"]
        planned = xlharm("plan", grid_file, *options)
        assert "judge strict: up to 12 answers to ask for, about $0.01 at most" in planned.stdout
        first = xlharm("run", grid_file, *options, **key)
        assert first.returncode == 0, first.stderr + first.stdout
        rows = json.loads(xlharm("results", grid_file, *options, "--view", "judges", "--format", "json").stdout)
        assert [(r["query"], r["missing"], r["why"]) for r in rows] == [("en", 6, "unavailable"), ("de", 0, None)]
        asked = len(server.requests)

        assert "Nothing to do" in xlharm("run", grid_file, *options, **key).stdout
        assert len(server.requests) == asked
        Mood.broken = False
        again = xlharm("run", grid_file, *options, "--retry-failed", **key)
        assert again.returncode == 0, again.stderr + again.stdout
        assert len(server.requests) == asked + 6  # the German answers are in the cache
        rows = json.loads(xlharm("results", grid_file, *options, "--view", "judges", "--format", "json").stdout)
        assert [r["missing"] for r in rows] == [0, 0]

        sheet = xlharm("judge", "sheet", grid_file, tmp_path / "s.csv", *options, "--each", "2")
        assert "8 answers" in sheet.stdout
        agreement = xlharm("judge", "agreement", grid_file, *options, "--format", "csv")
        assert agreement.stdout.count("matching / strict") == 6  # two measures in two languages, and in all
    kept = b"".join(p.read_bytes() for p in store.rglob("*") if p.is_file())
    assert b"sk-secret-key" not in kept + (first.stdout + first.stderr + again.stdout).encode()


@pytest.mark.slow
def test_a_key_that_is_not_set_fails_that_subtree_in_one_line(
    xlharm_here: Xlharm, grid_file: Path, tmp_path: Path
) -> None:
    few = ["-s", "contaminate=[de]", "-s", "unlearn={none: []}", "-s", "exclude=[]", "-s", "languages=[de]"]
    judge = "{kind: chat, url: 'http://127.0.0.1:9/v1', model: m, api_key_env: NO_SUCH_KEY}"
    options = ["--store", tmp_path / "store", *few, "-s", f"judges.strict={judge}"]
    done = xlharm_here("run", grid_file, *options, "--executor", "in-process")
    assert done.returncode in {1, 2}
    assert "the environment variable NO_SUCH_KEY is not set" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "OF" in xlharm_here("results", grid_file, *options).stdout  # matching's are there
