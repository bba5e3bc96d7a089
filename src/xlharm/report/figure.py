"""The heatmaps as one standalone SVG, for a README or a paper."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from xlharm.analysis.headline import panel_line
from xlharm.analysis.panels import Panel, PanelGroup, Spot
from xlharm.analysis.panels import groups as panel_groups
from xlharm.analysis.reading import Readings, whole
from xlharm.analysis.results import GridResults
from xlharm.analysis.seeds import shown
from xlharm.analysis.table import write_file
from xlharm.analysis.wording import Language
from xlharm.config.grid import NONE
from xlharm.plan.build import Plan
from xlharm.report import colours
from xlharm.report.html import template_environment

_LEFT, _TOP, _MARGIN, _GAP = 96, 92, 24, 40
_OF_WIDTH, _QR_WIDTH, _HEIGHT = 46, 34, 38
_HEAD, _FOOT = 52, 44


@dataclass(frozen=True, kw_only=True)
class Square:
    """One drawn square."""

    x: int
    y: int
    width: int
    css: str
    number: str
    interval: str
    mark: str
    own: bool
    unlearned: bool


@dataclass(frozen=True, kw_only=True)
class Label:
    """One drawn text."""

    x: int
    y: int
    text: str
    css: str


def write_figure(results: GridResults, path: Path) -> Path:
    """Draw OF and QR of a grid's first method, all seeds together, before and after each unlearning set.

    Raises:
        UserError: the file cannot be written.
    """
    return write_file(path, figure(results).encode("utf-8"))


def figure(results: GridResults) -> str:
    """Render the SVG; it follows the reader's light or dark setting and loads nothing."""
    plan, readings, groups = results.plan, shown(results), panel_groups(results)
    squares: list[Square] = []
    labels: list[Label] = []
    y = _TOP
    for panel in groups[0].panels if groups else ():
        y = _draw(panel, plan, readings, y=y, squares=squares, labels=labels)
    environment = template_environment()
    return environment.get_template("figure.svg.j2").render(
        width=_right(plan) + _MARGIN,
        height=y + _FOOT,
        foot=y + 6,
        margin=_MARGIN,
        title=_title(plan, groups),
        squares=squares,
        labels=labels,
        cell_height=_HEIGHT,
        style=Markup(environment.get_template("figure.css.j2").render(palette=_palette())),  # noqa: S704 - our own text
    )


def _palette() -> dict[str, dict[str, tuple[colours.Swatch, ...]]]:
    return {mode: {m: colours.swatches(m, mode) for m in ("of", "qr")} for mode in ("light", "dark")}


def _title(plan: Plan, groups: tuple[PanelGroup, ...]) -> str:
    method = next((p.method for p in groups[0].panels if p.method != NONE), "") if groups else ""
    several = f", {len(plan.grid.seeds)} seeds together" if len(plan.grid.seeds) > 1 else ""
    return f"{plan.grid.name}" + (f" · {method}{several}" if method else several)


def _qr_left(plan: Plan) -> int:
    return _MARGIN + _LEFT + len(plan.grid.languages) * _OF_WIDTH + _GAP


def _right(plan: Plan) -> int:
    return _qr_left(plan) + len(plan.grid.languages) * _QR_WIDTH


def _draw(panel: Panel, plan: Plan, readings: Readings, *, y: int, squares: list[Square], labels: list[Label]) -> int:
    """Draw one panel from ``y`` on; return where the next one starts."""
    labels.append(Label(x=_MARGIN, y=y, text=panel.title, css="title"))
    labels.append(Label(x=_right(plan), y=y, text=panel_line(panel, readings), css="soft end"))
    lefts: dict[str, tuple[int, int]] = {
        "of": (_MARGIN + _LEFT, _OF_WIDTH),
        "qr": (_qr_left(plan), _QR_WIDTH),
    }
    for measure, (left, width) in lefts.items():
        labels.append(Label(x=left, y=y + 20, text=measure.upper(), css="measure"))
        for i, language in enumerate(plan.grid.languages):
            labels.append(Label(x=left + i * width + width // 2, y=y + 36, text=language, css="soft mid"))
    y += 42
    for row in (r for r in panel.rows if r.cell):
        name = "clean control" if row.contaminate == NONE else Language(row.contaminate).name
        labels.append(Label(x=_MARGIN, y=y + _HEIGHT // 2 + 4, text=name, css="row"))
        for measure, (left, width) in lefts.items():
            for i, spot in enumerate(row.spots):
                squares.append(_square(spot, measure, x=left + i * width, y=y, width=width))
        y += _HEIGHT
    return y + _HEAD - 12


def _square(spot: Spot, measure: str, *, x: int, y: int, width: int) -> Square:
    reading = spot.reading
    rate = (reading.of if measure == "of" else reading.qr) if reading else None
    common: dict[str, Any] = {"x": x, "y": y, "width": width, "own": spot.own, "unlearned": spot.unlearned}
    if rate is None:
        return Square(**common, css="missing", number="", interval="", mark="")
    rise = {"clear": "▲", "maybe": "△"}.get(spot.rise, "") if measure == "of" else ""
    return Square(
        **common,
        css=f"{measure}{colours.step(rate.value)}",
        number=whole(rate.value),
        interval=f"{whole(rate.low)}–{whole(rate.high)}",
        mark="†" if spot.warnings else rise,
    )
