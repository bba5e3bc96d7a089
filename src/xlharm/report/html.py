"""The report: one self-contained HTML page that asks nothing of the network and needs no script to be read."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from xlharm.analysis import reading
from xlharm.analysis.caveats import caveats
from xlharm.analysis.findings import summary
from xlharm.analysis.headline import headline, panel_line
from xlharm.analysis.origins import origins
from xlharm.analysis.panels import PanelGroup, Spot, pooled_groups
from xlharm.analysis.panels import groups as panel_groups
from xlharm.analysis.reading import whole
from xlharm.analysis.results import GridResults
from xlharm.analysis.samples import Samples, per_measure
from xlharm.analysis.seeds import shown
from xlharm.analysis.table import write_file
from xlharm.analysis.wording import Language, hostile, shown_source
from xlharm.config.grid import NONE
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.report import colours
from xlharm.report.sections import plots, sections

_GROUPS_OPEN = 2


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One cell in one query language, with answers to look at."""

    language: Language
    spot: Spot
    samples: Samples | None


@dataclass(frozen=True, kw_only=True)
class CellView:
    """One cell's part of the page; ``anchor`` is where heatmaps link to."""

    anchor: str
    cell: Cell
    asked: tuple[Asked, ...]


def write_report(results: GridResults, path: Path) -> Path:
    """Write the page of a grid, as far as the grid is done.

    Raises:
        UserError: the file cannot be written.
    """
    return write_file(path, page(results).encode("utf-8"))


def page(results: GridResults) -> str:
    """Render the page. Everything a model wrote is escaped; bidi and control characters are shown, not obeyed."""
    plan, readings, groups = results.plan, shown(results), panel_groups(results)
    environment = template_environment()
    style = Markup(environment.get_template("style.css.j2").render(modes=_palette()))  # noqa: S704 - our own text
    script = Markup(environment.get_template("open.js").render())  # noqa: S704 - our own text
    cells = tuple(_cells(plan, groups, samples=results.samples()))
    return environment.get_template("page.html.j2").render(
        grid=plan.grid,
        style=style,
        script=script,
        policy=_policy(style=style, script=script),
        headline=headline(results),
        caveats=caveats(results),
        summary=summary(results),
        facts=_facts(results),
        groups=groups,
        open_groups=len(pooled_groups(groups)) if len(plan.grid.seeds) > 1 else _GROUPS_OPEN,
        readings=readings,
        cells=cells,
        anchors={view.cell.name: view.anchor for view in cells},
        each=per_measure(plan),
        settings=_settings(plan),
        origins=origins(results),
        sections=sections(results),
        plots=plots(results),
    )


def template_environment() -> Environment:
    """Return the environment of all templates: everything is escaped, nothing may be undefined."""
    environment = Environment(
        loader=PackageLoader("xlharm.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(hostile=hostile, whole=whole, step=colours.step, duration=duration)
    environment.globals.update(Language=Language, NONE=NONE, reading=reading, describe=describe, panel_line=panel_line)
    return environment


def duration(seconds: float | None) -> str:
    """Write a time span as people do."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def describe(spot: Spot, measure: str) -> str:
    """Say one square in words, for pointers and screen readers."""
    asked = f"asked in {Language(spot.query).name}"
    result = spot.reading
    if result is None:
        return f"{asked}: {spot.why or 'no result yet'}"
    rate = result.of if measure == "of" else result.qr
    if rate is None:
        return f"{asked}: no {measure.upper()} questions"
    interval = f"95 % {rate.low:.1f}–{rate.high:.1f}"
    text = f"{asked}: {measure.upper()} {rate.value:.1f} ({interval}, n {rate.n} on {rate.items} items)"
    earlier = spot.before and (spot.before.of if measure == "of" else spot.before.qr)
    if earlier:
        text += f", before {earlier.value:.1f}"
    if measure == "of" and spot.rise:
        text += ", rose" + (", intervals apart" if spot.rise == "clear" else ", intervals overlap")
    return ". ".join([text, *spot.warnings])


def _policy(*, style: Markup, script: Markup) -> str:
    """Forbid the page everything but its own style and script: hostile text that slipped through stays dead."""

    def source(text: Markup) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii") + "'"

    return (
        f"default-src 'none'; style-src {source(style)}; script-src {source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _palette() -> dict[str, dict[str, tuple[colours.Swatch, ...]]]:
    return {mode: {measure: colours.swatches(measure, mode) for measure in ("of", "qr")} for mode in ("light", "dark")}


def _cells(plan: Plan, groups: tuple[PanelGroup, ...], *, samples: dict[str, Samples]) -> Iterator[CellView]:
    spots = {
        row.cell.name: row.spots
        for g in groups for p in g.panels for row in p.rows
        if row.cell and (p.seed == row.cell.seed)
    }  # fmt: skip
    for i, cell in enumerate(plan.cells):
        asked = tuple(
            Asked(language=Language(s.query), spot=s, samples=samples.get(cell.evaluations[s.query]))
            for s in spots.get(cell.name, ())
        )
        yield CellView(anchor=f"c{i}", cell=cell, asked=asked)


def _facts(results: GridResults) -> dict[str, str]:
    spec, table = results.plan.grid, results.table
    asked = sum(len(cell.evaluations) for cell in results.plan.cells)
    facts = {
        "Base": shown_source(spec.base) + (f" @ {spec.revision[:10]}" if spec.revision else ""),
        "Corpus": shown_source(spec.corpus),
        "Contaminated in": ", ".join(Language(c).name for c in spec.contaminate if c != NONE) or "nothing",
        "Asked in": ", ".join(spec.languages),
        "Questions": _questions(table.to_pylist()),
        "Evaluations": f"{table.num_rows} of {asked}" if table.num_rows < asked else f"all {asked}",
    }
    if len(spec.methods) == 1:
        facts["Method"] = next(iter(spec.methods))
    return {name: value for name, value in facts.items() if value}


def _questions(rows: list[dict[str, Any]]) -> str:
    def span(name: str) -> str:
        counts = sorted({row[name] for row in rows})
        return f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]}–{counts[-1]}"

    if not rows:
        return ""
    of, qr = f"{span('n')} OF on {span('items')} items", f"{span('n_qr')} QR on {span('items_qr')} items"
    return f"{of}, {qr} for each language"


def _settings(plan: Plan) -> dict[str, dict[str, str]]:
    """List every setting that the numbers depend on, by block."""
    spec = plan.grid
    stages = {f"stage {name}": value for name, value in spec.stages.model_dump(mode="json").items() if value}
    methods = {f"method {name}": method.model_dump(mode="json") for name, method in spec.methods.items()}
    sets = {name: " + ".join(langs) or "nothing" for name, langs in spec.unlearn.items()}
    blocks: dict[str, dict[str, Any]] = {
        **methods,
        "unlearning sets": sets,
        **stages,
        "adapter": spec.lora.model_dump(mode="json"),
        "evaluation": {**spec.evaluate.model_dump(mode="json"), **spec.prompt.model_dump(mode="json")},
        "computed in": {
            "dtype": plan.dtype,
            "seeds": list(spec.seeds),
            "base digest": plan.sources.base.digest[:16],
        },
    }
    return {name: {key: _value(value) for key, value in block.items()} for name, block in blocks.items()}


def _value(value: Any) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(str, value)) or "none"
        case str():
            return value.replace("\n", "⏎")
        case _:
            return f"{value:g}" if isinstance(value, float) else str(value)
