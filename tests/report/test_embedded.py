import base64
import json
import zlib
from math import inf, nan
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.analysis.worlds import HOSTILE, fill, plan_of
from tests.plan.worlds import sources
from xlharm.analysis.results import GridResults
from xlharm.config.load import load_grid
from xlharm.plan.build import Plan, build
from xlharm.report.embedded import cells_data, curves, packed, reproduce, table_data
from xlharm.store.store import Store

GRID = """
name: two
base: tiny-base
corpus: tinyworld
languages: [en, de, ur]
contaminate: [none, de, ur]
unlearn: {none: [], en: [en], source: [source], en+source: [en, source]}
methods: {npo: {objective: npo}, ga: {objective: ga}}
seeds: 2
exclude: [{contaminate: none, unlearn: en}]
"""


def unpacked(text: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(text), -zlib.MAX_WBITS))


def test_hostile_text_comes_back_as_it_was() -> None:
    text = packed({"answer": HOSTILE, "close": "</script><!--"})
    assert "<" not in text
    assert unpacked(text) == {"answer": HOSTILE, "close": "</script><!--"}


def test_numbers_that_are_not_finite_never_become_null() -> None:
    table = pa.table({"a_b": [1.23456, inf, nan, None], "who": ["x", "y", "z", None]})
    data = table_data(table, ["a_b", "who"])
    assert data["columns"] == ["a b", "who"]
    assert data["numeric"] == [True, False]
    assert data["values"] == [[1.235, "inf", "nan", None], ["x", "y", "z", None]]
    with pytest.raises(ValueError, match="JSON"):
        packed(nan)


def test_numbers_stand_at_cell_times_language(plan: Plan, full: Store) -> None:
    results = GridResults(plan, full)
    data = cells_data(results)
    width = len(data["languages"])
    place = data["cells"].index(["ur", "en", "npo", 0]) * width + plan.grid.languages.index("ha")
    assert data["numbers"]["of"][place] == 510  # tenths of a percent
    assert (data["numbers"]["of_lo"][place], data["numbers"]["of_hi"][place]) == (413, 606)
    assert data["numbers"]["of_n"][place] == 100
    assert data["rises"][place] == "1"
    damaged = data["cells"].index(["ur", "source", "npo", 0]) if ["ur", "source", "npo", 0] in data["cells"] else None
    assert damaged is None  # cells are named by their languages
    fell = data["cells"].index(["ur", "ur", "npo", 0]) * width + plan.grid.languages.index("hy")
    assert data["notes"][str(fell)] == "QR fell from 93 to 55"


def test_sets_are_known_by_the_names_that_views_give_them(tmp_path: Path) -> None:
    plan = plan_of(contaminate=["none", "de"], unlearn={"none": [], "own": ["source"], "both": ["source", "en"]})
    sets = cells_data(GridResults(plan, Store(str(tmp_path))))["sets"]
    assert sets == {name: {"de": "de"} for name in ("own", "source")} | {
        name: {"de": "en+de"} for name in ("both", "en+source")
    }


def test_a_cell_without_result_is_null_and_says_why(plan: Plan, partial: Store) -> None:
    data = cells_data(GridResults(plan, partial))
    place = data["cells"].index(["ur", "none", "none", 0]) * len(data["languages"])
    assert data["numbers"]["of"][place] is None


def test_losses_of_every_stage_of_a_cell(plan: Plan, full: Store) -> None:
    results = GridResults(plan, full)
    losses = curves(results, plan.cell("de/en/npo"))
    assert list(losses) == ["contaminate", "sft", "unlearn"]
    assert losses["sft"][:2] == [[0, 3.0], [1, 1.5]]


@pytest.mark.parametrize("name", ["de/none", "de/en/npo", "ur/en+ur/ga/1", "none/none/none/0"])
def test_the_command_of_a_cell_computes_that_cell_alone_with_the_same_key(tmp_path: Path, name: str) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(GRID, encoding="utf-8")
    given = ["seeds=3", "evaluate.max_new_tokens=9", "unlearn.more=[de]"]
    plan = build(load_grid(path, overrides=given), sources=sources(), dtype="float32")
    cell = next(c for c in plan.cells if c.name.startswith(name))
    arguments = ["grid.yaml", *(part for word in given for part in ("-s", word))]
    file, *words = reproduce(GridResults(plan, Store(str(tmp_path / "store")), arguments=arguments), cell)
    assert (file, set(words[::2])) == ("grid.yaml", {"-s"})
    alone = build(load_grid(path, overrides=words[1::2]), sources=sources(), dtype="float32")
    assert [(c.name, c.model, c.evaluations) for c in alone.cells] == [(cell.name, cell.model, cell.evaluations)]


def test_several_seeds_come_first_together(tmp_path: Path) -> None:
    plan, store = plan_of(languages=["en"], contaminate=["de"], seeds=2), Store(str(tmp_path))
    fill(plan, store, n=10)
    data = cells_data(GridResults(plan, store))
    assert data["cells"][0] == ["de", "none", "none", None]
    assert data["models"][0] is None
    single = data["cells"].index(["de", "none", "none", 0])
    assert data["numbers"]["of"][0] == data["numbers"]["of"][single] == 600  # both seeds have 6 hits of 10
