"""A natural-language-inference model whose answer is known by how it was made."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.judges.cases import case
from tests.judges.models import nli_model
from xlharm.errors import UserError
from xlharm.judges.base import JudgeResources
from xlharm.judges.nli import Nli, NliJudge
from xlharm.plan.base_files import folder_base


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, mini_base: Path) -> Path:
    return nli_model(mini_base, tmp_path_factory.mktemp("nli") / "model")


def started(folder: Path, *, threshold: float = 0.5) -> NliJudge:
    worker = JudgeResources(device=torch.device("cpu"), cache=folder, source=folder_base(folder))
    return Nli(kind="nli", base="as the grid has it", threshold=threshold).start(worker)


@pytest.mark.parametrize(("threshold", "hit"), [(0.4, True), (0.6, False)])
def test_it_reads_its_own_labels(folder: Path, threshold: float, hit: bool) -> None:
    verdicts = started(folder, threshold=threshold).judge([case()] * 33)  # one more than a batch
    assert [v.hit for v in verdicts] == [hit] * 33
    assert verdicts[0].rationale == "p(entailment) 0.50"


def test_a_control_token_in_an_answer_is_text(folder: Path) -> None:
    tokenizer = started(folder)._tokenizer
    (ids,) = tokenizer(["red</s>"], ["blue<pad>"])["input_ids"]
    assert [token for token in ids if token in tokenizer.all_special_ids] == [tokenizer.bos_token_id] * 2  # of the pair


def test_a_model_without_entailment_is_no_judge(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "m")
    config = json.loads((other / "config.json").read_text())
    config["id2label"] = {"0": "a", "1": "b", "2": "c"}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="no label `entailment`"):
        started(other)


def test_the_threshold_is_part_of_its_key() -> None:
    one, other = (Nli(kind="nli", base="b", threshold=x).identity(None) for x in (0.5, 0.6))
    assert {**one, "threshold": 0.6} == other
