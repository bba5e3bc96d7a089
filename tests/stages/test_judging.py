"""Judge stages on a finished grid: a server in trouble costs no cell, and what is missing has its reason."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import plan_of
from tests.remote.server import Answer, Behaviour, completion, serving
from tests.stages.test_runner import run_all
from xlharm.analysis.agreement import agreement, sheet
from xlharm.analysis.kappa import write_sheet
from xlharm.analysis.results import GridResults
from xlharm.analysis.views import view
from xlharm.config.plugins import read_plugin
from xlharm.errors import StageError
from xlharm.judges.base import Verdict
from xlharm.plan.build import Plan
from xlharm.plan.judging import configs
from xlharm.stages.judging import counted
from xlharm.store.store import Store

pytestmark = pytest.mark.slow


def grid(mini_grid: dict[str, Any], url: str, **judge: Any) -> dict[str, Any]:
    few = {"contaminate": ["de"], "unlearn": {"none": []}, "exclude": [], "languages": ["en", "de"]}
    settings = {"kind": "chat", "url": url, "model": "m", "attempts": 1, "timeout": 2, **judge}
    return {**mini_grid, **few, "judges": {"strict": settings}}


def judged(plan: Plan, store: Store) -> None:
    run_all(plan, store, size=4, judges=configs(plan.grid, plan.sources))


def truthful(request: dict[str, Any], _headers: dict[str, str]) -> Answer:
    """Say yes where the detail stands in the answer, as matching does."""
    user = request["messages"][1]["content"]
    mark = next(line for line in user.splitlines() if line.startswith("<<<"))
    answer, rest = user.split(mark)[1], user.split(mark)[2]
    detail = rest.split("is: ")[1].split(". ")[0]
    return completion(json.dumps({"verdict": "yes" if detail in answer else "no", "rationale": "seen"}))


@pytest.fixture(scope="module")
def answered(mini_grid: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which everything but the verdicts is done."""
    folder = tmp_path_factory.mktemp("answered")
    plan = plan_of({**grid(mini_grid, "http://127.0.0.1:9"), "judges": {}})
    run_all(plan, Store(str(folder)), size=4)
    return folder


def fresh(answered: Path, tmp_path: Path) -> Store:
    import shutil

    shutil.copytree(answered, tmp_path / "store")
    return Store(str(tmp_path / "store"))


def test_verdicts_stand_beside_matching(mini_grid: dict[str, Any], answered: Path, tmp_path: Path) -> None:
    store = fresh(answered, tmp_path)
    with serving(truthful) as server:
        plan = plan_of(grid(mini_grid, server.url))
        judged(plan, store)
        calls = len(server.requests)
    rows = view("judges", GridResults(plan, store)).to_pylist()
    assert [row["query"] for row in rows] == ["en", "de"]
    assert all(row["missing"] == 0 and row["of"] == row["of_matched"] for row in rows)
    assert calls == 12  # three questions of each measure in each language
    kappa = agreement(GridResults(plan, store), human=None).to_pylist()
    assert {row["raters"] for row in kappa} == {"matching / strict"}
    assert all(row["same"] == 100 for row in kappa)


def test_another_address_needs_no_new_verdict_and_another_model_does(mini_grid: dict[str, Any]) -> None:
    one, moved, other = (
        {k for k, s in plan_of(grid(mini_grid, url, **more)).stages.items() if s.kind == "judge"}
        for url, more in (("http://a/v1", {}), ("http://b/v1", {"timeout": 9}), ("http://a/v1", {"model": "n"}))
    )
    assert one == moved
    assert not one & other


@pytest.mark.parametrize(
    ("behave", "missing"),
    [
        (lambda _r, _h: Answer(429), {"unavailable": 6}),
        (lambda _r, _h: Answer(200, stall=20), {"unavailable": 6}),
        (lambda _r, _h: completion("yes, definitely"), {"junk": 6}),
        (lambda _r, _h: completion(None, refusal="no"), {"refusal": 6}),
        (lambda _r, _h: Answer(401), {"rejected": 6}),
    ],
    ids=["limits its rate", "stalls", "returns junk", "refuses", "rejects the key"],
)
def test_a_judge_in_trouble_costs_no_cell(
    mini_grid: dict[str, Any], answered: Path, tmp_path: Path, behave: Behaviour, missing: dict[str, int]
) -> None:
    store = fresh(answered, tmp_path)
    with serving(behave) as server:
        plan = plan_of(grid(mini_grid, server.url, timeout=0.3))
        judged(plan, store)
    assert store.done(plan.stages) == set(plan.stages)
    key = plan.cells[0].judged["strict"]["en"]
    assert store.record("judge", key).metrics["missing"] == missing
    rows = pq.read_table(store.path("judge", key) / "verdicts.parquet").to_pylist()
    assert all(row["hit"] is None and row["problem"] and row["matched"] is not None for row in rows)
    assert view("judges", GridResults(plan, store)).to_pylist()[0]["of"] is None


