import base64
import hashlib
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pyarrow as pa
import pytest

from tests.analysis.worlds import fill, plan_of
from xlharm.analysis.charts import Estimate, Forest
from xlharm.analysis.results import GridResults
from xlharm.analysis.view import View
from xlharm.analysis.views import VIEWS
from xlharm.errors import UserError
from xlharm.plan.build import Plan
from xlharm.report.html import duration, page, write_report
from xlharm.store.store import Store

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Reader(HTMLParser):
    """Collects elements and text; fails on elements that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def having(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [a for t, a in self.elements if t == tag and wanted.items() <= a.items()]


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def whole(plan: Plan, full: Store) -> str:
    return page([GridResults(plan, full)])


@pytest.mark.slow
def test_the_page_asks_nothing_of_the_network(whole: str) -> None:
    reader = read(whole)
    assert not {t for t, _ in reader.elements} & {"link", "img", "iframe", "object", "embed", "base", "form", "video"}
    assert not any("src" in a or "style" in a for _, a in reader.elements)
    assert all((a["href"] or "").startswith("#") for _, a in reader.elements if "href" in a)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", whole)


@pytest.mark.slow
def test_only_its_own_script_and_style_may_run(whole: str) -> None:
    policy = [str(a["content"]) for t, a in read(whole).elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policy) == 1
    for tag in ("script", "style"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", whole, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[0]
    assert policy[0].startswith("default-src 'none'")


@pytest.mark.slow
def test_what_the_model_wrote_is_shown_and_never_obeyed(whole: str) -> None:
    reader = read(whole)
    scripts = reader.having("script")
    assert [a for a in scripts if a.get("type") != "text/plain"] == [{}]
    assert all(
        re.fullmatch("[A-Za-z0-9+/=]*", text) for text in re.findall('<script type="text/plain"[^>]*>(.*?)</', whole)
    )
    assert not any(name.startswith("on") for _, a in reader.elements for name in a)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", whole)


def test_every_square_leads_to_its_cell_with_its_name_in_words(plan: Plan, whole: str) -> None:
    reader = read(whole)
    names = [a["id"] for _, a in reader.elements if "id" in a]
    assert len(names) == len(set(names))
    targets = {str(a["href"])[1:] for a in reader.having("a")}
    assert {t for t in targets if not t.startswith("/?")} <= set(names)
    known = {cell.name for cell in plan.cells}
    asked = [parse_qs(t[2:]) for t in targets if t.startswith("/?")]
    assert {view["cell"][0] for view in asked} == known
    assert {view["query"][0] for view in asked if "query" in view} == set(plan.grid.languages)


def test_squares_say_their_numbers_in_words(whole: str) -> None:
    titles = [str(a["title"]) for a in read(whole).having("a") if "title" in a]
    assert len(titles) == 2 * 81
    assert "ur/none/none/0 asked in Urdu: OF 86.0 (95 % 77.9–91.5, n 100 on 100 items)" in titles
    assert (
        "ur/en/npo/0 asked in Hausa: OF 51.0 (95 % 41.3–60.6, n 100 on 100 items), before 38.0, rose, intervals overlap"
    ) in titles
    assert any(
        t.endswith(
            "asked in Armenian: QR 55.0 (95 % 45.2–64.4, n 100 on 100 items), before 93.0. QR fell from 93 to 55"
        )
        for t in titles
    )


@pytest.mark.slow
def test_unfinished_squares_are_hatched(plan: Plan, partial: Store, whole: str) -> None:
    text = page([GridResults(plan, partial)])
    assert len(read(text).having("td", class_="missing")) == 2 * (4 * 9 + 1)
    assert not read(whole).having("td", class_="missing")
    assert "44 of 81" in text


def test_an_empty_grid_has_a_page(plan: Plan, empty: Store) -> None:
    assert "No cell has been evaluated yet." in page([GridResults(plan, empty)])


def test_headings_are_in_order_and_regions_that_scroll_can_be_reached(whole: str) -> None:
    reader = read(whole)
    levels = [int(tag[1]) for tag, _ in reader.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert reader.having("a", class_="skip", href="#main")
    assert all(a.get("tabindex") == "0" and a.get("aria-label") for a in reader.having("div", class_="scroll"))
    assert all(a.get("aria-label") for a in reader.having("svg"))


def test_findings_come_first_with_their_figure(whole: str) -> None:
    assert 0 < whole.index('id="findings"') < whole.index("Findings before unlearning") < whole.index('id="results"')


def test_the_first_rows_of_a_view_need_no_script(whole: str) -> None:
    effects = whole[whole.index('id="effects"') :]
    assert effects.index("de/en/npo/0") < effects.index("</section>")


@pytest.mark.slow
def test_several_methods_and_seeds_are_parted(tmp_path: Path) -> None:
    methods = {"npo": {"objective": "npo"}, "ga": {"objective": "ga"}}
    plan, store = plan_of(languages=["en", "de"], contaminate=["de"], methods=methods, seeds=2), Store(str(tmp_path))
    fill(plan, store, n=4)
    text = page([GridResults(plan, store)])
    assert re.findall(r"Method \w+, [\w ]+", text) == [
        "Method npo, all seeds together",
        "Method ga, all seeds together",
    ]
    data = block(text, "cells-data")
    assert ["de", "en", "npo", None] in data["cells"]
    assert ["de", "en", "ga", 1] in data["cells"]


@pytest.mark.slow
def test_several_grids_stand_on_one_page(plan: Plan, full: Store, partial: Store) -> None:
    other = replace(plan, grid=plan.grid.model_copy(update={"name": "second <grid>"}))
    text = page([GridResults(plan, full), GridResults(other, partial)], answers=0)
    reader = read(text)
    names = [a["id"] for _, a in reader.elements if "id" in a]
    assert len(names) == len(set(names))
    assert {"g0-results", "g1-results"} <= set(names)
    assert "second &lt;grid&gt;" in text
    assert {a["data-grid"] for a in reader.having("article")} == {"0", "1"}


def test_a_view_that_is_registered_is_on_the_page(plan: Plan, full: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Estimate(label="a <b>", value=1.0, low=0.0, high=2.0)
    new = View(
        name="fresh", columns={"what": pa.string()}, rows=lambda _: [{"what": "<i>"}], title="A fresh view",
        charts=lambda _: (Forest(name="fresh", title="Fresh", axis="x", rows=(rows,)),),
    )  # fmt: skip
    monkeypatch.setitem(VIEWS, "fresh", new)
    text = page([GridResults(plan, full)], answers=0)
    assert "A fresh view" in text
    assert "a &lt;b&gt;" in text
    assert block(text, "table-fresh")["values"] == [["<i>"]]


def block(text: str, name: str) -> Any:
    (packed,) = re.findall(rf'<script type="text/plain" id="{name}">(.*?)</script>', text)
    return json.loads(zlib.decompress(base64.b64decode(packed), -zlib.MAX_WBITS))


@pytest.mark.slow
def test_the_quickstarts_page_is_small(plan: Plan, full: Store, tmp_path: Path) -> None:
    path = write_report([GridResults(plan, full)], tmp_path / "new" / "report.html")
    assert path.stat().st_size < 1_000_000
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.slow
def test_the_same_store_gives_the_same_page(plan: Plan, partial: Store) -> None:
    assert page([GridResults(plan, partial)]) == page([GridResults(plan, partial)])


def test_no_path_of_this_machine_is_told(tmp_path: Path) -> None:
    plan = plan_of(base="/home/someone/bases/tiny", corpus="/home/someone/news", languages=["en"])
    text = page([GridResults(plan, Store(str(tmp_path)))])
    assert "someone" not in text
    assert str(tmp_path) not in text


def test_a_place_that_cannot_be_written_is_the_users_error(plan: Plan, empty: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_report([GridResults(plan, empty)], tmp_path / "file" / "report.html")


@pytest.mark.parametrize(("seconds", "text"), [(None, "–"), (1.04, "1.0 s"), (61, "1 min 01 s"), (7260, "2 h 01 min")])
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
