import base64
import json
import zlib
from pathlib import Path
from typing import Any

from tests.analysis.worlds import HOSTILE, fill, plan_of
from xlharm.analysis.results import GridResults
from xlharm.plan.build import Plan
from xlharm.report.answers import answer_blocks, chosen_cells
from xlharm.store.store import Store


def unpacked(results: GridResults, **settings: Any) -> dict[str, Any]:
    return {
        block.id: json.loads(zlib.decompress(base64.b64decode(block.text), -zlib.MAX_WBITS))
        for block in answer_blocks(results, prefix="", **settings)
    }


def test_every_answer_of_every_cell_comes_back(plan: Plan, full: Store) -> None:
    results = GridResults(plan, full)
    data = unpacked(results, most="all")
    index = data["answers"]
    assert set(index["cells"]) == {cell.name for cell in plan.cells}
    hostile = 0
    for cell in plan.cells:
        block, place = index["cells"][cell.name]
        for group in data[f"answers-{block}"]:
            if place not in group["cells"]:
                continue
            column, asked = group["cells"].index(place), index["questions"][group["asked"]]
            stored = results.rows(cell.evaluations[asked["query"]])
            assert stored is not None
            texts = [
                different[given[column]] for different, given in zip(group["answers"], group["given"], strict=True)
            ]
            assert texts == stored["answer"].to_pylist()
            assert asked["question"] == stored["question"].to_pylist()
            assert asked["expected"] == stored["expected"].to_pylist()
            assert [int(v) & 1 for v in group["verdicts"][column]] == [int(h) for h in stored["hit"].to_pylist()]
            hostile += texts.count(HOSTILE)
    assert hostile == 8 * 81


def test_of_too_many_cells_those_before_unlearning_and_evenly_spaced_ones_are_kept(tmp_path: Path) -> None:
    plan = plan_of(languages=["en"], contaminate=["none", "de", "ur", "fr"], unlearn={"none": [], "en": ["en"]})
    store = Store(str(tmp_path))
    fill(plan, store, n=2)
    results = GridResults(plan, store)
    assert len(chosen_cells(results, "all")) == len(plan.cells) == 8
    some = [cell.name for cell in chosen_cells(results, 6)]
    assert some == [c.name for c in plan.cells if c.unlearn == "none" or c.contaminate in {"none", "ur"}]
    assert chosen_cells(results, 0) == ()


def test_a_damaged_evaluation_has_no_answers(tmp_path: Path) -> None:
    plan, store = plan_of(languages=["en"], contaminate=["de"], unlearn={"none": []}, methods={}), Store(str(tmp_path))
    fill(plan, store, n=2)
    (cell,) = plan.cells
    (store.path("evaluate", cell.evaluations["en"]) / "rows.parquet").write_bytes(b"damaged")
    assert unpacked(GridResults(plan, Store(store.url)), most="all")["answers"]["cells"] == {}
