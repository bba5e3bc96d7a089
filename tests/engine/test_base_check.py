"""What is said of a base."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import BloomConfig, BloomForCausalLM

from xlharm.api import base_plan
from xlharm.engine.base_check import fast_refusal


@pytest.mark.slow
def test_the_reason_for_the_generic_path_is_what_the_fast_ones_checks_say(mini_base: Path, tmp_path: Path) -> None:
    vocabulary = Tokenizer.from_file(str(mini_base / "tokenizer.json")).get_vocab_size()
    torch.manual_seed(0)
    BloomForCausalLM(
        BloomConfig(vocab_size=vocabulary, hidden_size=32, n_layer=2, n_head=2, pad_token_id=2)
    ).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((mini_base / name).read_bytes())
    plan = base_plan(str(tmp_path))
    assert plan.notes[0].startswith("lora.target_modules: the base has no layer 'q_proj'")
    reason = fast_refusal(plan)
    assert reason is not None
    assert "BloomForCausalLM" in reason
    assert "path: generic" not in reason
    assert fast_refusal(base_plan(str(mini_base))) is None