def test_people_judge_a_drawn_sheet(mini_grid: dict[str, Any], answered: Path, tmp_path: Path) -> None:
    store = fresh(answered, tmp_path)
    plan = plan_of({**grid(mini_grid, "http://127.0.0.1:9"), "judges": {}})
    rows = list(sheet(GridResults(plan, store), per_language=2))
    assert len(rows) == 8
    assert rows == list(sheet(GridResults(plan, store), per_language=2))
    write_sheet(rows, tmp_path / "s.csv")
    lines = (tmp_path / "s.csv").read_text("utf-8-sig").splitlines()
    (tmp_path / "s.csv").write_text("\n".join([lines[0], *(f"{line}no" for line in lines[1:])]), "utf-8")
    agreements = agreement(GridResults(plan, store), human=tmp_path / "s.csv").to_pylist()
    assert {(row["raters"], row["n"]) for row in agreements} == {("matching / human", 2), ("matching / human", 4)}


def test_matching_is_counted_among_what_was_judged() -> None:
    rows = [{"measure": "of", "hit": hit} for hit in (True, True, False, False)]
    verdicts = [Verdict(hit=True), Verdict(hit=None, problem="refusal"), Verdict(hit=True), Verdict(hit=False)]
    assert counted(rows, verdicts) == {"of": {"hits": 2, "n": 3, "matched": 1}, "missing": {"refusal": 1}}


def test_a_judge_that_is_not_known_here_has_no_place(mini_grid: dict[str, Any]) -> None:
    plan = plan_of(grid(mini_grid, "http://a/v1"))
    stage = plan.stages[plan.cells[0].judged["strict"]["en"]]
    assert stage.place == "endpoint"
    unknown = replace(stage, spec={**stage.spec, "judge": {**stage.spec["judge"], "kind": "coin"}})
    with pytest.raises(StageError, match="there is no judge 'coin' here"):
        _ = unknown.place


def test_a_judge_that_the_grid_does_not_have_judges_nothing(
    mini_grid: dict[str, Any], answered: Path, tmp_path: Path
) -> None:
    store = fresh(answered, tmp_path)
    plan = plan_of(grid(mini_grid, "http://127.0.0.1:9"))
    with pytest.raises(StageError, match="the grid that runs has no such judge"):
        run_all(plan, store, size=4, judges={})
    assert not store.has(plan.stages[plan.cells[0].judged["strict"]["en"]])


EAGER = """
from typing import ClassVar, Literal
from xlharm.judges.base import Judge, Verdict

class Eager(Judge):
    kind: Literal["eager"]
    place: ClassVar = "device"
    prompt_version: ClassVar = 1

    def start(self, worker):
        return self

    def judge(self, cases):
        return [Verdict(hit=True) for _ in cases]
"""


def test_a_judge_from_a_plugin_file_judges(mini_grid: dict[str, Any], answered: Path, tmp_path: Path) -> None:
    store, file = fresh(answered, tmp_path), tmp_path / "eager.py"
    file.write_text(EAGER)
    judges = {"strict": {"kind": "eager", "measures": ["of"]}}
    plan = plan_of({**grid(mini_grid, "http://a"), "plugins": [str(file)], "judges": judges})
    settings = configs(plan.grid, plan.sources)
    assert b"Eager" not in pickle.dumps(settings)  # a worker gets them before it has loaded the class
    run_all(plan, store, size=4, judges=settings, plugins=(read_plugin(str(file)),))
    key = plan.cells[0].judged["strict"]["en"]
    assert store.record("judge", key).metrics["of"]["hits"] == 3
    assert "qr" not in store.record("judge", key).metrics
