import torch

from tests.methods.made import label_logp, some_logits, tokens
from xlharm.methods.idk import Idk


def test_it_learns_its_rows() -> None:
    logp = label_logp(some_logits())
    torch.testing.assert_close(Idk(objective="idk").loss(tokens(logp)), -logp.mean())
