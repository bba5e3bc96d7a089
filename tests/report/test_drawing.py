import pytest

from xlharm.analysis.charts import Estimate, Forest, Network, Point, Scatter, with_front
from xlharm.report.drawing import WIDTH, Drawing, drawing


def point(label: str, x: float, y: float) -> Point:
    return Point(label=label, x=x, x_low=x - 5, x_high=x + 5, y=y, y_low=max(0, y - 5), y_high=y + 5, good=x >= 90)


def shapes(drawn: Drawing, css: str) -> list[dict[str, str | float]]:
    return [s.attributes for s in drawn.shapes if css in str(s.attributes["class"]).split()]


def test_a_scatter_has_utility_to_the_right_and_of_upwards() -> None:
    points = with_front([point("a", 95, 10), point("b", 100, 40), point("c", 50, 0)])
    drawn = drawing(Scatter(name="m", title="t", x_axis="x", y_axis="y", points=points, limit=90))
    a, b, c = shapes(drawn, "point")
    (limit,) = shapes(drawn, "limit")
    assert a["cx"] < b["cx"]
    assert a["cy"] > b["cy"]
    assert c["cx"] < limit["x1"] < a["cx"]
    assert "a: QR kept 95 %, OF 10, front" in drawn.words


def test_a_forest_shows_each_estimate_against_its_threshold() -> None:
    rows = (
        Estimate(label="holds", value=30, low=20, high=40, threshold=10, tone="good"),
        Estimate(label="below", value=-35, low=-45, high=-20, threshold=5, tone="bad"),
    )
    drawn = drawing(Forest(name="f", title="t", axis="points", rows=rows))
    first, second = shapes(drawn, "point")
    limits = shapes(drawn, "limit")
    assert limits[0]["x1"] < first["cx"]
    assert second["cx"] < limits[1]["x1"]
    ticks = [s.text for s in drawn.shapes if s.attributes["class"] == "tick"]
    assert "0" in ticks  # ticks are whole steps from 0, wherever the scale begins
    assert {int(t) % 20 for t in ticks[:-1]} == {0}


@pytest.mark.parametrize("widest", [501, 100_000, 3e12])
def test_limits_that_are_very_wide_have_few_ticks(widest: float) -> None:
    row = Estimate(label="a ratio of a small number", value=50, low=-100, high=widest)
    forest = drawing(Forest(name="f", title="t", axis="percent", rows=(row,)))
    one = Point(label="a", x=95, x_low=0, x_high=widest, y=10, y_low=5, y_high=15, good=True)
    scatter = drawing(Scatter(name="m", title="t", x_axis="x", y_axis="y", points=(one,), limit=90))
    for drawn in (forest, scatter):
        assert 2 <= len(shapes(drawn, "tick")) <= 20


def test_weak_ways_are_not_drawn() -> None:
    edges = (("en", "de", 60.0), ("de", "en", 30.0), ("de", "ur", 5.0))
    drawn = drawing(Network(name="n", title="t", nodes=("en", "de", "ur"), edges=edges, least=10))
    assert len(shapes(drawn, "edge")) == 2
    assert shapes(drawn, "strong")
    assert drawn.words == "English to German: 60; German to English: 30"


@pytest.mark.parametrize("count", [1, 8])
def test_all_lies_inside(count: int) -> None:
    points = with_front([point(f"method {i}", 90 + i, 10 + i) for i in range(count)])
    drawn = drawing(Scatter(name="m", title="t", x_axis="x", y_axis="y", points=points, limit=90))
    for s in drawn.shapes:
        for name in ("x", "cx", "x1", "x2"):
            assert 0 <= float(s.attributes.get(name, 0)) <= WIDTH
