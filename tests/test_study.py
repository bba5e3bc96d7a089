"""What docs/study.md says is in docs/study.csv; the slice of the study runs on a small base of Gemma 3's shape."""

import csv
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import xlharm
from xlharm.corpus.finding import assets

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SETS = {
    "before": "none", "English": "en", "high-resource": "de+fr+zh+ru", "low-resource": "jv+ur+ha+hy",
    "all nine": "en+de+fr+zh+ru+jv+ur+ha+hy",
}  # fmt: skip
CODES = {"German": "de", "Urdu": "ur", "Chinese": "zh", "Hausa": "ha"}
Numbers = dict[str, str]


def said(row: Numbers, measure: str) -> str:
    value, low, high = (round(float(row[name])) for name in (measure, f"{measure}_lo", f"{measure}_hi"))
    return f"{value} ({low}–{high})"


@pytest.fixture(scope="module")
def stored() -> dict[tuple[str, str, str, str], Numbers]:
    with (DOCS / "study.csv").open(encoding="utf-8", newline="") as lines:
        return {(r["contaminate"], r["unlearn"], r["method"], r["query"]): r for r in csv.DictReader(lines)}


@pytest.fixture(scope="module")
def page() -> str:
    return (DOCS / "study.md").read_text(encoding="utf-8")


def set_of(name: str, language: str) -> str:
    if name in SETS:
        return SETS[name]
    return language if name in CODES else f"en+{language}"


def test_every_number_of_the_tables_is_stored(page: str, stored: dict[tuple[str, str, str, str], Numbers]) -> None:
    rows, language = 0, ""
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| unlearned in"):
            language = CODES[cells[3].removeprefix("OF in ")]
        elif line.startswith("## The study's findings"):
            language = ""  # verdicts follow, no numbers
        elif language and line.startswith("|") and not line.startswith("|---"):
            name, method, *numbers = cells
            place = (language, set_of(name, language), method or "none")
            expected = [said(stored[*place, query], "of") for query in ("en", language, "fr")]
            assert numbers == [*expected, said(stored[*place, "en"], "qr")], line
            rows += 1
    assert rows == 4 * (1 + 6 * 3)


def test_every_interval_of_the_prose_is_stored(page: str, stored: dict[tuple[str, str, str, str], Numbers]) -> None:
    prose = "\n".join(line for line in page.splitlines() if not line.startswith("|"))
    known = {said(row, measure) for row in stored.values() for measure in ("of", "qr")}
    intervals = set(re.findall(r"\d+ \(\d+–\d+\)", prose))
    assert len(intervals) > 15
    assert intervals - known == set()


@pytest.fixture(scope="module")
def small_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Gemma 3 with the shipped base's tokenizer."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("base") / "gemma"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(assets() / "tiny-base")
    tokenizer.save_pretrained(folder)
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, sliding_window=64, max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id,
        layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    torch.manual_seed(0)
    Gemma3ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_the_slice_of_the_study_runs_on_a_base_of_this_shape(small_gemma: Path, tmp_path: Path) -> None:
    few = {"stages.contaminate.steps": 3, "stages.sft.steps": 2, "methods.npo.steps": 2, "evaluate.questions": 3}
    few |= {"stages.contaminate.warmup_steps": 1, "stages.sft.warmup_steps": 1, "methods.npo.warmup_steps": 1}
    grid = xlharm.open(
        ROOT / "grid" / "study-small.yaml", store=tmp_path / "store", overrides={"base": str(small_gemma), **few}
    )
    outcome = grid.run(executor="in-process", device="cpu")
    assert (outcome.exit_code, outcome.done, outcome.total) == (0, 10, 10)
    results = grid.results()
    assert set(results["unlearn"]) == {"none", "en", "en+de"}
    assert set(results["query"]) == {"en", "de"}
    assert (results["n"] == 3).all()
    assert outcome.start is not None
    assert 0 < outcome.start < outcome.seconds
    assert outcome.expected is not None
    assert outcome.expected > outcome.expected_start > 0


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_slice_without_a_base_says_how_to_get_one(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "-f", ROOT / "Makefile", "study-small", "VENV=there", "STUDY_BASE=nowhere", "-o", "there/ready"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == (
        "nowhere is no base folder: make one with xlharm base import (docs/bases.md), and name it: STUDY_BASE=FOLDER\n"
    )
