from pathlib import Path
from xml.etree import ElementTree as ET

from tests.analysis.worlds import plan_of
from xlharm.analysis.results import GridResults
from xlharm.plan.build import Plan
from xlharm.report.figure import figure, write_figure
from xlharm.store.store import Store

SVG = "{http://www.w3.org/2000/svg}"


def test_the_figure_is_one_wellformed_svg_that_loads_nothing(plan: Plan, full: Store, tmp_path: Path) -> None:
    text = write_figure(GridResults(plan, full), tmp_path / "figure.svg").read_text(encoding="utf-8")
    root = ET.fromstring(text)  # noqa: S314 - our own output
    assert root.tag == f"{SVG}svg"
    assert not {e.tag for e in root.iter()} & {f"{SVG}script", f"{SVG}image", f"{SVG}use", f"{SVG}foreignObject"}
    assert "href" not in text
    numbers = [e.text for e in root.iter(f"{SVG}text") if e.get("class") == "number"]
    assert len(numbers) == 2 * 81
    assert numbers.count("86") == 4


def test_missing_squares_are_hatched_and_all_lies_inside(plan: Plan, partial: Store) -> None:
    root = ET.fromstring(figure(GridResults(plan, partial)))  # noqa: S314 - our own output
    groups = [e for e in root.iter(f"{SVG}g") if e.get("class") == "missing"]
    assert len(groups) == 2 * (4 * 9 + 1)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for rect in root.iter(f"{SVG}rect"):
        assert float(rect.get("x", 0)) + float(rect.attrib["width"]) <= width
        assert float(rect.get("y", 0)) + float(rect.attrib["height"]) <= height


def test_nothing_done_is_drawn_too(plan: Plan, empty: Store) -> None:
    assert "not evaluated yet" in figure(GridResults(plan, empty))
    assert "<svg" in figure(GridResults(plan_of(unlearn={"none": []}, methods={}), empty))
