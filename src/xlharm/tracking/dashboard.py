"""W&B dashboards: one workspace and one report that compare grids side by side, drawn from what ``sync`` has sent.

Panels read the tables of the grids' runs, one run for each grid, so that the limits of W&B (500 runs in a chart,
1,000 in a workspace) do not cut a large grid. Runs of single cells are shown only below those limits.
"""

import hashlib
import importlib.util
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from xlharm.analysis.headline import headline
from xlharm.analysis.results import GridResults
from xlharm.errors import UserError
from xlharm.tracking import charts
from xlharm.tracking.charts import VegaChart
from xlharm.tracking.mirror import grid_id, group_of
from xlharm.tracking.tables import CURVES, kinds_of, sets_of
from xlharm.visible import one_line

MOST_RUNS = 500
"""Runs that W&B reads for a custom chart; with more, only the tables of the grids' runs are shown."""
_PINNED = 20  # W&B's limit
_LONGEST = 128  # characters of a report's title
_SIGNS = " ,.;:_-()"  # a report's address holds its title; W&B takes a plus for an emoji


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """Addresses of what was made.

    Attributes:
        workspace: address of the workspace.
        report: address of the report.
    """

    workspace: str
    report: str


def dashboard(
    grids: Sequence[GridResults], *, project: str, entity: str | None = None, name: str | None = None
) -> Dashboard:
    """Make a workspace and a report that compare grids, or update those of the same name.

    Args:
        grids: in the order shown; their runs are in the project already.
        project: W&B project.
        entity: team or user; None takes the account's default.
        name: of both; default: the grids' names.

    Raises:
        UserError: wandb-workspaces is not installed, nobody is logged in, grids or the name cannot be shown, or W&B
            does not take what is sent.
    """
    title = check(grids, name=name)
    try:
        return _made(grids, title, project=project, entity=entity)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - W&B's errors have no common class
        reason = one_line(str(error), most=200)
        raise UserError(f"W&B does not take the dashboards ({type(error).__name__}): {reason}") from None


def _made(grids: Sequence[GridResults], title: str, *, project: str, entity: str | None) -> Dashboard:
    import wandb

    api = wandb.Api()
    owner = entity or os.environ.get("WANDB_ENTITY") or api.default_entity
    if not owner:
        raise UserError("--entity: your W&B account has no default: say which team or user")
    page = _Page(grids=tuple(grids), project=project, entity=owner, charts=_charts_at(api, owner))
    return Dashboard(workspace=_workspace(page, title), report=_report(page, title, api=api))


@dataclass(frozen=True, kw_only=True)
class _Page:
    """What both show.

    Attributes:
        charts: W&B's name of each chart by ours.
    """

    grids: tuple[GridResults, ...]
    project: str
    entity: str
    charts: dict[str, str]

    @property
    def groups(self) -> list[str]:
        return [group_of(one.plan) for one in self.grids]

    def runs_of(self, *kinds: str) -> str:
        """Return W&B's filter for the grids' runs of some kinds, `grid` and `cell`."""
        groups, names = (", ".join(f"'{x}'" for x in some) for some in (self.groups, kinds))
        return f"Metric('Group') in [{groups}] and Metric('JobType') in [{names}]"


def check(grids: Sequence[GridResults], *, name: str | None) -> str:
    """Return the title of the dashboards, before anything is sent.

    Raises:
        UserError: wandb-workspaces is not installed, two grids have one name, or W&B does not allow the title.
    """
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise UserError("dashboards need wandb-workspaces: pip install 'xlharm[dashboards]'")
    names = [one.plan.grid.name for one in grids]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise UserError(f"grid {twice[0]}: two of the grids have this name: give one another `name`")
    title = name if name is not None else f"xlharm {', '.join(names)}".replace("+", "-")
    if name is None and len(title) > _LONGEST:
        title = f"xlharm {names[0]} and {len(names) - 1} more".replace("+", "-")
    if not title.strip() or len(title) > _LONGEST or not all(c.isalnum() or c in _SIGNS for c in title):
        expected = f"up to {_LONGEST} letters, digits, spaces and {' '.join(_SIGNS.strip())}"
        raise UserError(f"--name {one_line(title, most=60)}: expected {expected}")
    return title


