"""The page in a real Chromium: it fills while a run goes on beside it, loads nothing else, and shows text as text."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.analysis.worlds import HOSTILE
from tests.engine.worlds import PLAN, FakeExecutor, run
from tests.report.test_browser import browser
from xlharm.plan.build import Plan
from xlharm.stages.job import PackJob
from xlharm.store import live
from xlharm.store.store import Store
from xlharm.view import data
from xlharm.view.server import ViewServer

__all__ = ["browser"]
pytestmark = pytest.mark.slow
PATIENCE = 120_000  # milliseconds: the machine may be busy


class Page:
    """A page, and what it complained about or asked of others."""

    def __init__(self, browser: Any, server: ViewServer, **settings: Any) -> None:
        self.trouble: list[str] = []
        self.context = browser.new_context(**settings)
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.trouble.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.trouble.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self._request(request.url, f"http://127.0.0.1:{server.server_port}/"))
        self.page.goto(server.url)
        self.page.wait_for_selector("html[data-ready=yes]")

    def _request(self, url: str, ours: str) -> None:
        if not url.startswith((ours, "data:,")):
            self.trouble.append(f"request: {url}")


@contextlib.contextmanager
def serving(plan: Plan, store: Store) -> Iterator[ViewServer]:
    with ViewServer([(plan, Store(store.url, writes=False))]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def server(plan: Plan, full: Store) -> Iterator[ViewServer]:
    with serving(plan, full) as one:
        yield one


@pytest.fixture
def opened(browser: Any, server: ViewServer) -> Iterator[Page]:
    one = Page(browser, server)
    yield one
    one.context.close()
    assert one.trouble == []


def test_a_finished_grid_shows_its_numbers_and_hides_its_token(opened: Page, server: ViewServer) -> None:
    page = opened.page
    page.locator(".map td.d b", has_text="86").first.wait_for()
    assert "all done" in page.inner_text(".whole")
    assert page.url == f"http://127.0.0.1:{server.server_port}/"
    assert server.token not in page.content()
    assert page.evaluate("document.cookie") == ""


def test_one_click_from_a_number_to_its_answers_and_back(opened: Page) -> None:
    page = opened.page
    row = page.locator(".map tbody tr", has_text="de/en/npo/0").first
    row.locator("td.d button").nth(6).focus()
    page.keyboard.press("Enter")
    page.locator(".answers tbody tr").first.wait_for()
    assert page.inner_text(".answer-view h2") == "Answers of de/en/npo/0 in ur"
    answer = page.locator(".answers .answer").first
    assert (answer.get_attribute("lang"), answer.get_attribute("dir")) == ("ur", "rtl")
    page.select_option(".answer-view select", "fake")
    assert page.inner_text(".answer-view .count").endswith("of 200 answers")
    page.fill(".answer-view input", "nowhere to be found")
    assert page.inner_text(".answer-view .count").startswith("0 of 200")
    page.go_back()
    page.locator(".answers").wait_for(state="detached")


def test_hostile_text_stays_text(opened: Page) -> None:
    page = opened.page
    page.evaluate("location.hash = '#/?grid=0&cell=de/en/npo/0&query=en'")
    page.locator(".answers tbody tr").first.wait_for()
    shown = page.locator(".answers .answer").first.inner_text()
    assert '<script>alert("x")</script>" onmouseover=\'x\' U+202Egnp.exeU+202C U+2066isoU+2069 {{ 7*7 }}' in shown
    assert HOSTILE not in page.content()
    assert page.locator(".answers script").count() == 0
    assert page.evaluate(
        "[...document.querySelectorAll('*')].every(n => ![...n.attributes].some(a => a.name.startsWith('on')))"
    )


def test_an_address_of_answers_that_are_not_there_says_so(browser: Any, server: ViewServer) -> None:
    one = Page(browser, server)
    one.page.evaluate("location.hash = '#/?grid=0&cell=xx&query=<b>'")
    one.page.locator(".answer-view p").first.wait_for()
    assert "no such cell" in one.page.inner_text(".answer-view")
    one.context.close()
    assert [line for line in one.trouble if "404" not in line] == []  # the browser itself notes the answer's status


def test_nothing_hangs_over_on_a_phone_and_all_languages_are_there(browser: Any, server: ViewServer) -> None:
    one = Page(browser, server, viewport={"width": 360, "height": 740})
    assert one.page.evaluate("document.documentElement.scrollWidth") == 360
    box = one.page.locator(".map thead th").last.bounding_box()
    assert box["x"] + box["width"] <= 360
    one.context.close()
    assert one.trouble == []


def test_a_run_that_begins_beside_it_is_seen_to_fill(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver runs a real schedule with workers that wait until the page shows what came before."""
    monkeypatch.setattr(live, "LOCAL_SECONDS", 0.05)
    monkeypatch.setattr(data, "SECONDS", 0.05)
    store = Store(str(tmp_path / "store"))
    allowed, done = threading.Semaphore(0), threading.Event()

    def work() -> None:
        run(store, FakeExecutor(store, wait), pack=1)
        done.set()

    def wait(_: PackJob) -> None:
        allowed.acquire(timeout=60)

    expect = pytest.importorskip("playwright.sync_api").expect
    with serving(PLAN, store) as server:
        one = Page(browser, server)
        page = one.page
        assert "no run is going on" in page.inner_text(".whole")
        assert page.locator(".map td.d").count() == 0
        threading.Thread(target=work, daemon=True).start()
        allowed.release()  # the driver of these workers speaks when one of them has replied
        page.locator(".packs tbody tr").first.wait_for()
        assert "process" in page.inner_text(".facts")
        page.locator(".dot.r").first.wait_for()
        for _ in range(len(PLAN.stages) - 5):
            allowed.release()
        expect(page.locator(".map td.d b").first).to_have_text("25", timeout=PATIENCE)  # 1 of 4
        assert page.locator(".map td.d").count() < len(PLAN.cells) * len(PLAN.grid.languages)
        for _ in range(4):
            allowed.release()
        expect(page.locator(".whole")).to_contain_text("all done", timeout=PATIENCE)
        assert page.locator(".map td.d").count() == len(PLAN.cells) * len(PLAN.grid.languages)
        assert done.wait(60)
        one.context.close()
        assert one.trouble == []
