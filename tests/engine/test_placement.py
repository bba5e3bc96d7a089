"""How many workers, and with what."""

from typing import Any

import pytest

from xlharm.engine.placement import WorkerShape, worker_shape
from xlharm.errors import UserError


def place(cpus: list[int], gpus: int = 0, **fields: Any) -> WorkerShape:
    return worker_shape(cpus, gpus, **{"device": "auto", "workers": None, "ranks": 1, "most": 100, **fields})


def test_a_laptop_has_one_worker_with_all_cores() -> None:
    assert place([8]) == WorkerShape(workers=1, ranks=1, cpus=5, gpus=0, threads=8, device="cpu")
    assert place([2]).threads == 2
    assert place([1]).cpus == 1


def test_asked_for_workers_share_the_cores() -> None:
    shape = place([8], workers=3)
    assert (shape.workers, shape.threads, shape.cpus) == (3, 2, 2)
    assert place([2], workers=4).threads == 1


def test_one_worker_for_each_machine_or_gpu_but_no_more_than_packs() -> None:
    assert place([16, 16, 16]).workers == 3
    assert place([16, 16], gpus=8).workers == 8
    assert place([16, 16], gpus=8, most=3).workers == 3
    assert place([16], gpus=8) == WorkerShape(workers=8, ranks=1, cpus=1, gpus=1, threads=None, device="cuda")
    assert place([2], gpus=8).cpus == 0  # machines with fewer cores than GPUs
    assert place([16], gpus=8, device="cpu").device == "cpu"


def test_several_workers_share_a_gpu() -> None:
    assert (place([16], gpus=2, share=0.25).workers, place([16], gpus=2, share=0.25).gpus) == (8, 0.25)
    assert place([16], gpus=2, share=0.4).workers == 4  # two on each, and a fifth of each is left
    assert place([16], gpus=1, share=0.1).workers == 10
    assert place([16], gpus=2, share=0.5, workers=3).workers == 3
    for share in (0, -1, 1.5, float("nan")):
        with pytest.raises(UserError, match="above 0, at most 1"):
            place([16], gpus=2, share=share)
    with pytest.raises(UserError, match="--ranks 1"):
        place([16], gpus=2, share=0.5, ranks=2)


def test_the_user_may_want_fewer_threads() -> None:
    assert place([8], threads=2) == WorkerShape(workers=1, ranks=1, cpus=5, gpus=0, threads=2, device="cpu")
    assert place([8], workers=3, threads=16) == place([8], workers=3)


def test_gangs() -> None:
    assert place([16], gpus=8, ranks=4).workers == 2
    shape = place([8], ranks=2)
    assert (shape.workers, shape.ranks, shape.threads) == (1, 2, 4)
    with pytest.raises(UserError, match="only 2 GPUs"):
        place([16], gpus=2, ranks=4)


def test_no_gpu_where_one_was_asked_for() -> None:
    with pytest.raises(UserError, match="no GPU"):
        place([8], device="cuda")
