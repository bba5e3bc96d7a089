"""Figures and tables for a paper: every figure as SVG, PDF and PNG, every table as LaTeX, CSV and Markdown.

Figures are drawn by matplotlib, which comes with the extra `paper`. They are the charts that the page shows. One more,
`overview.svg`, holds all heatmaps of the first method and follows its reader's light or dark setting.
"""

import re
from collections.abc import Callable, Iterator
from math import cos, pi, sin
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

import pyarrow as pa

from xlharm.analysis.charts import Chart, Forest, Heatmap, Network, Scatter
from xlharm.analysis.panels import groups, heatmap
from xlharm.analysis.reading import whole
from xlharm.analysis.results import GridResults
from xlharm.analysis.table import render, write_file
from xlharm.analysis.views import VIEWS
from xlharm.errors import UserError
from xlharm.report import colours
from xlharm.report.figure import write_figure
from xlharm.report.sections import charts, kept_columns, shown_value
from xlharm.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMS = ("svg", "pdf", "png")
_TONES = {"good": "#2f4c81", "bad": "#872330", "open": "#5f5a52"}  # apart in lightness, too
_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so the files are the same everywhere
    "font.size": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "xlharm",
    "savefig.dpi": 300,
}
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "−": "$-$",
}  # fmt: skip


def check() -> None:
    """Make sure that figures can be drawn.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401, ICN001 - whether it is there
    except ImportError:
        raise UserError("--paper: needs matplotlib: pip install 'xlharm[paper]'") from None


def write_paper(results: GridResults, folder: Path) -> list[Path]:
    """Write a grid's figures and tables; return the files.

    Args:
        results: of the grid.
        folder: is made; files of the same names are replaced.

    Raises:
        UserError: matplotlib is not installed, or a file cannot be written.
    """
    check()
    files = [write_figure(results, folder / "figures" / "overview.svg")]
    for chart in (*_heatmaps(results), *charts(results)):
        files += draw(chart, folder)
    for name, table in _tables(results):
        files += write_table(table, folder, name=name)
    return files


def _heatmaps(results: GridResults) -> Iterator[Chart]:
    together = groups(results)
    for group in together:
        for panel in group.panels:
            if panel.before and group is not together[0]:  # every method's group has them
                continue
            words = (
                "before" if panel.before else panel.unlearn if len(together) == 1 else f"{panel.unlearn}-{group.method}"
            )
            yield heatmap(panel, "of", name=f"of-{words}")
            yield heatmap(panel, "qr", name=f"qr-{words}")


def _tables(results: GridResults) -> Iterator[tuple[str, pa.Table]]:
    yield "cells", results.table
    for view in VIEWS.values():
        table = view.table(results)
        if table.num_rows:
            yield view.name, table


# -- tables ------------------------------------------------------------------------------------------------------


def write_table(table: pa.Table, folder: Path, *, name: str) -> list[Path]:
    """Write a table as `tables/NAME.csv` with all digits, and as `.tex` (booktabs) and `.md` as the page shows it."""
    columns = kept_columns(table)
    rows = [[shown_value(row[c], c) for c in columns] for row in table.select(columns).to_pylist()] if columns else []
    numeric = [not pa.types.is_string(table.schema.field(c).type) for c in columns]
    texts = {
        "csv": render(table, form="csv"),
        "tex": latex(columns, rows, numeric=numeric).encode("utf-8"),
        "md": markdown(columns, rows, numeric=numeric).encode("utf-8"),
    }
    return [write_file(folder / "tables" / f"{_file_name(name)}.{form}", text) for form, text in texts.items()]


def latex(columns: list[str], rows: list[list[str]], *, numeric: list[bool]) -> str:
    """Return a longtable; needs the packages booktabs and longtable."""
    kinds = "".join("r" if number else "l" for number in numeric)
    head = " & ".join(_escaped(c.replace("_", " ")) for c in columns)
    body = "\n".join(" & ".join(_escaped(value) for value in row) + r" \\" for row in rows)
    top = rf"\begin{{longtable}}{{{kinds}}}" + "\n" + rf"\toprule {head} \\ \midrule \endhead"
    return f"% needs \\usepackage{{booktabs,longtable}}\n{top}\n{body}\n\\bottomrule\n\\end{{longtable}}\n"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in visible(" ".join(text.split())))


def markdown(columns: list[str], rows: list[list[str]], *, numeric: list[bool]) -> str:
    """Return a table in GitHub's Markdown."""

    def cell(text: str) -> str:
        return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", visible(" ".join(text.split())))

    lines = [[cell(c.replace("_", " ")) for c in columns], ["---:" if number else "---" for number in numeric]]
    return "".join(f"| {' | '.join(line)} |\n" for line in (*lines, *([cell(v) for v in row] for row in rows)))


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.+-]", "-", name)


# -- figures -----------------------------------------------------------------------------------------------------


