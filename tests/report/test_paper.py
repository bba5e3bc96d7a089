import csv
from pathlib import Path

import pytest

from tests.analysis.worlds import fill, plan_of
from xlharm.analysis.charts import Estimate, Forest, Heatmap, Network, Point, Scatter, Square
from xlharm.analysis.results import GridResults
from xlharm.report import paper
from xlharm.report.paper import draw, latex, markdown, write_paper
from xlharm.store.store import Store

BEGINNINGS = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
POINT = Point(label="npo $x_1$", x=95, x_low=90, x_high=99, y=5, y_low=1, y_high=9, good=True, front=True)
CHARTS = (
    Forest(name="f/1", title="t", axis="x", rows=(Estimate(label="a_b", value=1, low=0, high=2, threshold=1.5),)),
    Scatter(name="s", title="t", x_axis="x", y_axis="y", points=(POINT,), limit=90),
    Heatmap(
        name="h", title="t", measure="of", columns=("en",), rows=(("German", (Square(value=0.4, low=0, high=3),)),)
    ),
    Network(name="n", title="t", nodes=("en", "de"), edges=(("en", "de", 40.0),), least=10),
)


@pytest.mark.slow
@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: type(chart).__name__)
def test_every_figure_has_three_forms_and_is_the_same_every_time(
    chart: Forest | Scatter | Heatmap | Network, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    files = draw(chart, tmp_path)
    assert [f.suffix[1:] for f in files] == list(BEGINNINGS)
    assert all(f.parent == tmp_path / "figures" for f in files)  # a name with a slash is no folder
    contents = [f.read_bytes() for f in files]
    assert all(c.startswith(BEGINNINGS[f.suffix[1:]]) for f, c in zip(files, contents, strict=True))
    assert [f.read_bytes() for f in draw(chart, tmp_path)] == contents


@pytest.mark.slow
def test_the_heatmaps_numbers_are_the_pages(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    svg = next(f for f in draw(CHARTS[2], tmp_path) if f.suffix == ".svg").read_text(encoding="utf-8")
    assert "&lt;1" in svg  # never rounded to nothing
    assert "0–3" in svg


@pytest.mark.slow
def test_a_grid_gives_figures_and_tables(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plan = plan_of(contaminate=["none", "de"], unlearn={"none": [], "en": ["en"]}, languages=["en", "de"])
    store = Store(str(tmp_path / "store"))
    fill(plan, store, n=4)
    files = write_paper(GridResults(plan, store), tmp_path / "paper")
    names = {str(f.relative_to(tmp_path / "paper")) for f in files}
    assert {
        "figures/overview.svg",
        "figures/of-before.svg",
        "figures/qr-en.pdf",
        "tables/effects.tex",
        "tables/cells.csv",
    } <= names
    with (tmp_path / "paper/tables/cells.csv").open(encoding="utf-8") as handle:
        assert len(list(csv.DictReader(handle))) == 2 * len(plan.cells)


def test_heatmaps_before_unlearning_are_drawn_once(tmp_path: Path) -> None:
    npo = {"objective": "npo", "steps": 5, "learning_rate": 1e-4}
    plan = plan_of(
        contaminate=["none", "de"], unlearn={"none": [], "en": ["en"]}, languages=["en", "de"],
        methods={"npo": npo, "ga": {**npo, "objective": "ga"}},
    )  # fmt: skip
    names = [chart.name for chart in paper._heatmaps(GridResults(plan, Store(str(tmp_path))))]
    assert names == ["of-before", "qr-before", "of-en-npo", "qr-en-npo", "of-en-ga", "qr-en-ga"]


def test_latex_and_markdown_say_what_the_table_says() -> None:
    columns, rows = ["of_lo", "where"], [["1.0", "50 % of a_b & <i>|"], ["−2", "\x1b[31m"]]
    tex = latex(columns, rows, numeric=[True, False])
    assert r"\begin{longtable}{rl}" in tex
    assert r"1.0 & 50 \% of a\_b \& <i>| \\" in tex
    assert "$-$2 & <U+001B>[31m" in tex
    text = markdown(columns, rows, numeric=[True, False])
    assert text.splitlines()[:3] == ["| of lo | where |", "| ---: | --- |", r"| 1.0 | 50 % of a\_b & \<i\>\| |"]
