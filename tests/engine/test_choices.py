"""Options of a run that make no sense are refused in one line."""

from typing import Any

import pytest
import torch

from xlharm.engine import choices
from xlharm.engine.choices import has_gpu, read_labels, run_options
from xlharm.errors import UserError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": "in-process", "workers": 2}, "--workers: needs Ray"),
        ({"pack": 0}, "--pack 0"),
        ({"pack": "many"}, "--pack many"),
        ({"max_gpu_hours": -1.0}, "--max-gpu-hours"),
        ({"zero": 1}, "--zero 1"),
        ({"deadline": "soon"}, "--deadline soon"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    usual = {
        "executor": "ray", "pack": "auto", "workers": None, "device": "cpu", "max_gpu_hours": None, "deadline": None,
        "labels": None, "zero": None, "ranks": 1, "offload": None,
    }  # fmt: skip
    assert run_options(**usual).pack == 6
    with pytest.raises(UserError, match=message):
        run_options(**{**usual, **options})


def test_labels_are_pairs() -> None:
    assert read_labels(["zone=a", "gpu=h200"]) == {"zone": "a", "gpu": "h200"}
    with pytest.raises(UserError, match="--label a"):
        read_labels(["a"])


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus_do_not_count(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setattr(choices.Path, "exists", lambda _: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert has_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert not has_gpu()


def test_a_gpu_that_torch_sees_is_seen_without_torch() -> None:
    assert has_gpu() or not torch.cuda.is_available()
