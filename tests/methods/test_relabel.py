import torch

from tests.methods.made import label_logp, some_logits, tokens
from xlharm.methods.relabel import Relabel


def test_it_learns_its_rows() -> None:
    logp = label_logp(some_logits())
    torch.testing.assert_close(Relabel(objective="relabel").loss(tokens(logp)), -logp.mean())
