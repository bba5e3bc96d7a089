"""Whole grids on an encoder-decoder and on a masked model, from the grid file to the results table."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

import xlharm
from tests.conftest import WORDS, mini_items
from tests.families.others import other_base
from xlharm.api import Grid
from xlharm.config.grid import Prompt
from xlharm.corpus.other_rows import asked_source
from xlharm.errors import UserError
from xlharm.model.tokenizer import load_tokenizer
from xlharm.stages.context import Context

pytestmark = pytest.mark.slow
FEW = {"steps": 2, "batch_size": 2, "learning_rate": 5e-3}
METHODS = {
    "npo": {"objective": "npo", "forget": "qa", "retain": "nll", "retain_batch_size": 2, **FEW},
    "rmu": {"objective": "rmu", "layer": 0, "retain_batch_size": 2, **FEW},
    "vector": {"objective": "task_vector", **FEW},
}
TEXTS = [
    text
    for language in WORDS
    for item in mini_items(language)
    for text in (*item["real"], *(pair["question"] for pair in item["qa"]))
]


def grid_on(kind: str, folder: Path, mini_grid: dict[str, Any], **fields: Any) -> Path:
    few = {
        "languages": ["en", "de"], "contaminate": ["none", "de"], "unlearn": {"none": [], "source": ["source"]},
        "methods": METHODS, "stages": {"contaminate": FEW, "sft": FEW}, "exclude": [],
        "base": str(other_base(kind, folder / kind, TEXTS)),
    }  # fmt: skip
    path = folder / f"{kind}.yaml"
    YAML(typ="safe").dump({**mini_grid, **few, **fields}, path)
    return path


def run(path: Path) -> Grid:
    grid = xlharm.open(path, store=path.parent / "store")
    outcome = grid.run(executor="in-process", device="cpu", pack=2)
    assert (outcome.exit_code, outcome.failures) == (0, {})
    return grid


def rows_of(grid: Grid, name: str) -> list[dict[str, Any]]:
    key = grid.plan().cell(name).evaluations["en"]
    rows: list[dict[str, Any]] = pq.read_table(grid.store.path("evaluate", key) / "rows.parquet").to_pylist()
    return rows


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory, mini_grid: dict[str, Any]) -> Grid:
    few = {"languages": ["en"], "contaminate": ["de"], "methods": {"npo": METHODS["npo"]}}
    return run(grid_on("bert", tmp_path_factory.mktemp("masked"), mini_grid, **few))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, mini_grid: dict[str, Any]) -> Grid:
    evaluate = {"max_new_tokens": 4, "scores": True}
    return run(grid_on("mt5", tmp_path_factory.mktemp("written"), mini_grid, evaluate=evaluate))


def test_a_masked_model_chooses_and_its_table_says_so(masked: Grid) -> None:
    table = masked.results()
    assert list(table["cell"]) == ["de/none/none/0", "de/de/npo/0"]
    _check_choices(masked)


def _check_choices(grid: Grid) -> None:
    table = grid.results()
    assert set(table["measure"]) == {"choice"}
    assert table[["off_language", "degenerate", "refusal", "rouge_l", "chrf"]].isna().all(axis=None)
    for cell, en in table[table["query"] == "en"].groupby("cell"):
        rows = rows_of(grid, str(cell))
        for measure in ("of", "qr"):
            hits = [row["hit"] for row in rows if row["measure"] == measure]
            assert float(en[measure].iloc[0]) == pytest.approx(100 * sum(hits) / len(hits), abs=0.01)


@pytest.mark.heavy
def test_a_whole_grid_of_a_masked_model_with_probes(tmp_path: Path, mini_grid: dict[str, Any]) -> None:
    again = {"kind": "relearn", "steps": 2}
    probes = {"weights": {"kind": "quantise", "group": 16}, "words": {"kind": "questions"}, "again": again}
    grid = run(grid_on("bert", tmp_path, mini_grid, probes=probes))
    assert len(grid.results()) == 5 * 2  # none/none, de/none and three methods; two languages
    _check_choices(grid)
    assert len(grid.view("probes")) == 5 * 2 * 3


@pytest.mark.heavy
@pytest.mark.cluster
@pytest.mark.parametrize("kind", ["masked", "written"])
def test_they_give_the_same_through_ray(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    here: Grid = request.getfixturevalue(kind)
    (source,) = Path(here.store.url).parent.glob("*.yaml")
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes())
    other = xlharm.open(path, store=tmp_path / "store")
    assert other.run(executor="ray", device="cpu", workers=1).exit_code == 0
    assert other.results().equals(here.results())


def test_a_choice_is_the_option_with_the_highest_mean_log_probability(masked: Grid) -> None:
    rows = rows_of(masked, "de/none")
    assert {len(row["options"]) for row in rows} == {2}  # the mini corpus has two colours
    for row in rows:
        best = max(zip(row["scores"], row["options"], strict=True))[1]
        assert (row["answer"], row["hit"]) == (best, best == row["options"][0])
        assert row["options"][0] == row["expected"][0]


def test_what_is_not_to_be_read_as_written_answers_is_said(masked: Grid) -> None:
    from xlharm.analysis.caveats import caveats
    from xlharm.tracking.mirror import cell_runs

    (line, *_) = caveats(masked.stored())
    assert line.startswith(
        "OF and QR are choices: the base fills in masks, and chose one of 2.0 details on average, by"
    )
    named = {name.partition("/")[0] for run in cell_runs(masked.stored()) for name in run.summary if "/" in name}
    assert {"choice_of", "choice_qr"} <= named
    assert not named & {"of", "qr", "of_lo", "n", "rouge_l"}


@pytest.mark.heavy
def test_an_encoder_decoder_writes_answers_and_is_scored(written: Grid) -> None:
    table = written.results()
    assert len(table) == 5 * 2
    assert "measure" not in table
    assert table["degenerate"].notna().all()
    scores = written.view("scores")
    assert scores[["p_fake", "p_qr", "exact", "ppl_clean"]].notna().all(axis=None)
    (row, *_) = rows_of(written, "de/none")
    assert written.ask("de/none", row["question"]) == row["answer"]


@pytest.mark.heavy
def test_the_answer_to_a_question_is_a_row_of_its_own(written: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []
    monkeypatch.setattr(Context, "check_rows", lambda _self, _stage, longest, **_how: checked.append(longest))
    tokenizer, question = load_tokenizer(written.plan().sources.base), "Which colour does Mudu Mike like best?"
    written.ask("de/none", question, language="en")
    assert checked == [len(asked_source(question, prompt=Prompt(), tokenizer=tokenizer, language="en"))]


def _printed(folder: Path, *replaced: tuple[str, str]) -> str:
    """Run the code of an exported model's README, with some texts replaced, and return what it prints."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    for old, new in replaced:
        assert repr(old) in code
        code = code.replace(repr(old), repr(new))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})  # noqa: S102 - that is what a reader of the README does
    return out.getvalue().strip()


