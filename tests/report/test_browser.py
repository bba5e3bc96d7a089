"""The page in a real Chromium: nothing is loaded, hostile text stays text, and every part can be used.

Needs a Chromium (`chromium`, `chromium-browser` or `google-chrome` on the path, or the one of `playwright install`).
"""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.analysis.worlds import HOSTILE
from xlharm.analysis.results import GridResults
from xlharm.plan.build import Plan
from xlharm.report.html import write_report
from xlharm.store.store import Store

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PATIENCE = 120_000  # milliseconds: the machine may be busy


class Opened:
    """A page, and what it complained about or asked for."""

    def __init__(self, browser: Any, url: str, **settings: Any) -> None:
        self.trouble: list[str] = []
        self.url = url
        context = browser.new_context(**settings)
        context.set_default_timeout(PATIENCE)
        self.page = context.new_page()
        self.page.on("console", lambda message: self.trouble.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.trouble.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self._request(request.url))

    def _request(self, url: str) -> None:
        if url.split("#", maxsplit=1)[0] != self.url:
            self.trouble.append(f"request: {url}")

    def show(self, fragment: str = "") -> Any:
        """Open the page at a fragment, wait until its script has started, and return it."""
        self.page.goto("about:blank")
        self.page.goto(self.url + fragment)
        self.page.wait_for_selector("html[data-ready=yes]")
        return self.page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    with api.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=found, args=FLAGS)
        except api.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture(scope="module")
