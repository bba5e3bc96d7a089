"""A small grid with every method, probe and judge gives the numbers that it gave before.

``XLHARM_GOLDEN=write pytest tests/golden/test_table.py`` writes ``table.json`` anew: only with a change of numbers that
is meant, and with STAGE_VERSIONS raised. On the kind of machine that wrote the file every adapter, answer, likelihood
and verdict is compared to the bit; on another, whose kernels round differently, losses and counts to a tolerance.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from tests.conftest import plan_of
from tests.judges.models import nli_model, yes_model
from tests.probes.worlds import examples
from tests.remote.server import scripted, serving, verdict
from tests.stages.test_methods import FEW, METHODS
from tests.stages.test_runner import run_all
from xlharm.plan.build import Plan
from xlharm.plan.judging import configs
from xlharm.plan.stage import Stage
from xlharm.store.store import Store

pytestmark = pytest.mark.slow
GOLDEN = Path(__file__).parent / "table.json"
THREADS = 1  # how sums are rounded depends on it, so it is not left to the environment
_FILES = {
    "evaluate": "rows.parquet",
    "inspect": "inside.parquet",
    "score": "scores.parquet",
    "judge": "verdicts.parquet",
}


def machine() -> str:
    """Name what decides how sums are rounded: the processor's kind, torch, and its threads."""
    path = Path("/proc/cpuinfo")
    fields = (
        dict(line.split("\t", 1) for line in path.read_text().splitlines() if "\t" in line) if path.exists() else {}
    )
    flags = hashlib.sha256(fields.get("flags", "").encode()).hexdigest()[:8]
    model = fields.get("model name", platform.machine()).strip(": \t")
    return f"{model} ({flags}) · torch {torch.__version__} · {THREADS} threads"


def told_of(stage: Stage, store: Store) -> dict[str, Any]:
    """Return a stage's digest and those of its numbers that compare between machines."""
    folder, metrics = store.path(stage.kind, stage.key), store.record(stage.kind, stage.key).metrics
    name = _FILES.get(stage.kind)
    if name is None:
        digest = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
        losses = {n: metrics[n][-1][1] for n in ("loss", "retain_loss", "forget_nll", "retain_nll") if n in metrics}
        return {"digest": digest, "numbers": {**losses, "moved": metrics["moved"]}}
    rows = pq.read_table(folder / name).to_pylist()
    numbers = metrics if stage.kind == "score" else {}
    text = json.dumps(rows, sort_keys=True, ensure_ascii=False)
    return {"digest": hashlib.sha256(text.encode()).hexdigest(), "numbers": numbers, "rows": len(rows)}


@pytest.fixture(scope="module")
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def plan_and_store(
    _threads: None, mini_grid: dict[str, Any], mini_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Plan, Store]:
    folder = tmp_path_factory.mktemp("golden")
    methods = {name: {"objective": name, **FEW, **own} for name, own in METHODS.items()}
    methods["stopped"] = {**FEW, "objective": "ga", "retain": "nll", "stop": {"forget_nll": 0.01, "window": 2}}
    methods["articles"] = {**FEW, "objective": "npo", "forget": "articles", "layers": [1], "retain": "hidden"}
    with serving(scripted(verdict("yes"))) as server:
        chat = {"kind": "chat", "url": server.url, "model": "m", "translate": False, "max_in_flight": 1}
        plan = plan_of(
            {
                **mini_grid,
                "languages": ["en", "de"],
                "contaminate": ["none", "de"],
                "unlearn": {"none": [], "both": ["en", "source"]},
                "methods": methods,
                "exclude": [],
                "evaluate": {"max_new_tokens": 4, "questions": 2, "scores": True},
                "probes": examples(),
                "judges": {
                    "chat": chat,
                    "local": {"kind": "local", "base": str(yes_model(mini_base, folder / "local"))},
                    "nli": {"kind": "nli", "base": str(nli_model(mini_base, folder / "nli"))},
                },
            }
        )
        store = Store(str(folder / "store"))
        run_all(plan, store, size=18, judges=configs(plan.grid, plan.sources))
    return plan, store


def test_the_table_is_as_it_was(plan_and_store: tuple[Plan, Store]) -> None:
    plan, store = plan_and_store
    digests = {f"{s.label} {s.spec.get('probe', '')}".strip(): told_of(s, store) for s in plan.stages.values()}
    assert len(digests) == len(plan.stages)
    if os.environ.get("XLHARM_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps({"machine": machine(), "stages": digests}, indent=0) + "\n")
    golden = json.loads(GOLDEN.read_text())
    assert digests.keys() == golden["stages"].keys()
    same = [label for label in digests if digests[label]["digest"] == golden["stages"][label]["digest"]]
    if golden["machine"] == machine():
        assert len(same) == len(digests), sorted(digests.keys() - set(same))
    for label, before in golden["stages"].items():
        assert digests[label]["numbers"] == pytest.approx(before["numbers"], rel=5e-3, abs=1e-5), label
        assert digests[label].get("rows") == before.get("rows"), label
