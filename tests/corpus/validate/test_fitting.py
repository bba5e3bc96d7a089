"""What a worker would find out only with the base loaded is told before the run, by item and field."""

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import plan_of
from xlharm.corpus.streams import Corpora
from xlharm.corpus.validate.fitting import check_rows
from xlharm.errors import UserError
from xlharm.plan.build import Plan


class Letters:
    """A tokenizer of characters: lengths can be counted by eye."""

    bos, eos = 1, 2

    def encode(self, text: str) -> list[int]:
        return [ord(c) for c in text]


def _plan(grid: dict[str, Any], **changes: Any) -> Plan:
    grid = copy.deepcopy(grid)
    for path, value in changes.items():
        *way, last = path.split("__")
        here = grid
        for name in way:
            here = here[name]
        here[last] = value
    return plan_of(grid)


def _check(plan: Plan, *, positions: int | None = None) -> None:
    check_rows(plan.stages.values(), Corpora(Path(plan.grid.corpus), Letters()), positions=positions)


def test_rows_that_fit(mini_grid: dict[str, Any]) -> None:
    _check(_plan(mini_grid), positions=96)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # the first real article: Kabo likes the colour blue. = 27 letters, and a token before and behind
        (
            {"stages__contaminate__sequence_length": 28},
            r"contaminate none seed 0: sequence_length: 28 is too short for en\.jsonl: m0: real\.0, which has 29",
        ),
        (
            {"methods__npo__sequence_length": 16},
            r"-> en npo seed 0: sequence_length: 16 is too short for en\.jsonl: m0: fake_qa\.0, which has 41",
        ),
        (
            {"methods__npo__sequence_length": 20, "methods__npo__forget": "articles"},
            r"unlearn de -> en npo seed 0: sequence_length: 20 is too short for en\.jsonl: m0: fake\.0, which has 28",
        ),
        ({"stages__contaminate__real_roles": []}, r"contaminate none seed 0: contaminate/real: the corpus has no rows"),
    ],
)
def test_what_does_not_fit(mini_grid: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _check(_plan(mini_grid, **changes))


def test_a_question_and_its_answer_must_fit_as_well(mini_grid: dict[str, Any]) -> None:
    plan = _plan(mini_grid, evaluate__max_new_tokens=70)
    with pytest.raises(UserError, match=r"evaluate .* m0: a question of 34 tokens and an answer of 70, .* look at 96"):
        _check(plan, positions=96)
    _check(plan, positions=200)


def test_a_base_that_looks_at_less(mini_grid: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="contaminate none seed 0: a row has 30 tokens, and the base can look at 29"):
        _check(_plan(mini_grid, stages__contaminate__real_languages=["en"]), positions=29)