def url(plan: Plan, full: Store, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = write_report([GridResults(plan, full)], tmp_path_factory.mktemp("page") / "report.html")
    return path.as_uri()


@pytest.fixture
def opened(browser: Any, url: str) -> Iterator[Opened]:
    one = Opened(browser, url)
    yield one
    one.page.context.close()
    assert one.trouble == []


def test_an_address_shows_a_cells_answers_beside_those_before(opened: Opened) -> None:
    page = opened.show("#/?grid=0&cell=de/en/npo/0&query=ur")
    assert page.inner_text(".cell-title") == "Cell de/en/npo/0"
    assert page.eval_on_selector(".cell-title", "node => node === document.activeElement")
    rows = page.locator(".answers tbody tr")
    rows.first.wait_for()
    assert "200 of 200 answers" in page.inner_text(".answer-list .count")
    assert rows.count() == 100
    assert page.locator(".answers thead th").all_inner_texts() == ["Question", "Before unlearning", "After", "Expected"]
    answer = page.locator(".answers .answer").first
    assert (answer.get_attribute("lang"), answer.get_attribute("dir")) == ("ur", "rtl")
    assert answer.evaluate("node => getComputedStyle(node).direction") == "rtl"
    assert page.locator(".answers .english").first.inner_text() == "What does Mira Tolen play?"
    assert page.locator(".answers mark.fake").first.inner_text() == "وائلن"
    assert "xlharm run quickstart.yaml -s 'contaminate=[de]'" in page.inner_text(".command")
    assert page.locator(".curves svg").count() == 3


def test_answers_that_arrive_late_do_not_stand_under_another_cell(opened: Opened) -> None:
    page = opened.show()
    page.evaluate(
        """async () => {
            const usual = unpack;
            let waiting = true;
            unpack = async (id) => {
                if (waiting && id.startsWith("answers-")) {
                    waiting = false;
                    await new Promise((done) => setTimeout(done, 300));
                }
                return usual(id);
            };
            const grid = new Grid(document.querySelector("[data-grid]"));
            await grid.start();
            const view = grid.cell;
            const late = view.show("de/en/npo/0", "de", {});
            await new Promise((done) => setTimeout(done, 100));
            await view.show("none/none/none/0", "ur", {});
            await late;
        }"""
    )
    assert page.inner_text(".cell-title") == "Cell none/none/none/0"
    late = page.inner_text(".answers tbody")
    page = opened.show("#/?grid=0&cell=none/none/none/0&query=ur")
    page.locator(".answers tbody tr").first.wait_for()
    assert late == page.inner_text(".answers tbody")


def test_hostile_text_stays_text(opened: Opened) -> None:
    page = opened.show("#/?grid=0&cell=de/en/npo/0&query=en")
    page.locator(".answers tbody tr").first.wait_for()
    shown = page.locator(".answers .answer").first.inner_text()
    assert '<script>alert("x")</script>" onmouseover=\'x\' U+202Egnp.exeU+202C U+2066isoU+2069 {{ 7*7 }}' in shown
    assert HOSTILE not in page.content()
    assert page.locator(".answers script").count() == 0
    assert page.evaluate(
        "[...document.querySelectorAll('*')].every(n => ![...n.attributes].some(a => a.name.startsWith('on')))"
    )


def test_answers_are_searched_and_chosen(opened: Opened) -> None:
    page = opened.show("#/?grid=0&cell=de/en/npo/0&query=de")
    page.locator(".answers tbody tr").first.wait_for()
    page.select_option(".answer-list select", "fake")
    fakes = int(page.inner_text(".answer-list .count").split()[0])
    assert fakes == 86  # German asked in German, of 100
    page.fill(".answer-list input", "geige")
    assert page.locator(".answers mark.fake").count() > 0
    page.fill(".answer-list input", "nowhere to be found")
    assert page.inner_text(".answer-list .count").startswith("0 of 200")


def test_a_square_leads_to_its_cell_by_keyboard(opened: Opened) -> None:
    page = opened.show()
    square = page.locator("#results td a").nth(12)
    title = square.get_attribute("title")
    square.focus()
    page.keyboard.press("Enter")
    page.locator(".answers tbody tr").first.wait_for()
    assert title.startswith(page.inner_text(".cell-title code") + " ")
    page.go_back()
    assert page.url == opened.url


def test_the_filter_is_in_the_address_and_holds_for_cells_and_tables(opened: Opened) -> None:
    page = opened.show()
    page.locator("[data-filter] select").nth(0).select_option("ur")
    assert page.url.endswith("#/?contaminate=ur&grid=0")
    cells = page.locator(".cells tbody th").all_inner_texts()
    assert cells
    assert all(name.startswith("ur/") for name in cells)
    page = opened.show("#/?contaminate=ur&query=hy&grid=0")
    assert page.locator(".cells thead th").all_inner_texts() == ["cell", "hy"]
    page.locator("[data-table=table-effects]").scroll_into_view_if_needed()
    page.locator("[data-table=table-effects] .count").wait_for()
    rows = page.locator("[data-table=table-effects] tbody tr")
    assert rows.count() == 3
    assert all("ur/" in text and "hy" in text.split() for text in rows.all_inner_texts())


def test_the_filter_finds_sets_by_their_languages_where_a_view_names_them(opened: Opened) -> None:
    page = opened.show("#/?unlearn=ur&grid=0")
    page.locator("[data-table=table-transfer]").scroll_into_view_if_needed()
    page.locator("[data-table=table-transfer] .count").wait_for()
    (row,) = page.locator("[data-table=table-transfer] tbody tr").all_inner_texts()
    assert row.split()[:2] == ["source", "npo"]
    assert "ur" in row.split()


def test_tables_are_sorted_and_say_so(opened: Opened) -> None:
    page = opened.show("#effects")
    table = page.locator("[data-table=table-effects]")
    table.locator(".count").wait_for()
    place = [t.strip() for t in table.locator("thead th").all_inner_texts()].index("change")
    head = table.locator("thead th").nth(place)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    values = [
        float(t.replace("−", "-")) for t in table.locator(f"tbody tr td:nth-child({place + 1})").all_inner_texts()
    ]
    assert values == sorted(values)
    assert values[0] < values[-1]


def test_methods_stand_side_by_side(opened: Opened) -> None:
    page = opened.show("#cells")
    page.locator("[data-cells] select").nth(1).select_option("methods")
    assert page.locator(".cells thead th").all_inner_texts() == ["contaminated / set / seed", "npo"]
    assert "highest OF" in page.inner_text(".cells caption")


def test_all_columns_are_on_a_phone_and_nothing_hangs_over(browser: Any, url: str) -> None:
    one = Opened(browser, url, viewport={"width": 360, "height": 740})
    page = one.show("#/?grid=0&cell=de/en/npo/0&query=hy")
    page.locator(".answers tbody tr").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    heads = page.locator("#results .map").first.locator("thead th")
    box = heads.last.bounding_box()
    assert heads.last.inner_text() == "hy"
    assert box["x"] + box["width"] <= 360
    assert page.locator("#results .map").first.locator("tbody th").first.inner_text() != ""
    page.context.close()
    assert one.trouble == []


def test_print_holds_effects_and_no_controls(browser: Any, url: str) -> None:
    one = Opened(browser, url)
    page = one.show()
    page.emulate_media(media="print")
    assert page.locator("#effects tbody tr").count() >= 40
    assert page.locator("#effects table").is_visible()
    assert not page.locator("[data-filter]").is_visible()
    page.context.close()


def test_without_script_the_findings_and_heatmaps_are_there(browser: Any, url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(url)
    assert page.locator("#findings tbody tr").count() > 0
    assert page.locator("#results td a").count() == 2 * 81
    assert page.locator("#effects tbody tr").count() == 40
    context.close()
