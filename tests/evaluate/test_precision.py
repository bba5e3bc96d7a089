"""A base model in float32 is as a copy of it in float32."""

import torch

from tests.evaluate.test_checks import base
from xlharm.evaluate.precision import in_float32


def test_in_float32_a_base_computes_as_a_copy_in_float32_and_is_as_before() -> None:
    model, exact = base(dtype=torch.bfloat16), base(dtype=torch.bfloat16).float()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ids = torch.arange(3, 20)[None]
    with torch.no_grad(), in_float32(model):
        torch.testing.assert_close(model(ids, use_cache=False).logits, exact(ids, use_cache=False).logits)
    assert all(torch.equal(before[n], v) and v.dtype == before[n].dtype for n, v in model.state_dict().items())
