"""Charts of the W&B dashboards as Vega-Lite, drawn from the tables of the grids' runs (``tracking.tables``).

W&B puts a panel's columns in place of ``${field:NAME}`` and its texts in place of ``${string:NAME}``.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
_SCHEMES = {"of": "oranges", "qr": "blues"}
WORDS = {
    "of": "OF (occurrence of the fake: fake detail told, %)",
    "qr": "QR (quality on the real: right answers, %)",
}


@dataclass(frozen=True, kw_only=True)
class VegaChart:
    """One chart.

    Attributes:
        kind: what it shows, for its name.
        spec: Vega-Lite.
        table: the table it is drawn from.
        fields: the table's columns that it draws, by their names in the spec.
        strings: names of its texts.
    """

    kind: str
    spec: dict[str, Any]
    table: str
    fields: dict[str, str]
    strings: tuple[str, ...] = ("title",)
    name: str = field(init=False)

    def __post_init__(self) -> None:
        """Name the chart after its content: W&B cannot change a chart, so that another one needs another name."""
        content = json.dumps(self.spec, sort_keys=True).encode("utf-8")
        object.__setattr__(self, "name", f"xlharm-{self.kind}-{hashlib.sha256(content).hexdigest()[:8]}")


def heatmap(measure: Literal["of", "qr"]) -> VegaChart:
    """Return the heatmap of an unlearning set: contamination down, query across, a column for each grid."""
    axes = ("grid", "measure", "set", "method", "contaminate", "query")
    columns = (*axes, *(f"{measure}{end}" for end in ("", "_lo", "_hi", "_n", "_items", "_change")))
    value = _field(measure)
    return VegaChart(
        kind=f"heatmap-{measure}",
        table="heatmap",
        fields={name: name for name in columns},
        strings=("title", "set"),
        spec={
            **_head(),
            "transform": [_equal("set")],
            "facet": {
                "column": {"field": _field("grid"), "type": "nominal", "title": None, "sort": None},
                "row": {"field": _field("method"), "type": "nominal", "title": None, "sort": None},
            },
            "spec": {
                "encoding": {
                    "x": {"field": _field("query"), "type": "nominal", "sort": None, "title": "asked in"},
                    "y": {"field": _field("contaminate"), "type": "nominal", "sort": None, "title": "contaminated in"},
                },
                "layer": [
                    {
                        "mark": "rect",
                        "encoding": {
                            "color": {
                                "field": value, "type": "quantitative", "title": f"{measure.upper()}, %",
                                "scale": {"domain": [0, 100], "scheme": _SCHEMES[measure]},
                            },
                            "tooltip": [{"field": _field(name)} for name in columns],
                        },
                    },
                    {
                        "mark": {"type": "text"},
                        "encoding": {
                            "text": {"field": value, "type": "quantitative", "format": ".0f"},
                            "color": {
                                "condition": {"test": {"field": value, "gt": 60}, "value": "white"}, "value": "black",
                            },
                        },
                    },
                ],
            },
        },
    )  # fmt: skip


def trade_off() -> VegaChart:
    """Return OF against QR by method with 95 % intervals, a column for each grid and a row for each unlearning set."""
    columns = ("grid", "unlearn", "method", "of", "of_lo", "of_hi", "utility", "utility_lo", "utility_hi")
    x, y = ({"field": _field(name), "type": "quantitative"} for name in ("utility", "of"))
    return VegaChart(
        kind="trade-off",
        table="methods",
        fields={name: name for name in columns},
        spec={
            **_head(),
            "facet": {
                "column": {"field": _field("grid"), "type": "nominal", "title": None, "sort": None},
                "row": {"field": _field("unlearn"), "type": "nominal", "title": None, "sort": None},
            },
            "spec": {
                "encoding": {
                    "x": {**x, "title": "QR kept, % of before"},
                    "y": {**y, "title": "OF, %"},
                    "color": {"field": _field("method"), "type": "nominal", "title": "method"},
                },
                "layer": [
                    {"mark": "rule", "encoding": {"y": {"field": _field("of_lo"), "type": "quantitative"},
                                                  "y2": {"field": _field("of_hi")}}},
                    {"mark": "rule", "encoding": {"x": {"field": _field("utility_lo"), "type": "quantitative"},
                                                  "x2": {"field": _field("utility_hi")}}},
                    {"mark": {"type": "point", "filled": True, "size": 80},
                     "encoding": {"tooltip": [{"field": _field(name)} for name in columns]}},
                ],
            },
        },
    )  # fmt: skip


def curves() -> VegaChart:
    """Return the losses of one kind of stage: mean and range over its stages, a column for each grid."""
    columns = ("grid", "stage", "group", "curve", "step", "mean", "low", "high", "n")
    return VegaChart(
        kind="curves",
        table="curves",
        fields={name: name for name in columns},
        strings=("title", "stage"),
        spec={
            **_head(),
            "transform": [_equal("stage")],
            "facet": {
                "column": {"field": _field("grid"), "type": "nominal", "title": None, "sort": None},
                "row": {"field": _field("curve"), "type": "nominal", "title": None, "sort": None},
            },
            "spec": {
                "encoding": {
                    "x": {"field": _field("step"), "type": "quantitative", "title": "step"},
                    "color": {"field": _field("group"), "type": "nominal", "title": None},
                },
                "layer": [
                    {"mark": {"type": "area", "opacity": 0.15},
                     "encoding": {"y": {"field": _field("low"), "type": "quantitative", "title": "loss"},
                                  "y2": {"field": _field("high")}}},
                    {"mark": "line",
                     "encoding": {"y": {"field": _field("mean"), "type": "quantitative", "title": "loss"},
                                  "tooltip": [{"field": _field(name)} for name in columns]}},
                ],
            },
            "resolve": {"scale": {"y": "independent"}},
        },
    )  # fmt: skip


def _head() -> dict[str, Any]:
    return {"$schema": _SCHEMA, "data": {"name": "wandb"}, "title": "${string:title}"}


def _field(name: str) -> str:
    return f"${{field:{name}}}"


def _equal(name: str) -> dict[str, Any]:
    """Keep the rows of one value, which is a text of the panel; as data, it cannot be taken for an expression."""
    return {"filter": {"field": _field(name), "equal": f"${{string:{name}}}"}}
