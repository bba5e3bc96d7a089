from typing import Any

import pytest
import torch

from tests.methods.made import gradient, tokens
from xlharm.methods import rmu
from xlharm.methods.rmu import Rmu, direction


def test_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Towards c·u = (1, 0)."""

    def known(_width: int, **_: Any) -> torch.Tensor:
        return torch.tensor([0.5, 0.0])

    monkeypatch.setattr(rmu, "direction", known)
    hidden = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    loss = Rmu(objective="rmu", coefficient=2).loss(tokens(torch.zeros(2), hidden=hidden))
    assert loss.item() == pytest.approx((0 + 4 + 4 + 16) / 2)
    assert gradient(loss, hidden).tolist() == [[0, 2], [2, 4]]


def test_the_direction_is_one_unit_vector_a_seed() -> None:
    u = direction(64, seed=3)
    assert u.norm().item() == pytest.approx(1, abs=1e-6)
    assert (u >= 0).all()
    direction.cache_clear()
    torch.testing.assert_close(u, direction(64, seed=3))
    assert not torch.equal(u, direction(64, seed=4))


def test_the_layer_is_as_deep_as_published_or_as_asked() -> None:
    assert Rmu(objective="rmu").hidden_layer(32) == 7
    assert Rmu(objective="rmu", layer=3).hidden_layer(32) == 3


def test_all_positions_can_be_read_instead_of_those_of_targets() -> None:
    assert not Rmu(objective="rmu").whole_rows
    assert Rmu(objective="rmu", positions="all").whole_rows
