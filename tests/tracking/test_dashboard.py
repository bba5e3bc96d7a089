"""Dashboards as W&B keeps them: sent to a real server, and read back with the library that W&B gives out for it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.analysis.worlds import fill, plan_of
from tests.tracking.server import ENTITY, WandbServer
from xlharm.analysis.results import GridResults
from xlharm.errors import UserError
from xlharm.store.store import Store
from xlharm.tracking import dashboard as module
from xlharm.tracking.charts import WORDS, curves, heatmap, trade_off
from xlharm.tracking.dashboard import Dashboard, check, dashboard, limited
from xlharm.tracking.mirror import grid_id, group_of
from xlharm.tracking.wandb import sync

LIMITS = "at most 500 runs for a chart, 1,000 for a workspace and 200,000 rows of a table"
SETS = ("none", "en", "source", "en+source")


def grid_of(folder: Path, **fields: Any) -> GridResults:
    plan = plan_of(languages=["en", "ur"], contaminate=["none", "ur"], **fields)
    store = Store(str(folder / plan.grid.name))
    fill(plan, store, n=20)
    return GridResults(plan, store)


@pytest.fixture(scope="module")
def grids(tmp_path_factory: pytest.TempPathFactory) -> tuple[GridResults, GridResults]:
    folder = tmp_path_factory.mktemp("grids")
    methods = {"npo": {"objective": "npo"}, "ga": {"objective": "ga"}}
    return grid_of(folder), grid_of(folder, name="other", methods=methods)


@pytest.fixture
def made(server: WandbServer, grids: tuple[GridResults, ...], tmp_path: Path) -> Dashboard:
    for grid in grids:
        sync(grid, folder=tmp_path, cells=False)
    return dashboard(grids, project="xlharm")


def runs(grids: tuple[GridResults, ...], *kinds: str) -> str:
    groups = ", ".join(f"'{group_of(grid.plan)}'" for grid in grids)
    return f'Metric("Group") in [{groups}] and Metric("JobType") in [{", ".join(map(repr, kinds))}]'


def charts_of(panels: list[Any]) -> list[tuple[str, str, dict[str, str]]]:
    """Return the chart, the table and the texts of each custom chart."""
    return [(p.chart_name, p.query["summaryTable"]["tableKey"], p.chart_strings) for p in panels]


HEATMAPS = [
    (f"{ENTITY}/{heatmap(measure).name}", "heatmap", {"title": f"{WORDS[measure]} {where}", "set": name})  # type: ignore[arg-type] # one of two words
    for name, where in zip(
        SETS, ["before unlearning", *(f"after unlearning, set {name}" for name in SETS[1:])], strict=True
    )
    for measure in ("of", "qr")
]
CURVES = [
    (f"{ENTITY}/{curves().name}", "curves", {"title": f"losses of {kind} stages", "stage": kind})
    for kind in ("contaminate", "sft", "unlearn")
]
TRADE_OFF = [(f"{ENTITY}/{trade_off().name}", "methods", {"title": "OF against QR by method: best is the lower right"})]


@pytest.mark.slow
def test_the_workspace_read_back(made: Dashboard, grids: tuple[GridResults, ...]) -> None:
    import wandb_workspaces.workspaces as ws

    workspace = ws.Workspace.from_url(made.workspace)
    assert (workspace.entity, workspace.project, workspace.name) == (ENTITY, "xlharm", "xlharm quickstart, other")
    assert workspace.auto_generate_panels is False
    by_name = {section.name: section for section in workspace.sections}
    assert list(by_name) == [
        "About", "Findings", "Heatmaps", "OF against QR", "Curves by stage", "Curves of cells", "Grids compared",
    ]  # fmt: skip
    (about,) = by_name["About"].panels
    first, second, limits = about.markdown.split("\n\n")
    assert first.startswith("quickstart: Before unlearning, the fake detail is in 85")
    assert second.startswith("other: ")
    assert LIMITS in limits
    for section in workspace.sections:
        shown = section.layout_settings.columns * section.layout_settings.rows
        assert section.is_open
        assert shown >= len(section.panels)  # nothing needs a click
    assert [panel.table_name for panel in by_name["Findings"].panels] == ["findings"]
    assert charts_of(by_name["Heatmaps"].panels) == HEATMAPS
    assert charts_of(by_name["OF against QR"].panels) == TRADE_OFF
    assert charts_of(by_name["Curves by stage"].panels) == CURVES
    of, qr = by_name["Heatmaps"].panels[:2]
    assert of.chart_fields["of_lo"] == "of_lo"
    assert {*of.chart_fields} - {*qr.chart_fields} == {
        f"of{end}" for end in ("", "_lo", "_hi", "_n", "_items", "_change")
    }
    plots = by_name["Curves of cells"].panels
    assert [plot.x.name for plot in plots] == ["step/contaminate", "step/sft", "step/unlearn"]
    assert [y.name for y in plots[2].y] == [
        "loss/unlearn", "retain_loss/unlearn", "forget_nll/unlearn", "retain_nll/unlearn",
    ]  # fmt: skip
    (comparer,) = by_name["Grids compared"].panels
    assert comparer.diff_only == "split"
    settings = workspace.runset_settings
    assert settings.filters == runs(grids, "grid", "cell")
    assert [(o.item.name, o.ascending) for o in settings.order] == [("JobType", False)]  # the grids' runs come first
    assert settings.pinned_runs == [grid_id(grid.plan) for grid in grids]


@pytest.mark.slow
def test_the_report_read_back(made: Dashboard, grids: tuple[GridResults, ...]) -> None:
    import wandb_workspaces.reports.v2 as wr

    report = wr.Report.from_url(made.report)
    assert (report.entity, report.project, report.title) == (ENTITY, "xlharm", "xlharm quickstart, other")
    assert report.description == "Grids side by side: quickstart, other"
    assert wr.Report.from_url(made.report, as_model=True).spec.width == "fluid"
    texts = [block.text for block in report.blocks if isinstance(block, wr.P)]
    assert texts[0].startswith("quickstart: Before unlearning, the fake detail is in 85")
    assert texts[1].startswith("other: ")
    assert LIMITS in texts[2]
    heads = [block.text for block in report.blocks if isinstance(block, wr.H1)]
    panels = dict(zip(heads, (b for b in report.blocks if isinstance(b, wr.PanelGrid)), strict=True))
    assert [panel.table_name for panel in panels["Findings"].panels] == ["findings"]
    heatmaps = panels["Heatmaps: contamination language x query language"]
    assert charts_of(heatmaps.panels) == HEATMAPS
    assert [(p.layout.x, p.layout.y) for p in heatmaps.panels[:4]] == [(0, 0), (12, 0), (0, 12), (12, 12)]
    assert charts_of(panels["OF against QR by method"].panels) == TRADE_OFF
    assert charts_of(panels["Curves by stage"].panels) == CURVES
    assert panels["Grids compared"].panels[0].diff_only == "split"
    for head, block in panels.items():
        (runset,) = block.runsets
        kind = "cell" if head == "Curves of cells" else "grid"
        assert (runset.entity, runset.project, runset.name) == (ENTITY, "xlharm", f"{kind}s")
        assert runset.filters == runs(grids, kind)


@pytest.mark.slow
def test_the_same_name_updates_and_doubles_nothing(
    server: WandbServer, made: Dashboard, grids: tuple[GridResults, ...]
) -> None:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    assert dashboard(grids, project="xlharm") == made
    assert len(server.views) == 2
    assert len(server.charts) == 4
    fewer = dashboard(grids[:1], project="xlharm", name="xlharm quickstart, other")
    assert fewer == made
    assert len(server.views) == 2
    assert ws.Workspace.from_url(made.workspace).runset_settings.filters == runs(grids[:1], "grid", "cell")
    assert wr.Report.from_url(made.report).description == "Grids side by side: quickstart"
    other = dashboard(grids, project="xlharm", name="Ein anderer, ähnlicher: (2)")
    assert ws.Workspace.from_url(other.workspace).name == "Ein anderer, ähnlicher: (2)"
    assert wr.Report.from_url(other.report).title == "Ein anderer, ähnlicher: (2)"
    assert {other.workspace, other.report}.isdisjoint({made.workspace, made.report})
    assert len(server.views) == 4


@pytest.mark.slow
def test_charts_are_kept_as_they_are_drawn(server: WandbServer, made: Dashboard) -> None:
    for chart in (heatmap("of"), heatmap("qr"), trade_off(), curves()):
        assert server.charts[f"{ENTITY}/{chart.name}"] == chart.spec


@pytest.mark.slow
def test_beyond_what_wandb_shows_only_the_grids_runs_are_there(
    server: WandbServer, grids: tuple[GridResults, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    total = sum(1 + len(grid.plan.cells) for grid in grids)
    monkeypatch.setattr(module, "MOST_RUNS", total)
    assert not limited(grids)
    monkeypatch.setattr(module, "MOST_RUNS", total - 1)
    assert limited(grids)
    for grid in grids:
        sync(grid, folder=tmp_path, cells=False)
    assert [run for run in server.started if run not in {grid_id(grid.plan) for grid in grids}] == []
    made = dashboard(grids, project="xlharm")
    workspace, report = ws.Workspace.from_url(made.workspace), wr.Report.from_url(made.report)
    assert "Curves of cells" not in [section.name for section in workspace.sections]
    assert workspace.runset_settings.filters == runs(grids, "grid")
    assert any("These grids have 18 runs" in block.text for block in report.blocks if isinstance(block, wr.P))
    assert "These grids have 18 runs" in workspace.sections[0].panels[0].markdown
    assert "Curves of cells" not in [block.text for block in report.blocks if isinstance(block, wr.H1)]


@pytest.mark.slow
def test_what_the_charts_draw_is_in_the_tables_that_were_sent(
    server: WandbServer, grids: tuple[GridResults, ...], tmp_path: Path
) -> None:
    (folder,) = sync(grids[0], folder=tmp_path, cells=False)
    files = {path.name.split("_")[0]: path for path in folder.glob("files/media/table/*.table.json")}
    (run,) = server.runs.values()
    for chart in (heatmap("of"), heatmap("qr"), trade_off(), curves()):
        assert run.summary[chart.table]["_type"] == "table-file"
        table = json.loads(files[chart.table].read_text())
        assert {*chart.fields.values()} <= {*table["columns"]}
        assert table["data"]


def test_names(grids: tuple[GridResults, ...]) -> None:
    assert check(grids, name=None) == "xlharm quickstart, other"
    assert check(grids, name="Zwei Grids: 1 (of 2)") == "Zwei Grids: 1 (of 2)"
    for wrong in ("a/b", "a + b", "a?b", "", " ", "a#b", "x" * 129, "🙂"):
        with pytest.raises(UserError, match=r"--name .*: expected up to 128 letters, digits, spaces and"):
            check(grids, name=wrong)
    with pytest.raises(UserError, match="grid other: two of the grids have this name"):
        check([*grids, grids[1]], name="x")


def test_names_of_many_grids_and_with_a_plus(empty: Store) -> None:
    many = [GridResults(plan_of(name=f"{i:060}+x"), empty) for i in range(3)]
    assert check(many[:1], name=None) == f"xlharm {0:060}-x"
    assert check(many, name=None) == f"xlharm {0:060}-x and 2 more"


def test_without_the_library_a_line_says_what_to_install(
    grids: tuple[GridResults, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'xlharm\[dashboards\]'"):
        check(grids, name=None)


@pytest.mark.slow
def test_a_server_that_refuses_is_one_line(server: WandbServer, grids: tuple[GridResults, ...]) -> None:
    with pytest.raises(UserError, match=r"W&B does not take the dashboards .* project 'someone/nowhere' not found"):
        dashboard(grids, project="nowhere")