def draw(chart: Chart, folder: Path) -> list[Path]:
    """Draw one figure as `figures/NAME.svg`, `.pdf` and `.png`; the same chart gives the same files."""
    import io

    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    files = []
    with rc_context(_STYLE):
        figure = Figure(figsize=_size(chart), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.set_title(chart.title, fontsize=9, loc="left")
        _drawer(chart)(axes, figure)
        for form in FORMS:
            dated: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[form]
            content = io.BytesIO()
            figure.savefig(content, format=form, metadata=dated)
            files.append(write_file(folder / "figures" / f"{_file_name(chart.name)}.{form}", content.getvalue()))
    return files


def _size(chart: Chart) -> tuple[float, float]:
    """Return width and height in inches; 5.5 is a text's width."""
    match chart:
        case Forest():
            return 6.3, 0.9 + 0.22 * len(chart.rows)
        case Heatmap():
            return 1.6 + 0.5 * len(chart.columns), 0.9 + 0.4 * len(chart.rows)
        case Scatter():
            return 5.5, 3.4
        case Network():
            return 4.6, 4.6
        case _:
            assert_never(chart)


def _drawer(chart: Chart) -> Callable[["Axes", "Figure"], None]:
    match chart:
        case Forest():
            return lambda axes, _: _forest(axes, chart)
        case Heatmap():
            return lambda axes, _: _squares(axes, chart)
        case Scatter():
            return lambda axes, _: _scatter(axes, chart)
        case Network():
            return lambda axes, _: _network(axes, chart)
        case _:
            assert_never(chart)


def _forest(axes: "Axes", chart: Forest) -> None:
    for place, row in enumerate(chart.rows):
        colour = _TONES[row.tone]
        axes.plot([row.low, row.high], [place, place], color=colour, linewidth=1.4)
        filled = "white" if row.tone == "open" else colour
        axes.plot([row.value], [place], marker="o", markersize=4.5, color=colour, markerfacecolor=filled)
        if row.threshold is not None:
            axes.plot(
                [row.threshold] * 2, [place - 0.35, place + 0.35], color="black", linewidth=1, linestyle=(0, (2, 1))
            )
    axes.axvline(0, color="#bbbbbb", linewidth=0.6, zorder=0)
    axes.set_yticks(range(len(chart.rows)), [visible(row.label) for row in chart.rows])
    axes.invert_yaxis()
    axes.set_xlabel(chart.axis)


def _squares(axes: "Axes", chart: Heatmap) -> None:
    from matplotlib.patches import Rectangle

    scale = colours.swatches(chart.measure, "light")
    for y, (_, squares) in enumerate(chart.rows):
        for x, square in enumerate(squares):
            if square.value is None:
                axes.add_patch(
                    Rectangle((x, y), 1, 1, facecolor="white", edgecolor="#cfc8bb", hatch="////", linewidth=0)
                )
                continue
            swatch = scale[colours.step(square.value)]
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor=swatch.ground, edgecolor="white", linewidth=1.2))
            axes.text(x + 0.5, y + 0.42, whole(square.value), ha="center", va="center", color=swatch.ink, fontsize=8)
            limits = "–".join(whole(end) for end in (square.low, square.high) if end is not None)
            axes.text(x + 0.5, y + 0.76, limits, ha="center", va="center", color=swatch.ink, fontsize=4.5)
            axes.text(x + 0.92, y + 0.2, square.mark, ha="right", va="center", color=swatch.ink, fontsize=5)
        for x, square in enumerate(squares):
            if square.framed:
                axes.add_patch(Rectangle((x + 0.04, y + 0.04), 0.92, 0.92, fill=False, edgecolor="black", linewidth=1))
    axes.set_xlim(0, len(chart.columns))
    axes.set_ylim(len(chart.rows), 0)
    axes.set_xticks([x + 0.5 for x in range(len(chart.columns))], list(chart.columns))
    axes.set_yticks([y + 0.5 for y in range(len(chart.rows))], [label for label, _ in chart.rows])
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)


def _scatter(axes: "Axes", chart: Scatter) -> None:
    axes.axvline(chart.limit, color="black", linewidth=0.8, linestyle=(0, (3, 2)))
    front = sorted((p for p in chart.points if p.front), key=lambda p: p.x)
    axes.plot([p.x for p in front], [p.y for p in front], color="#888888", linewidth=0.8, linestyle="--", zorder=1)
    for p in chart.points:
        colour = _TONES["good" if p.good else "bad"]
        axes.errorbar(
            [p.x], [p.y], xerr=[[p.x - p.x_low], [p.x_high - p.x]], yerr=[[p.y - p.y_low], [p.y_high - p.y]],
            fmt="o", markersize=4, color=colour, ecolor=colour, elinewidth=0.8, alpha=0.9,
            markerfacecolor=colour if p.good else "white",
        )  # fmt: skip
        axes.annotate(visible(p.label), (p.x, p.y), xytext=(4, 3), textcoords="offset points", fontsize=7)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(chart.x_axis)
    axes.set_ylabel(chart.y_axis)


def _network(axes: "Axes", chart: Network) -> None:
    from matplotlib.patches import FancyArrowPatch

    scale = colours.swatches("of", "light")
    angle = {node: 2 * pi * i / len(chart.nodes) for i, node in enumerate(chart.nodes)}
    place = {node: (sin(a), cos(a)) for node, a in angle.items()}
    for source, target, rate in sorted(chart.edges, key=lambda edge: edge[2]):
        if rate < chart.least:
            continue
        colour = scale[colours.step(max(rate, 30))].ground
        axes.add_patch(
            FancyArrowPatch(
                place[source], place[target], arrowstyle="-|>", mutation_scale=7, shrinkA=11, shrinkB=11,
                connectionstyle="arc3,rad=0.16", linewidth=0.5 + rate / 32, color=colour,
            )
        )  # fmt: skip
    for node, (x, y) in place.items():
        circle = {"boxstyle": "circle", "facecolor": "white", "edgecolor": "#5f5a52", "linewidth": 0.7}
        axes.text(x, y, node, ha="center", va="center", fontsize=8, bbox=circle)
    axes.set_xlim(-1.2, 1.2)
    axes.set_ylim(-1.2, 1.2)
    axes.set_aspect("equal")
    axes.set_axis_off()
