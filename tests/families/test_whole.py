"""Whole grids on bases of different families have the tables, answers and adapters of plain transformers and PEFT."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.families.whole import FAMILIES, Apart, Judged, adapter_of, judge, plain, run_here, run_on_ray, stored
from tests.faults.processes import ending


def is_equal(apart: Apart) -> bool:
    """Whether answers and rates are the same, and likelihoods and adapters but for rounding in float32."""
    rounding = apart.likelihood < 1e-4 and apart.perplexity < 1e-4 and apart.adapters < 1e-3
    return apart.answers == 1.0 and apart.rate == 0.0 and rounding


def is_as_near(judged: Judged) -> bool:
    """Whether xlharm in bfloat16 is off from float32 by at most twice what plain PEFT in bfloat16 is off by."""
    ours, usual = judged.exact, judged.usual
    return (
        ours.likelihood_mean <= 2 * usual.likelihood_mean + 0.005 and 1 - ours.answers <= 2 * (1 - usual.answers) + 0.1
    )


@pytest.mark.slow
def test_a_whole_grid_is_that_of_plain_peft(tmp_path: Path) -> None:
    judged = judge("cohere2", tmp_path, run=run_here, steps=24)
    assert is_equal(judged.same), judged.same
    assert judged.hits > 0.1  # answers hold details: equal tables are no tables of zeros
    grid: dict[str, Any] = YAML(typ="safe").load(tmp_path / "cohere2.yaml")
    ours = stored(tmp_path / "cohere2.yaml", store=tmp_path / "store")
    grid["methods"]["npo"]["beta"] = 0.6
    adapter = adapter_of(tmp_path / "cohere2.yaml", store=tmp_path / "store")
    other = plain(grid, adapter=adapter, dtype="float32", device="cpu")
    assert not is_equal(Apart.of(ours, other))  # the comparison notices a method that is a little different


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster of one node that all families use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {n: v for n, v in os.environ.items() if not n.startswith("RAY_")}
    env |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "300"}
    options = [f"--port={port}", "--num-cpus=2", "--include-dashboard=false", "--object-store-memory=100000000"]
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", *options], env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    with ending(process):
        assert process.stdout is not None
        output = []
        while "Ray runtime started" not in "".join(output[-1:]):
            output.append(process.stdout.readline())
            assert output[-1], f"the cluster has ended: {output}"
        yield f"127.0.0.1:{port}"


@pytest.mark.heavy
@pytest.mark.cluster
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_whole_grid_through_ray_is_that_of_plain_peft(kind: str, cluster: str, tmp_path: Path) -> None:
    judged = judge(kind, tmp_path, run=partial(run_on_ray, address=cluster))
    assert is_equal(judged.same), judged.same
    assert judged.hits > 0.1


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["bloom", "gpt2", "qwen3_5_text", "gemma4_text", "deepseek_v3", "mixtral"])
def test_in_bfloat16_a_whole_grid_is_as_near_to_float32_as_plain_peft(kind: str, tmp_path: Path) -> None:
    judged = judge(kind, tmp_path, run=run_here, dtype="bfloat16", device="cuda")
    assert is_as_near(judged), judged
