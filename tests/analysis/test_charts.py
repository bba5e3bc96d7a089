from xlharm.analysis.charts import Point, with_front


def point(label: str, x: float, y: float) -> Point:
    return Point(label=label, x=x, x_low=x - 5, x_high=x + 5, y=y, y_low=max(0, y - 5), y_high=y + 5, good=x >= 90)


def test_the_front_is_what_no_other_point_beats() -> None:
    points = with_front([point("best", 95, 10), point("kept", 100, 20), point("beaten", 90, 15), point("same", 95, 10)])
    assert [p.label for p in points if p.front] == ["best", "kept", "same"]
