import json
import re
from typing import Any

from xlharm.analysis.results import GridResults
from xlharm.plan.build import Plan
from xlharm.store.store import Store
from xlharm.tracking.charts import VegaChart, curves, heatmap, trade_off
from xlharm.tracking.tables import tables_of

ALL = [heatmap("of"), heatmap("qr"), trade_off(), curves()]


def test_what_a_chart_names_is_what_its_panel_gives(small: tuple[Plan, Store]) -> None:
    tables = tables_of(GridResults(*small))
    for chart in ALL:
        text = json.dumps(chart.spec)
        assert {*re.findall(r"\$\{field:(\w+)\}", text)} == {*chart.fields}
        assert {*re.findall(r"\$\{string:(\w+)\}", text)} == {*chart.strings}
        assert chart.spec["data"] == {"name": "wandb"}
        assert {*chart.fields.values()} <= {*tables[chart.table].columns}
        assert tables[chart.table].rows


def test_names_follow_from_content() -> None:
    assert len({chart.name for chart in ALL}) == 4
    assert heatmap("of").name == ALL[0].name
    spec: dict[str, Any] = {**heatmap("of").spec, "title": "another"}
    changed = VegaChart(kind="heatmap-of", spec=spec, table="heatmap", fields={})
    assert changed.name != ALL[0].name
    assert re.fullmatch(r"xlharm-heatmap-of-[0-9a-f]{8}", changed.name)


def test_a_text_of_a_panel_is_data_and_no_expression() -> None:
    assert heatmap("of").spec["transform"] == [{"filter": {"field": "${field:set}", "equal": "${string:set}"}}]
    assert '"expr"' not in json.dumps([chart.spec for chart in ALL])
