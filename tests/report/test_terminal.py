import io
from pathlib import Path

from rich.console import Console

from tests.analysis.worlds import fill, plan_of
from xlharm.analysis.results import GridResults
from xlharm.plan.build import Plan
from xlharm.report.terminal import print_results
from xlharm.store.store import Store


def shown(plan: Plan, store: Store, *, width: int = 80, terminal: bool = False, each_seed: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal)
    print_results(GridResults(plan, store), console, each_seed=each_seed)
    return out.getvalue()


def test_plain_text_of_100_columns_without_a_terminal(plan: Plan, full: Store) -> None:
    text = shown(plan, full)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    lines = [line.split() for line in text.splitlines()]
    assert ["contaminate", "unlearn", *plan.grid.languages] in lines
    assert ["ur", "none", "OF", "55", "19", "19", "19", "19", "38", "86", "38", "38"] in lines
    assert ["95", "%", "45–64", "13–28", "13–28", "13–28", "13–28", "29–48", "78–91", "29–48", "29–48"] in lines
    assert ["QR", *["90"] * 8, "†55"] in lines
    assert ["ur", "en", "OF", "8", "3", "3", "3", "3", "△51", "86", "△51", "38"] in lines


def test_missing_languages_are_dots(plan: Plan, partial: Store) -> None:
    lines = [line.split() for line in shown(plan, partial).splitlines()]
    assert ["de", "en+de", "OF", *["6"] * 8, "·"] in lines


def test_a_narrow_terminal_gets_more_matrices_and_loses_no_number(plan: Plan, full: Store) -> None:
    text = shown(plan, full, width=60, terminal=True)
    assert text.count("contaminate") == 3
    assert "…" not in text


def test_nothing_done_says_so(plan: Plan, empty: Store) -> None:
    assert shown(plan, empty).strip() == "No cell has been evaluated yet."


def test_every_seed_and_method_has_its_matrix(tmp_path: Path) -> None:
    plan = plan_of(
        languages=["en", "de"], contaminate=["de"], seeds=[0, 1],
        methods={"npo": {"objective": "npo"}, "ga": {"objective": "ga"}},
    )  # fmt: skip
    store = Store(str(tmp_path))
    fill(plan, store, n=4)
    together = [line.strip() for line in shown(plan, store).splitlines() if line.startswith("method")]
    assert together == ["method npo, 2 seeds together", "method ga, 2 seeds together"]
    titles = [line.strip() for line in shown(plan, store, each_seed=True).splitlines() if line.startswith("method")]
    assert titles == ["method npo, seed 0", "method ga, seed 0", "method npo, seed 1", "method ga, seed 1"]
