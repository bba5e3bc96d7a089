"""The projection itself is tested in tests/model/test_arithmetic.py; here, what the method hands to it."""

import torch

from tests.model.test_arithmetic import LAYOUT, adapter
from xlharm.methods.subspace import Subspace
from xlharm.model.arithmetic import project_out


def test_it_projects_the_forget_rows_out_and_spares_the_retain_rows() -> None:
    parent, forget, retain = adapter(1), adapter(2), adapter(3)
    method = Subspace(objective="subspace", dimensions=2, kept_dimensions=1)
    mine = method.edit(parent, [forget, retain], layout=LAYOUT)
    theirs = project_out(parent, forget, retain, dimensions=2, kept_dimensions=1, layout=LAYOUT)
    torch.testing.assert_close(mine.adapter, theirs.adapter, rtol=0, atol=0)
    swapped = method.edit(parent, [retain, forget], layout=LAYOUT)
    assert not torch.allclose(swapped.adapter, mine.adapter)
