"""Which trial wins, and how it is shown."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.analysis.worlds import commit_evaluation, commit_training
from tests.plan.worlds import sources
from xlharm.analysis.trials import Found, findings, measured, plain, score, table_of
from xlharm.config.load import parse_grid
from xlharm.config.search import Point
from xlharm.errors import UserError
from xlharm.plan.tuning import Tuning
from xlharm.store.ledger import TrialEntry
from xlharm.store.store import Store

FALL = 20.0
BEFORE = (0.8, 0.9)  # shares of OF and QR


def tuning_of(**fields: Any) -> Tuning:
    grid = parse_grid(
        {
            "name": "g", "base": "tiny-base", "corpus": "tinyworld-dev", "languages": ["en", "ur"],
            "contaminate": ["ur"], "unlearn": {"none": [], "tuned": ["en", "ur"]},
            "methods": {"npo": {"objective": "npo", "steps": 60}}, **fields,
        },
        name="grid.yaml",
    )  # fmt: skip
    return Tuning.of(grid, sources=sources(), dtype="float32", search=["beta=0.1,0.2,0.3,0.4"], halving=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def evaluated(store: Store, tuning: Tuning, setting: Point, *shares: tuple[float, float], n: int = 100) -> None:
    """Commit a setting's stages; one pair of OF and QR for each seed."""
    plan = tuning.plan(setting)
    for stage in plan.stages.values():
        if stage.kind != "evaluate" and not store.has(stage):
            commit_training(store, stage)
    after = dict(zip(tuning.grid.seeds, shares * len(tuning.grid.seeds), strict=False))
    for cell in plan.cells:
        for key in cell.evaluations.values():
            of, qr = BEFORE if cell.unlearn == "none" else after[cell.seed]
            if not store.has(plan.stages[key]):
                commit_evaluation(store, plan.stages[key], of=of, qr=qr, n=n)


def tried(beta: float, reached: int = 2, ended: Any = "complete", why: str = "") -> TrialEntry:
    return TrialEntry(point={"beta": beta}, reached=reached, ended=ended, why=why)


def search(store: Store) -> Found:
    """Four trials: damaged, kept, stopped early, and without a result."""
    tuning = tuning_of()
    for beta, steps, share in (
        (0.1, 20, (0.3, 0.85)), (0.1, 60, (0.0, 0.5)), (0.2, 20, (0.4, 0.9)), (0.2, 60, (0.1, 0.8)),
        (0.3, 20, (0.7, 0.9)),
    ):  # fmt: skip
        evaluated(store, tuning, {"beta": beta, "steps": steps}, share)
    trials = [tried(0.1), tried(0.2), tried(0.3, 1, "stopped"), tried(0.4, 1, "failed", "nan: no number")]
    return findings(tuning, trials, store, fall=FALL)


def test_the_lowest_of_among_those_that_kept_qr_wins(store: Store) -> None:
    tuned = search(store)
    assert tuned.winner is not None
    assert tuned.winner.setting == {"beta": 0.2, "steps": 60}
    # each trial stands at its best rung: the first at 20 steps, where it was not damaged yet
    assert [(r.number, r.setting["steps"]) for r in tuned.rows] == [(2, 60), (1, 20), (3, 20), (4, 20)]
    assert len(tuned.all) == 6
    assert tuned.close == 0
    assert tuned.summary.startswith(
        "best of 4 trials (beta 0.1,0.2,0.3,0.4) of ur/en+ur/npo, seed 0 on tinyworld-dev: OF 10.0 ("
    )