def limited(grids: Sequence[GridResults]) -> bool:
    """Whether the grids have more runs than W&B shows, so that only the tables of the grids' runs are."""
    return _runs(grids) > MOST_RUNS


def _runs(grids: Sequence[GridResults]) -> int:
    """Count the runs that the grids have when they are done."""
    return sum(1 + len(one.plan.cells) for one in grids)


def _charts_at(api: Any, entity: str) -> dict[str, str]:
    """Register the charts; those of an earlier time are there under the same names, which follow from their content."""
    names = {}
    for chart in (charts.heatmap("of"), charts.heatmap("qr"), charts.trade_off(), charts.curves()):
        try:
            api.create_custom_chart(
                entity=entity, name=chart.name, display_name=chart.name, spec_type="vega2", access="private",
                spec=chart.spec,
            )  # fmt: skip
        except Exception as error:
            if not any(word in str(error).lower() for word in ("already", "duplicate")):
                raise
        names[chart.name] = f"{entity}/{chart.name}"
    return names


# -- panels --------------------------------------------------------------------------------------------------


def _chart(page: _Page, chart: VegaChart, *, title: str, **strings: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.CustomChart(
        query={"summaryTable": {"tableKey": chart.table}},
        chart_name=page.charts[chart.name],
        chart_fields=chart.fields,
        chart_strings={"title": title, **strings},
        layout=wr.Layout(w=12, h=12),
    )


def _heatmaps(page: _Page) -> list[Any]:
    """Return a heatmap of OF and one of QR for each unlearning set that any of the grids has."""
    sets = dict.fromkeys(name for one in page.grids for name in sets_of(one))
    panels: list[Any] = []
    for name in sets:
        empty = all(not one.plan.grid.unlearn.get(name) for one in page.grids)
        where = "before unlearning" if empty else f"after unlearning, set {name}"
        panels += [_chart(page, charts.heatmap(m), title=f"{charts.WORDS[m]} {where}", set=name) for m in ("of", "qr")]
    return panels


def _trade_off(page: _Page) -> list[Any]:
    return [_chart(page, charts.trade_off(), title="OF against QR by method: best is the lower right")]


def _curves(page: _Page) -> list[Any]:
    kinds = dict.fromkeys(kind for one in page.grids for kind in kinds_of(one.plan))
    return [_chart(page, charts.curves(), title=f"losses of {kind} stages", stage=kind) for kind in kinds]


def _cell_curves(page: _Page) -> list[Any]:
    """Return the losses of single cells, by stage; W&B's own plots, which follow a run while it is sent."""
    import wandb_workspaces.reports.v2 as wr

    kinds = dict.fromkeys(kind for one in page.grids for kind in kinds_of(one.plan))
    return [
        wr.LinePlot(
            title=f"{kind}: losses of single cells", x=f"step/{kind}", y=[f"{name}/{kind}" for name in CURVES],
            max_runs_to_show=100, layout=wr.Layout(w=12, h=8),
        )
        for kind in kinds
    ]  # fmt: skip


def _findings() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [wr.WeavePanelSummaryTable(table_name="findings", layout=wr.Layout(w=24, h=12))]


def _comparer() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [wr.RunComparer(diff_only="split", layout=wr.Layout(w=24, h=12))]


def _about(page: _Page) -> str:
    """Return a paragraph for each grid, and one on what the panels are drawn from."""
    grids = [f"{one.plan.grid.name}: {headline(one)}" for one in page.grids]
    source = (
        "Heatmaps, OF against QR, mean curves and findings are drawn from the tables of one run for each grid, over "
        "all its cells and seeds. W&B reads at most 500 runs for a chart, 1,000 for a workspace and 200,000 rows of "
        "a table."
    )
    if limited(page.grids):
        source += f" These grids have {_runs(page.grids):,} runs, so runs of single cells are not shown here."
    return "\n\n".join([*grids, source])


# -- the two pages -------------------------------------------------------------------------------------------


def _workspace(page: _Page, title: str) -> str:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    sections = [
        _section("About", [wr.MarkdownPanel(markdown=_about(page))], columns=1),
        _section("Findings", _findings(), columns=1),
        _section("Heatmaps", _heatmaps(page)),
        _section("OF against QR", _trade_off(page), columns=1),
        _section("Curves by stage", _curves(page)),
        *([] if limited(page.grids) else [_section("Curves of cells", _cell_curves(page))]),
        _section("Grids compared", _comparer(), columns=1),
    ]
    workspace = _workspace_named(page, title)
    workspace.name, workspace.sections = title, sections
    kinds = ("grid",) if limited(page.grids) else ("grid", "cell")
    workspace.runset_settings = ws.RunsetSettings(
        filters=page.runs_of(*kinds),
        order=[ws.Ordering(ws.Metric("JobType"), ascending=False)],  # the grids' runs first: charts read the first 500
        pinned_runs=[grid_id(one.plan) for one in page.grids][:_PINNED],
        pinned_columns=["run:displayName", "config:base.value", "summary:of/mean", "summary:qr/mean"],
    )
    return str(workspace.save().url)


def _section(name: str, panels: list[Any], *, columns: int = 2) -> Any:
    """Return an open section that shows all its panels at once."""
    import wandb_workspaces.workspaces as ws

    layout = ws.SectionLayoutSettings(columns=columns, rows=-(-len(panels) // columns))
    return ws.Section(name=name, panels=panels, is_open=True, layout_settings=layout)


def _workspace_named(page: _Page, title: str) -> Any:
    """Return the workspace of a name, or a new one. Its id follows from the name, so that it can be found again."""
    import wandb_workspaces.workspaces as ws

    view = hashlib.sha256(f"xlharm {page.entity}/{page.project} {title}".encode()).hexdigest()[:11]
    try:
        return ws.Workspace.from_url(f"https://wandb.ai/{page.entity}/{page.project}?nw={view}")  # of any host
    except ValueError as error:
        if "not found in project" not in str(error):
            raise
    workspace = ws.Workspace(entity=page.entity, project=page.project, name=title)
    workspace._internal_name = f"nw-{view}-v"  # noqa: SLF001 - the only way to choose it; tests/test_private_apis.py
    return workspace


def _report(page: _Page, title: str, *, api: Any) -> str:
    import wandb_workspaces.reports.v2 as wr

    report = wr.Report(entity=page.entity, project=page.project, title=title, width="fluid")
    known = [found.id for found in api.reports(f"{page.entity}/{page.project}") if found.display_name == title]
    if known:
        report.id = known[0]
    report.description = f"Grids side by side: {', '.join(one.plan.grid.name for one in page.grids)}"
    report.blocks = list(_blocks(page))
    return str(report.save().url)


def _blocks(page: _Page) -> Iterable[Any]:
    import wandb_workspaces.reports.v2 as wr

    def grid(panels: list[Any], *kinds: str) -> Any:
        runset = wr.Runset(
            entity=page.entity, project=page.project, name=" and ".join(f"{kind}s" for kind in kinds),
            filters=page.runs_of(*kinds),
        )  # fmt: skip
        return wr.PanelGrid(runsets=[runset], panels=panels)

    yield wr.TableOfContents()
    yield from (wr.P(line) for line in _about(page).split("\n\n"))
    yield from (wr.H1("Findings"), grid(_findings(), "grid"))
    yield from (wr.H1("Heatmaps: contamination language x query language"), grid(_heatmaps(page), "grid"))
    yield from (wr.H1("OF against QR by method"), grid(_trade_off(page), "grid"))
    yield from (wr.H1("Curves by stage"), grid(_curves(page), "grid"))
    if not limited(page.grids):
        yield from (wr.H1("Curves of cells"), grid(_cell_curves(page), "cell"))
    yield from (wr.H1("Grids compared"), grid(_comparer(), "grid"))