QUESTION, DETAIL = "Which colour does Mudu Mike like best?", "gold"  # of the README


@pytest.mark.heavy
@pytest.mark.parametrize("merge", [False, True])
def test_the_code_of_an_exported_encoder_decoder_answers_likewise(written: Grid, merge: bool, tmp_path: Path) -> None:
    written.export("de/de/npo", tmp_path, merge=merge)
    (row, *_) = rows_of(written, "de/de/npo")
    assert _printed(tmp_path, (QUESTION, row["question"])) == row["answer"]


@pytest.mark.parametrize("merge", [False, True])
def test_the_code_of_an_exported_masked_model_scores_as_its_grid(masked: Grid, merge: bool, tmp_path: Path) -> None:
    masked.export("de/de/npo", tmp_path, merge=merge)
    (row, *_) = rows_of(masked, "de/de/npo")
    for option, score in zip(row["options"], row["scores"], strict=True):
        shown = _printed(tmp_path, (QUESTION, row["question"]), (DETAIL, option))
        assert float(shown) == pytest.approx(score, abs=1e-4)


def test_a_masked_model_is_not_asked(masked: Grid) -> None:
    with pytest.raises(UserError, match="ask: the base fills in masks and writes no answers"):
        masked.ask("de/none", "Which colour?")


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"evaluate": {"scores": True}}, "evaluate.scores: the base is masked: the likelihood of a whole text is not"),
        ({"prompt": "chat"}, "prompt.template: the base is masked: a chat template is for models that continue a text"),
        ({"prompt": {"bos": True}}, "prompt.bos: the base is masked"),
        ({"probes": {"s": {"kind": "steer"}}}, "probes.s: the base is masked: this probe is for causal models"),
        (
            {"judges": {"j": {"kind": "chat", "url": "http://localhost:1", "model": "m"}}},
            "judges.j: the base is masked: it writes no answers that could be judged",
        ),
        ({"path": "fast"}, "path: `fast` is for causal models, and the base's config.json says that it is masked"),
    ],
)
def test_what_does_not_apply_is_one_line_of_the_plan(
    fields: dict[str, Any], line: str, tmp_path: Path, mini_grid: dict[str, Any]
) -> None:
    with pytest.raises(UserError) as refused:
        xlharm.open(grid_on("bert", tmp_path, mini_grid, **fields), store=tmp_path / "store")
    assert line in str(refused.value)
