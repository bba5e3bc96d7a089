"""Bases of other families on the command line: a whole grid by transformers' own code, or one line."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.cli.conftest import Xlharm
from tests.families.small import small_model

pytestmark = pytest.mark.slow


@pytest.fixture
def bloom_grid(tmp_path: Path, mini_grid: dict[str, Any], mini_base: Path) -> Path:
    """A grid over a small BLOOM with the mini base's tokenizer."""
    folder = tmp_path / "bloom"
    small_model("bloom").save_pretrained(folder)
    for file in mini_base.glob("tokenizer*.json"):
        shutil.copy(file, folder)
    few = {"languages": ["en", "de"], "contaminate": ["de"], "unlearn": {"none": [], "both": ["en", "source"]}}
    path = tmp_path / "bloom.yaml"
    YAML(typ="safe").dump({**mini_grid, **few, "base": str(folder), "exclude": []}, path)
    return path


def test_a_base_without_the_default_layers_runs_on_the_generic_path(xlharm_here: Xlharm, bloom_grid: Path) -> None:
    planned = xlharm_here("plan", bloom_grid)
    assert "the base has no layer 'q_proj': adapters are put on query_key_value, dense, dense_h_to_4h" in planned.stderr
    assert "The base runs on the generic path" in planned.stdout
    done = xlharm_here("run", bloom_grid, "--executor", "in-process", "--device", "cpu")
    assert (done.returncode, done.stderr.splitlines()) == (0, planned.stderr.splitlines()[:1])
    results = xlharm_here("results", bloom_grid, "--format", "csv")
    assert len(results.stdout.strip().splitlines()) == 1 + 2 * 2  # cells × query languages
    named = xlharm_here("plan", bloom_grid, "-s", "lora.target_modules=all-linear")
    assert "Nothing to do: every stage is in the store." in named.stdout


def test_a_base_on_a_path_that_is_not_right_for_it_is_one_line_before_anything_is_computed(
    xlharm_here: Xlharm, bloom_grid: Path, tmp_path: Path
) -> None:
    done = xlharm_here("run", bloom_grid, "--executor", "in-process", "--device", "cpu", "-s", "path=fast")
    assert done.returncode == 2
    refused = [line for line in (done.stdout + done.stderr).splitlines() if "BloomForCausalLM" in line]
    (line,) = refused
    assert line.startswith("error: base: BloomForCausalLM mixes tokens outside of its attention")
    assert line.endswith("set `path: generic` in the grid, which is slower")
    assert not list((tmp_path / "store").rglob("_SUCCESS"))
