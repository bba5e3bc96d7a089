"""One family of each mechanism: what is trained, weighed and answered is what transformers' own forward gives.

`make families` judges all types in the same way.
"""

from pathlib import Path

import pytest
from torch import Tensor
from transformers import CONFIG_MAPPING

from tests.families.matrix import DTYPES, judge
from tests.families.small import small_config, small_model
from xlharm.model.lora import StackedLinear
from xlharm.plan.base_files import folder_base
from xlharm.plan.families import GENERIC, path_of

QUICK = {"bloom": "attention in code of its own, with ALiBi"}
SLOW = {
    "gpt_oss": "attention sinks, and windows in turns",
    "deepseek_v3": "keys and values of different widths",
    "mamba": "no attention at all",
    "gpt2": "transposed weights",
    "gemma3n_text": "keys and values shared between layers; a zero embedding of the padding token",
    "gemma4_text": "layers of different widths",
    "llama4_text": "queries scaled by their place; a prefix that names no module",
    "mixtral": "experts stacked to one parameter",
    "stablelm": "layers that keep what they are passed from their attention",
    "bert": "logits computed by more than one layer",
    "falcon": "its own rotary attention",
    "mpt": "ALiBi as a bias",
    "xglm": "sinusoidal positions",
    "camembert": "positions that `generate` counts differently",
    "qwen3_5_text": "linear attention with a state",
    "glm_moe_dsa": "attention to chosen keys, of which there are more than tokens",
}


@pytest.fixture(scope="module")
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    small_model(request.param).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "saved", [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW)], indirect=True
)
def test_a_family_of_each_mechanism_equals_its_own_forward(saved: Path, dtype: str) -> None:
    verdict = judge(saved, path=path_of("auto", family=folder_base(saved).family), dtype=dtype)
    assert (verdict["is"], verdict["why"]) == ("equal", "")


def test_the_reference_notices_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_model("llama").save_pretrained(tmp_path)
    real = StackedLinear.forward

    def doubled(self: StackedLinear, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x)
        return real(self, x) if self.a is None else 2 * real(self, x) - y

    monkeypatch.setattr(StackedLinear, "forward", doubled)  # the base's checks cannot know how large an adapter is
    verdict = judge(tmp_path, path="fast", dtype="float32")
    assert verdict["is"] == "wrong"
    assert verdict["why"].startswith("log-probabilities of slot 0 are off by")


@pytest.mark.slow
def test_a_family_on_the_generic_path_is_one_of_transformers() -> None:
    for kind in GENERIC & set(CONFIG_MAPPING):  # the newest are not in older releases
        assert small_config(kind).model_type == kind


@pytest.mark.parametrize(
    ("kind", "fields", "most"),
    [
        ("glm_moe_dsa", {"index_topk": 8}, 8),
        ("deepseek_v4", {"index_topk": 8}, 32),
        ("qwen4_exp_text", {"indexer_budget": 16}, 16),
        ("minimax_m3_vl_text", {"index_block_size": 4, "index_topk_blocks": 3}, 12),
    ],
)
def test_rows_longer_than_what_a_base_attends_to_are_refused(
    kind: str, fields: dict[str, int], most: int, tmp_path: Path
) -> None:
    small_model(kind, **fields).save_pretrained(tmp_path)
    verdict = judge(tmp_path, path=path_of("auto", family=folder_base(tmp_path).family), dtype="float32")
    assert verdict["is"] == "refused"
    assert f"`sequence_length: {most}`" in verdict["why"]


@pytest.mark.slow
def test_every_choice_of_keys_in_transformers_is_one_that_the_checks_know() -> None:
    fields = {f for kind in CONFIG_MAPPING for f in getattr(CONFIG_MAPPING[kind], "__dataclass_fields__", ())}
    choices = {f for f in fields if "index" in f and ("topk" in f or "budget" in f)}
    assert choices == {"index_topk", "index_topk_blocks", "indexer_budget"}
