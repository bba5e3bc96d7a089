"""Which layers adapters are put on: by name, all of them, or what the base has in place of the default."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.plan.worlds import grid_of
from xlharm.config.grid import LINEARS, GridSpec
from xlharm.config.load import parse_grid
from xlharm.corpus.finding import assets
from xlharm.errors import UserError
from xlharm.plan import targets
from xlharm.plan.base_files import folder_base
from xlharm.plan.sources import BaseSource
from xlharm.plan.targets import check_targets, linear_layers, settle_targets, sizes_of


def grid(**lora: Any) -> GridSpec:
    return parse_grid(grid_of(**({"lora": lora} if lora else {})), name="grid.yaml")


def never(base: BaseSource) -> tuple[str, ...]:
    raise AssertionError(f"{base.location}: its layers need not be listed")


def header(folder: Path, *names: str) -> BaseSource:
    """Write a weight file of matrices [4, 8], all of zeros."""
    shapes = {f"{name}.weight": {"dtype": "F32", "shape": [4, 8], "data_offsets": [0, 128]} for name in names}
    text = json.dumps(shapes).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(128))
    (folder / "config.json").write_text('{"model_type": "odd"}', encoding="utf-8")
    return folder_base(folder)


def test_a_base_with_the_default_layers_keeps_the_default_without_its_code() -> None:
    spec = grid()
    assert settle_targets(spec, folder_base(assets() / "tiny-base"), list_layers=never) == (spec, ())


def test_names_of_the_grid_are_kept(tmp_path: Path) -> None:
    spec = grid(target_modules=["dense"])
    assert settle_targets(spec, header(tmp_path, "h.0.dense"), list_layers=never) == (spec, ())


def test_all_linear_is_replaced_by_names_and_equals_a_grid_that_names_them() -> None:
    base = folder_base(assets() / "tiny-base")
    spec, notes = settle_targets(grid(target_modules="all-linear"), base, list_layers=lambda _: LINEARS)
    assert spec.lora == grid(target_modules=list(LINEARS)).lora
    assert notes == ()


def test_a_base_that_lacks_a_default_layer_gets_its_own_and_a_line(tmp_path: Path) -> None:
    base = header(tmp_path, "h.0.query_key_value", "h.0.dense")
    spec, (note,) = settle_targets(grid(rank=4, alpha=8.0), base, list_layers=lambda _: ("query_key_value", "dense"))
    assert (spec.lora.rank, spec.lora.alpha) == (4, 8.0)
    assert spec.lora.target_modules == ("query_key_value", "dense")
    assert note == ("lora.target_modules: the base has no layer 'q_proj': adapters are put on query_key_value, dense")


def test_experts_are_named_when_they_are_asked_for_and_are_not_of_the_default(tmp_path: Path) -> None:
    listed = ("q_proj", "experts.gate_up_proj", "experts.down_proj")
    base = header(tmp_path, "h.0.q_proj")
    spec, _ = settle_targets(grid(target_modules=["q_proj", "experts"]), base, list_layers=lambda _: listed)
    assert spec.lora.target_modules == listed
    spec, _ = settle_targets(grid(target_modules=["experts"]), base, list_layers=lambda _: listed)
    assert spec.lora.target_modules == listed[1:]
    spec, _ = settle_targets(grid(target_modules="all-linear"), base, list_layers=lambda _: listed)
    assert spec.lora.target_modules == listed
    spec, (note,) = settle_targets(grid(), base, list_layers=lambda _: listed)
    assert spec.lora.target_modules == ("q_proj",)
    assert note.endswith("adapters are put on q_proj; `all-linear` puts them on experts, too")
    with pytest.raises(UserError, match=r"lora.target_modules: the base has no layer 'experts' \(\['q_proj'\]\)"):
        settle_targets(grid(target_modules=["experts"]), base, list_layers=lambda _: listed[:1])


def test_layers_that_the_files_do_not_name_have_the_sizes_that_the_code_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "base").mkdir()
    base = header(tmp_path / "base", "h.0.q_proj", "h.0.mlp.experts.0.w1")
    monkeypatch.setattr(targets, "_ask", lambda _: {"q_proj": (12, 32), "experts.down_proj": (24, 64)})
    sizes = sizes_of(base, ["q_proj", "experts.down_proj"])
    assert sizes is not None
    assert sizes.adapter_parameters(rank=2, targets=("q_proj", "experts.down_proj")) == 2 * (12 + 24)
    monkeypatch.setattr(targets, "_layers", never)
    sizes = sizes_of(base, ["q_proj"])
    assert sizes is not None
    assert sizes.adapter_parameters(rank=2, targets=("q_proj",)) == 2 * 12


def test_layers_of_single_experts_are_not_those_of_the_default(tmp_path: Path) -> None:
    base = header(tmp_path, *(f"layers.0.{'mlp.experts.0.' * (n[-6:-5] != 'o')}{n}" for n in LINEARS))
    spec, notes = settle_targets(grid(), base, list_layers=lambda _: ("o_proj",))
    assert spec.lora.target_modules == ("o_proj",)
    assert len(notes) == 1


def test_a_target_is_checked_by_the_files_and_then_by_the_code(tmp_path: Path) -> None:
    base = header(tmp_path, "h.0.dense", "h.0.mlp.experts.3.w1", "h.0.mlp.gate")
    check_targets(["dense"], base, list_layers=never)
    check_targets(["dense", "fused"], base, list_layers=lambda _: ("dense", "fused"))
    for name in ("w1", "gate"):
        with pytest.raises(UserError, match=rf"lora.target_modules: the base has no layer '{name}'"):
            check_targets(["dense", name], base, list_layers=lambda _: ("dense",))


@pytest.mark.slow
def test_layers_are_listed_by_another_process_and_then_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    base = folder_base(assets() / "tiny-base")
    assert linear_layers(base) == LINEARS
    monkeypatch.setattr(targets, "_ask", never)
    assert linear_layers(base) == LINEARS


def test_a_base_that_cannot_be_listed_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho noise >&2\necho 'ValueError: an odd configuration' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "executable", str(script))
    (tmp_path / "base").mkdir()
    with pytest.raises(UserError, match=r"its layers cannot be listed: ValueError: an odd configuration$"):
        linear_layers(header(tmp_path / "base", "h.0.dense"))
