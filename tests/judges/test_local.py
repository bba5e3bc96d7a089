"""A local model whose answer is known by how it was made."""

from pathlib import Path

import pytest
import torch

from tests.judges.cases import case
from tests.judges.models import yes_model
from xlharm.errors import UserError
from xlharm.judges.base import JudgeResources
from xlharm.judges.local import Local, LocalJudge
from xlharm.plan.base_files import folder_base
from xlharm.plan.sources import BaseSource


def started(folder: Path) -> LocalJudge:
    worker = JudgeResources(device=torch.device("cpu"), cache=folder, source=folder_base(folder))
    return Local(kind="local", base="as the grid has it").start(worker)


def test_it_says_the_likelier_word(mini_base: Path, tmp_path: Path) -> None:
    """A base whose output layer prefers one of the two words after everything."""
    judge = started(yes_model(mini_base, tmp_path / "base"))
    head = judge._model.get_output_embeddings()
    hits = []
    for bias in (200.0, -200.0):
        head.bias = torch.nn.Parameter(torch.zeros(head.out_features))
        head.bias.data[1] = bias
        hits.append(judge.judge([case()])[0].hit)
    assert hits == [True, False]


def test_a_tokenizer_that_cannot_tell_the_words_apart_is_one_line(mini_base: Path) -> None:
    with pytest.raises(UserError, match="begins ` yes` and ` no` with the same token"):
        started(mini_base)


def test_its_key_has_the_models_digest_and_no_path() -> None:
    source = BaseSource(location="/here", revision="r", digest="d", size=1)
    assert Local(kind="local", base="/here").identity(source) == {
        "kind": "local", "measures": ["of", "qr"], "base": "d", "revision": None, "prompt_version": 1,
    }  # fmt: skip
