"""The report: one self-contained HTML page that asks nothing of the network.

Findings, heatmaps and the first rows of each table are in the page as text. Everything that grows with the grid (the
numbers of all cells, whole tables, answers) is compressed data, which the page's script shows on demand.
"""

import base64
import hashlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from xlharm.analysis import reading
from xlharm.analysis.caveats import caveats
from xlharm.analysis.findings import summary
from xlharm.analysis.headline import headline, panel_line
from xlharm.analysis.origins import Origins, StageLine, origins
from xlharm.analysis.panels import PanelGroup, Spot, groups
from xlharm.analysis.reading import Readings, whole
from xlharm.analysis.results import GridResults
from xlharm.analysis.seeds import shown
from xlharm.analysis.table import write_file
from xlharm.analysis.wording import Language, hostile, shown_source
from xlharm.config.grid import NONE, GridSpec
from xlharm.plan.build import Plan
from xlharm.report import colours
from xlharm.report.answers import EVALUATIONS, Answers, answer_blocks
from xlharm.report.embedded import Block, cells_data, curves, packed, reproduce, table_data
from xlharm.report.sections import Section, sections

_PANELS = 24
"""Heatmaps of a grid that are in the page as text; its script shows all cells."""
_STAGES = 40


@dataclass(frozen=True, kw_only=True)
class GridView:
    """One grid's part of the page; ``prefix`` begins its anchors where there are several grids."""

    prefix: str
    number: int
    grid: GridSpec
    headline: str
    caveats: tuple[str, ...]
    summary: tuple[str, ...]
    facts: dict[str, str]
    groups: tuple[PanelGroup, ...]
    more_panels: int
    readings: Readings
    sections: tuple[Section, ...]
    settings: dict[str, dict[str, str]]
    origins: Origins
    evaluated: tuple[tuple[str, int], ...]
    blocks: tuple[Block, ...]


def write_report(grids: Sequence[GridResults], path: Path, *, answers: Answers = EVALUATIONS) -> Path:
    """Write the page of one grid or several, as far as they are done.

    Args:
        grids: their results.
        path: of the page.
        answers: evaluations of each grid whose answers the page holds, or all.

    Raises:
        UserError: the file cannot be written.
    """
    return write_file(path, page(grids, answers=answers).encode("utf-8"))


def page(grids: Sequence[GridResults], *, answers: Answers = EVALUATIONS) -> str:
    """Render the page. Everything a model wrote is escaped; bidi and control characters are shown, not obeyed."""
    environment = template_environment()
    style = Markup(environment.get_template("style.css.j2").render(modes=_palette()))  # noqa: S704 - our own text
    script = Markup("\n".join(_script()))  # noqa: S704 - our own text
    views = [_view(results, i, several=len(grids) > 1, answers=answers) for i, results in enumerate(grids)]
    return environment.get_template("page.html.j2").render(
        title=", ".join(view.grid.name for view in views),
        grids=views,
        style=style,
        script=script,
        policy=_policy(style=style, script=script),
    )


def _script() -> Iterator[str]:
    folder = files("xlharm.report") / "script"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        yield file.read_text(encoding="utf-8")


def _view(results: GridResults, number: int, *, several: bool, answers: Answers) -> GridView:
    prefix = f"g{number}-" if several else ""
    together = groups(results)
    kept, left = [], _PANELS
    for group in together:
        if left > 0:
            kept.append(PanelGroup(method=group.method, seed=group.seed, panels=group.panels[:left]))
            left -= len(group.panels)
    parts = sections(results)
    stored = origins(results)
    return GridView(
        prefix=prefix,
        number=number,
        grid=results.plan.grid,
        headline=headline(results),
        caveats=caveats(results),
        summary=summary(results),
        facts=_facts(results),
        groups=tuple(kept),
        more_panels=max(0, -left),
        readings=shown(results),
        sections=parts,
        settings=_settings(results.plan),
        origins=stored,
        evaluated=_kinds(stored.evaluations),
        blocks=tuple(_blocks(results, prefix, parts, answers=answers)),
    )


def _blocks(results: GridResults, prefix: str, parts: Sequence[Section], *, answers: Answers) -> Iterator[Block]:
    """Pack what the script shows on demand."""
    yield Block(id=f"{prefix}cells-data", text=packed(cells_data(results)))
    for part in parts:
        yield Block(id=f"{prefix}table-{part.anchor}", text=packed(table_data(part.table, part.columns)))
    yield Block(id=f"{prefix}details", text=packed(_details(results)))
    yield from answer_blocks(results, prefix=prefix, most=answers)


def _details(results: GridResults) -> dict[str, dict[str, Any]]:
    """Return each cell's losses, and the command that computes it."""
    return {
        cell.name: {
            "curves": curves(results, cell),
            "command": shlex.join(["xlharm", "run", *reproduce(results, cell)]),
        }
        for cell in results.plan.cells
    }


def _kinds(evaluations: Sequence[StageLine]) -> tuple[tuple[str, int], ...]:
    """Count evaluations by where and with what they were made."""
    counts: dict[str, int] = {}
    for line in evaluations:
        name = f"on {line.device} in {line.dtype}, code {line.commit}"
        counts[name] = counts.get(name, 0) + 1
    return tuple(counts.items())


def link(view: GridView, cell: str, query: str = "") -> str:
    """Return the address of a cell on the page."""
    asked = f"&query={quote(query)}" if query else ""
    return f"#/?grid={view.number}&cell={quote(cell)}{asked}"


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
    environment.globals.update(
        Language=Language, NONE=NONE, reading=reading, describe=describe, panel_line=panel_line, link=link
    )
    environment.globals.update(shown_stages=_STAGES)
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
