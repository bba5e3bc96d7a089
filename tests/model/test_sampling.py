"""Sampling from a distribution by one uniform number."""

import pytest
import torch

from xlharm.model import sampling
from xlharm.model.sampling import Sampling, random_numbers

LOGITS = torch.tensor([0.5, 0.3, 0.2]).log()


def chosen(*numbers: float, logits: torch.Tensor = LOGITS, temperature: float = 1.0, top_p: float = 1.0) -> list[int]:
    how = Sampling(temperature=temperature, top_p=top_p, numbers=torch.zeros(0))
    rows = logits.expand(len(numbers), -1)
    return how.choose(rows, torch.tensor(numbers, dtype=torch.float64)).tolist()


def test_a_number_falls_into_the_share_of_a_token() -> None:
    assert chosen(0, 0.49, 0.51, 0.79, 0.81, 1 - 2**-53) == [0, 0, 1, 1, 2, 2]


def test_temperature_by_hand() -> None:
    # T = 1/2 squares the probabilities: 25, 9 and 4 of 38
    assert chosen(0.657, 0.659, 0.894, 0.896, temperature=0.5) == [0, 1, 1, 2]


def test_only_the_likeliest_tokens_that_reach_top_p_are_sampled() -> None:
    flipped = LOGITS.flip(0)  # probabilities 0.2, 0.3, 0.5
    assert chosen(0.0, 0.999, logits=flipped, top_p=0.5 - 1e-6) == [2, 2]
    # 0.5 and 0.3 reach 0.6: they share the numbers as 5 to 3
    assert chosen(0.62, 0.63, 0.999, logits=flipped, top_p=0.6) == [2, 1, 1]


def test_a_token_without_probability_is_never_chosen() -> None:
    logits = torch.tensor([0.0, -torch.inf, 0.0, -torch.inf])
    assert set(chosen(0, 0.5, 0.9, 1 - 2**-53, logits=logits)) == {0, 2}


def test_rows_are_chosen_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [i / 7 for i in range(7)]
    together = chosen(*numbers)
    monkeypatch.setattr(sampling, "_ROWS", 2)
    assert chosen(*numbers) == together


def test_frequencies_follow_the_distribution() -> None:
    numbers = random_numbers(range(2000), seed=5, steps=1)[:, 0]
    counts = torch.bincount(torch.tensor(chosen(*numbers.tolist())), minlength=3)
    assert (counts / 2000).tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.04)


def test_numbers_are_of_the_name_and_the_step_alone() -> None:
    two, one = random_numbers(["a", "b"], seed=1, steps=3), random_numbers(["b"], seed=1, steps=2)
    assert two[1, :2].tolist() == one[0].tolist()
    assert not torch.equal(two[0], two[1])
    assert ((two >= 0) & (two < 1)).all()
    assert random_numbers([], seed=1, steps=3).shape == (0, 3)
