"""Products of groups of rows, by torch's kernel and by a loop, against a product for each group."""

import pytest
import torch
from torch import Tensor

from xlharm.model import grouped
from xlharm.model.grouped import low_rank, moved, products, products_over, times_frozen

ENDS = torch.tensor([3, 3, 7, 10], dtype=torch.int32)  # the second group is empty


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def each(x: Tensor, weights: Tensor) -> Tensor:
    begins = [0, *ENDS.tolist()[:-1]]
    return torch.cat([x[b:e] @ w for b, e, w in zip(begins, ENDS.tolist(), weights, strict=True)])


@pytest.mark.parametrize(("width", "kernel"), [(8, True), (7, False)])
def test_each_group_is_multiplied_by_its_own_matrix(width: int, kernel: bool) -> None:
    x, y, weights = random(10, width, seed=0).float(), random(10, 12, seed=1).float(), random(4, width, 12, seed=2)
    assert grouped._has_kernel(x, y) is kernel
    torch.testing.assert_close(products(x, weights.float(), ENDS), each(x, weights.float()))
    over = products_over(x, y, ENDS)
    torch.testing.assert_close(over[2], x[3:7].T @ y[3:7])
    assert not over[1].any()


@pytest.mark.parametrize("width", [4, 5])
def test_gradients_are_those_of_plain_products(width: int) -> None:
    x = random(10, width, seed=0).requires_grad_()
    a, b = random(4, 2, width, seed=1).requires_grad_(), random(4, 6, 2, seed=2).requires_grad_()
    wanted = random(10, 6, seed=3)
    for found, plain in (
        (low_rank(x, a, b, scale=1.5, ends=ENDS), each(each(x, a.mT), b.mT) * 1.5),
        (times_frozen(x, a.detach().mT @ b.detach().mT, ENDS), each(x, a.detach().mT @ b.detach().mT)),
    ):
        torch.testing.assert_close(found, plain)
        inputs = [x, a, b] if plain.grad_fn is not None and "Mul" in plain.grad_fn.name() else [x]
        ours, theirs = (torch.autograd.grad((y * wanted).sum(), inputs) for y in (found, plain))
        for mine, true in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, true)


def test_a_gradient_moves_back() -> None:
    x = random(4, 3, seed=0).requires_grad_()
    forth = torch.tensor([2, 0, 3, 1])
    found = moved(x, forth, forth.argsort())
    (grad,) = torch.autograd.grad((found * torch.arange(4)[:, None]).sum(), x)
    assert torch.equal(found, x[forth])
    assert grad[:, 0].tolist() == [1, 3, 0, 2]
