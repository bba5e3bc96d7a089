"""The networks of recipes/tiny_base: bases of five families of the right size, saved as transformers reads them."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = Path(__file__).parents[1] / "recipes" / "tiny_base"
FAMILIES = ("llama", "gpt2", "bloom", "qwen3", "gemma3")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The recipe's module ``network``, which a script imports from its own folder."""
    monkeypatch.syspath_prepend(FOLDER)
    import network  # type: ignore[import-not-found]  # a script's module

    yield network
    del sys.modules["network"]


def test_the_families(network: ModuleType) -> None:
    assert tuple(network.FAMILIES) == FAMILIES
    with pytest.raises(ValueError, match="family 'bert': expected one of llama, gpt2"):
        network.config_of("bert", network.Shape())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_has_at_most_10_megabytes(network: ModuleType, family: str) -> None:
    with torch.device("meta"):
        model = network.network(family, network.Shape())
    parameters = sum(p.numel() for p in model.parameters())
    assert 3.5e6 < parameters < 5e6  # two bytes each; about as many in every family


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_saved_computes_the_same(network: ModuleType, family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = network.network(family, network.Shape(vocabulary=64, width=48, layers=2, heads=3, inner=96)).eval()
    ids = torch.randint(3, 64, (2, 12))
    with torch.no_grad():
        for p in model.parameters():  # the weights are saved in bfloat16
            p.copy_(p.bfloat16().float())
        logits, loss = model(ids), model(ids[:, :-1], ids[:, 1:])
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<pad>": 2, "a": 3}, unk_token="<pad>"))
    tokenizer.save(str(tmp_path / "bpe.json"))
    network.save(model, str(tmp_path / "bpe.json"), str(tmp_path / "base"))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(input_ids=ids).logits, logits, rtol=1e-4, atol=1e-4)
        theirs = loaded(input_ids=ids, labels=ids).loss
    torch.testing.assert_close(theirs, loss, rtol=1e-4, atol=1e-4)
    assert AutoTokenizer.from_pretrained(tmp_path / "base")("a")["input_ids"] == [0, 3]  # begins as documents did
