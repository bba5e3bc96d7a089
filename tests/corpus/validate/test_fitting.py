"""What a worker would find out only with the base loaded is told before the run, by item and field."""

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import plan_of
from tests.corpus.letters import Letters
from xlharm.corpus.streams import Corpora
from xlharm.corpus.validate.fitting import check_rows
from xlharm.errors import UserError
from xlharm.plan.build import Plan


def _plan(grid: dict[str, Any], **changes: Any) -> Plan:
    grid = copy.deepcopy(grid)
    for path, value in changes.items():
        *way, last = path.split("__")
        here = grid
        for name in way:
            here = here[name]
        here[last] = value
    return plan_of(grid)


def _check(plan: Plan, *, limit: int) -> None:
    check_rows(plan.stages.values(), Corpora(Path(plan.grid.corpus), Letters(bos=1, eos=2), limit))


def test_rows_that_fit(mini_grid: dict[str, Any]) -> None:
    _check(_plan(mini_grid), limit=96)


@pytest.mark.parametrize(
    ("limit", "changes", "message"),
    [
        # the first real article: Kabo likes the colour blue. = 27 letters, and a token before and behind
        (28, {}, r"contaminate none seed 0: en\.jsonl: m0: real\.0 has 29 tokens and at most 28 are allowed"),
        (
            40,
            {"stages__sft": None},
            r"-> en npo seed 0: en\.jsonl: m0: fake_qa\.0 has 41 tokens and at most 40 are allowed",
        ),
        (96, {"stages__contaminate__real_roles": []}, r"none seed 0: contaminate/real: the corpus has no rows"),
    ],
)
def test_what_does_not_fit(mini_grid: dict[str, Any], limit: int, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _check(_plan(mini_grid, **changes), limit=limit)


def test_a_question_and_its_answer_must_fit_as_well(mini_grid: dict[str, Any]) -> None:
    plan = _plan(mini_grid, evaluate__max_new_tokens=70)
    with pytest.raises(UserError, match=r"evaluate .* m0: a question of 34 tokens and an answer of 70, .* 96 are"):
        _check(plan, limit=96)
    _check(plan, limit=200)
