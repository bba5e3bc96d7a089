"""Counting tokens before a run: as the workers will, without torch, and with a clear word where it cannot be done."""

import subprocess
import sys

import pytest

from xlharm.corpus.finding import assets
from xlharm.errors import UserError
from xlharm.model.tokenizer import check_vocabulary, light_tokenizer, load_tokenizer, positions
from xlharm.plan.base_files import folder_base
from xlharm.plan.sources import BaseSource


def test_the_light_tokenizer_is_the_workers() -> None:
    base = folder_base(assets() / "tiny-base")
    light, full = light_tokenizer(base), load_tokenizer(base)
    assert (light.bos, light.eos) == (full.bos, full.eos)
    for language in ("en", "zh", "ur", "hy"):
        text = (assets() / "tinyworld" / f"{language}.jsonl").read_text(encoding="utf-8")[:2000]
        assert light.encode(text) == full.encode(text)
    assert positions(base) == 512


def test_it_imports_no_torch() -> None:
    code = (
        "import sys; from xlharm.model.tokenizer import light_tokenizer, positions;"
        "from xlharm.corpus.finding import assets; from xlharm.plan.base_files import folder_base;"
        "base = folder_base(assets() / 'tiny-base');"
        "positions(base), light_tokenizer(base).encode('a'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_token_without_an_embedding_is_named() -> None:
    base = folder_base(assets() / "tiny-base")
    tokenizer = light_tokenizer(base)
    size = len(tokenizer.hf)
    check_vocabulary(tokenizer, size=None, source=base)  # as its configuration has it
    check_vocabulary(tokenizer, size=size, source=base)
    tokenizer.hf.add_tokens(["<extra>"])
    message = rf"tokenizer: '<extra>' has the id {size}, but the model has {size} embeddings"
    with pytest.raises(UserError, match=message):
        check_vocabulary(tokenizer, size=size, source=base)


def test_a_base_that_is_not_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="base org/none: configuration: "):
        positions(BaseSource(location="org/none", revision="0" * 40, digest="", size=0))
