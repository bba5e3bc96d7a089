"""Real Ray Tune with runners that only pretend: halving, every passing trouble, warm actors, and what is taken up."""

from pathlib import Path
from typing import Any

import pytest

from tests.faults.processes import ending, start, verdict
from tests.faults.runners import trace
from tests.faults.searching import BROKEN, CRASHES, WRONG, tuning_of
from xlharm.analysis.trials import findings
from xlharm.store.ledger import TrialEntry, load_search
from xlharm.store.store import Store

pytestmark = pytest.mark.cluster


def search(store: Path, **options: Any) -> dict[float, TrialEntry]:
    """Run a search; return what was tried by its rate."""
    import json
    import sys

    settings = [f"{name}={json.dumps(value)}" for name, value in options.items()]
    process = start([sys.executable, "-m", "tests.faults.searching", str(store), *settings])
    with ending(process):
        assert verdict(process) == {"finished": True}
    work = load_search(Store(str(store)), tuning_of(options["search"]), algorithm=options["algorithm"])
    return {float(t.point["learning_rate"]): t for t in work.ledger.tried}


def test_trouble_of_one_trial_is_not_that_of_others(tmp_path: Path) -> None:
    rates = f"learning_rate=0.05,0.1,0.25,0.9,{CRASHES},{BROKEN},{WRONG}"
    trials_file = search(tmp_path, search=rates, trials=7, algorithm="random", workers=1)
    assert len(trials_file) == 7
    assert (trials_file[BROKEN].ended, trials_file[BROKEN].why) == ("failed", "nan: the loss is not a number")
    assert (trials_file[WRONG].ended, trials_file[WRONG].why) == ("", "user: layer: the base has no decoder layer 9")
    assert trials_file[CRASHES].ended in {"complete", "stopped"}  # its process was killed, and it was tried again
    assert (tmp_path / "crashed").exists()
    assert "stopped" in {t.ended for t in trials_file.values()}
    done = findings(tuning_of(rates), list(trials_file.values()), Store(str(tmp_path)), fall=20.0)
    assert done.winner is not None
    kept = [r.measured.whole.of.estimate for r in done.all if r.measured and not r.measured.damage(20.0)]
    assert done.winner.measured is not None
    assert done.winner.measured.whole.of.estimate == min(kept)
    # one warm worker for all trials, but for the one that was killed
    assert len({words[1] for words in trace(tmp_path, "loaded")}) == 2


@pytest.mark.heavy
def test_optuna_is_told_of_earlier_trials_and_computes_none_again(tmp_path: Path) -> None:
    rates = "learning_rate=0.01..0.9:log"
    trials_file = search(tmp_path, search=rates, trials=3, algorithm="optuna", workers=2)
    computed = trace(tmp_path, "unlearn")
    more = search(tmp_path, search=rates, trials=5, algorithm="optuna", workers=2)
    assert len(trials_file) == 3
    assert list(more)[:3] == list(trials_file)
    assert {rate: more[rate] for rate in trials_file} == trials_file
    assert all(more[rate].ended for rate in more)
    assert len(more) == 5
    keys = [words[1] for words in trace(tmp_path, "unlearn")]
    assert len(keys) == len(set(keys))
    assert trace(tmp_path, "unlearn")[: len(computed)] == computed