def test_how_it_is_shown(store: Store) -> None:
    tuned = search(store)
    screen = Console(file=io.StringIO(), width=120)
    screen.print(table_of(tuned))
    lines = [" ".join(line.split()) for line in screen.file.getvalue().splitlines()]
    assert "trial beta steps OF 95 % QR 95 % QR kept" in lines
    assert any(line.startswith("▶ 2 0.2 60 10.0 6–17 80.0 ") and line.endswith(" 89 %") for line in lines)
    assert any(line.startswith("3 0.3 20 70.0 ") and line.endswith("stopped at 20") for line in lines)
    assert "4 0.4 20 · · · · · nan: no number" in lines
    text = plain(tuned)
    assert text["winner"]["values"] == {"beta": 0.2, "steps": 60}
    assert text["winner"]["qr_kept"] == pytest.approx(100 * 0.8 / 0.9)
    assert [t["kept"] for t in text["trials"][:2]] == [True, False]
    assert text["trials"][-1] == {
        "trial": 4,
        "ended": "failed",
        "values": {"beta": 0.4, "steps": 20},
        "why": "nan: no number",
    }


def test_no_winner_when_every_trial_lost_utility(store: Store) -> None:
    tuning = tuning_of()
    evaluated(store, tuning, {"beta": 0.1, "steps": 20}, (0.0, 0.6))
    outcome = findings(tuning, [tried(0.1, 1)], store, fall=FALL)
    assert outcome.winner is None
    assert outcome.rows[0].measured is not None
    assert outcome.rows[0].measured.damage(FALL) == "QR fell by 33 %"
    kept = findings(tuning, [tried(0.1, 1)], store, fall=40.0)
    assert kept.winner is not None


def test_an_of_of_nothing_still_has_an_interval(store: Store) -> None:
    tuning = tuning_of()
    evaluated(store, tuning, {"beta": 0.1, "steps": 20}, (0.0, 0.9), n=20)
    measures = measured(tuning.plan({"beta": 0.1, "steps": 20}), store)
    assert measures is not None
    assert measures.whole.of.estimate == 0.0
    assert 10 < measures.whole.of.high < 20  # Wilson, 0 of 20 items


def test_a_seed_that_lost_utility_counts_though_the_mean_kept_it(store: Store) -> None:
    tuning = tuning_of(seeds=[0, 1])
    setting: Point = {"beta": 0.1, "steps": 20}
    evaluated(store, tuning, setting, (0.0, 0.9), (0.2, 0.65))
    measures = measured(tuning.plan(setting), store)
    assert measures is not None
    assert measures.whole.utility.estimate > 80
    assert measures.damage(FALL) == "QR fell by 28 %"
    assert [one.of.estimate for one in measures.seeds] == [0.0, pytest.approx(20.0)]
    screen = Console(file=io.StringIO(), width=120)
    screen.print(table_of(findings(tuning, [tried(0.1, 1)], store, fall=FALL)))
    assert "0–20" in screen.file.getvalue()


def test_others_that_cannot_be_told_from_the_winner_are_counted(store: Store) -> None:
    tuning = tuning_of()
    for beta, of in ((0.1, 0.10), (0.2, 0.14), (0.3, 0.6)):
        evaluated(store, tuning, {"beta": beta, "steps": 20}, (of, 0.9))
    outcome = findings(tuning, [tried(b, 1) for b in (0.1, 0.2, 0.3)], store, fall=FALL)
    assert outcome.winner is not None
    assert (outcome.winner.number, outcome.close) == (1, 1)


def test_the_score_prefers_any_model_that_kept_qr_to_any_that_did_not(store: Store) -> None:
    tuning = tuning_of()
    scores = []
    for beta, share in ((0.1, (0.0, 0.4)), (0.2, (0.0, 0.6)), (0.3, (0.9, 0.9)), (0.4, (0.1, 0.8))):
        evaluated(store, tuning, {"beta": beta, "steps": 20}, share)
        scores.append(score(tuning.plan({"beta": beta, "steps": 20}), store, fall=FALL)["score"])
    assert scores == sorted(scores, reverse=True)
    assert scores[2] == pytest.approx(90.0)
    assert measured(tuning.plan({"beta": 0.4, "steps": 60}), store) is None


def test_a_corpus_without_questions_has_nothing_to_choose_by(store: Store) -> None:
    tuning = tuning_of()
    evaluated(store, tuning, {"beta": 0.1, "steps": 20}, (0.0, 0.0), n=0)
    with pytest.raises(UserError, match="has no OF or no QR questions"):
        score(tuning.plan({"beta": 0.1, "steps": 20}), store, fall=FALL)
