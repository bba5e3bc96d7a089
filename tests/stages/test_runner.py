"""The torch side without Ray: a whole grid, pack by pack, in this process."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from tests.conftest import plan_of
from xlharm.engine.options import RunOptions, worker_config
from xlharm.errors import BaseRefusedError, StageError, StoppedError, UserError
from xlharm.evaluate import asking
from xlharm.evaluate.cache import RowCache
from xlharm.model.adapter_files import load_adapter
from xlharm.model.ragged import Ragged
from xlharm.model.tokenizer import load_tokenizer
from xlharm.plan.build import Plan
from xlharm.plan.memory import BaseSizes
from xlharm.plan.packs import packs
from xlharm.plan.stage import KINDS, Kind, Stage
from xlharm.stages import ask
from xlharm.stages.job import PackJob, Progress, RunnerConfig
from xlharm.stages.runner import StageRunner
from xlharm.store.store import Store
from xlharm.train.engine import PackEngine

pytestmark = pytest.mark.slow


def run_all(plan: Plan, store: Store, *, size: int, kinds: tuple[Kind, ...] = KINDS, **config: Any) -> list[Progress]:
    """Run a plan's missing stages the way a single worker would."""
    progress: list[Progress] = []
    runner = StageRunner(
        RunnerConfig(
            base=plan.sources.base,
            corpus=plan.sources.corpus.path,
            store_url=store.url,
            dtype="float32",
            device="cpu",
            slots=size,
            **config,
        )
    )
    for pack in packs(plan, size=size):
        stages = tuple(plan.stages[k] for k in pack.keys)
        done = store.done(plan.stages)
        active = tuple(s.key not in done for s in stages)
        if any(active) and pack.kind in kinds:
            results = runner.run(
                PackJob(id=pack.id, kind=pack.kind, stages=stages, active=active), report=progress.append
            )
            assert all(r.ok for r in results), results
    return progress


def adapter(plan: Plan, store: Store, key: str) -> torch.Tensor:
    from safetensors.torch import load_file

    tensors = load_file(store.path(plan.stages[key].kind, key) / "adapter_model.safetensors")
    return torch.cat([tensors[name].reshape(-1) for name in sorted(tensors)])


def assert_same_results(plan: Plan, one: Store, other: Store, *, tolerance: float) -> None:
    compared = [plan.stages[key] for key in plan.stages if key in other.done(plan.stages)]
    assert compared
    for stage in compared:
        key = stage.key
        if stage.kind == "evaluate":
            left, right = (pq.read_table(s.path("evaluate", key) / "rows.parquet") for s in (one, other))
            assert left.equals(right), stage.label
        elif stage.kind == "inspect":
            tables = [pq.read_table(s.path("inspect", key) / "inside.parquet").to_pylist() for s in (one, other)]
            assert len(tables[0]) == len(tables[1]) > 0, stage.label
            for mine, theirs in zip(*tables, strict=True):
                numbers = {k for k, v in theirs.items() if isinstance(v[0] if isinstance(v, list) else v, float)}
                near = {k: pytest.approx(v, rel=1e-3, abs=1e-3) if k in numbers else v for k, v in theirs.items()}
                assert mine == near, stage.label
        elif stage.kind == "score":
            logps = [pq.read_table(s.path("score", key) / "scores.parquet")["logp"].to_pylist() for s in (one, other)]
            assert logps[0] == pytest.approx(logps[1], rel=max(tolerance, 1e-9)), stage.label
        else:
            a, b = adapter(plan, one, key), adapter(plan, other, key)
            difference = float((a - b).norm() / b.norm())
            # training that goes on starts from adapters that differ already, and AdamW's steps do not shrink with that
            allowed = 100 * tolerance if stage.kind == "continue" else tolerance
            assert difference <= allowed, (stage.label, difference)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mini_grid: dict[str, Any]) -> tuple[Plan, Store]:
    store = Store(str(tmp_path_factory.mktemp("packed")))
    plan = plan_of(mini_grid)
    run_all(plan, store, size=4)
    return plan, store


def test_a_grid_runs_to_the_end(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    assert store.done(plan.stages) == set(plan.stages)
    record = store.record("evaluate", plan.cells[0].evaluations["en"])
    assert record.metrics["of"]["n"] == 3
    assert record.metrics["qr"]["n"] == 3
    assert record.provenance["device"] == "cpu"


def test_answers_are_cut_at_the_stop_where_they_are_read(
    finished: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = finished
    ids = load_tokenizer(plan.sources.base).encode(" Belsara.\nQ: And")

    def same_answer(_: Any, adapters: torch.Tensor, prompts: list[Any], **__: Any) -> list[list[list[int]]]:
        return [[ids for _ in prompts] for _ in adapters]

    monkeypatch.setattr(asking, "generate", same_answer)
    monkeypatch.setattr(ask, "generate", same_answer)
    assert ask.ask(plan, store, plan.cells[0], "Who?") == "Belsara."
    other = Store(str(tmp_path))
    shutil.copytree(store.local / "stages", other.local / "stages", ignore=shutil.ignore_patterns("evaluate"))
    run_all(plan, other, size=4, kinds=("evaluate",))
    rows = pq.read_table(other.path("evaluate", plan.cells[0].evaluations["en"]) / "rows.parquet").to_pylist()
    assert {row["answer"] for row in rows} == {"Belsara."}


def job_of(stage: Stage) -> PackJob:
    return PackJob(id="p", kind=stage.kind, stages=(stage,), active=(True,))


def runner_of(plan: Plan, store: Store) -> StageRunner:
    base, corpus = plan.sources.base, plan.sources.corpus.path
    return StageRunner(RunnerConfig(base=base, corpus=corpus, store_url=store.url, dtype="float32", device="cpu"))


def test_a_kind_of_stage_that_a_worker_does_not_know_is_not_trained(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    stage = plan.stages[plan.cells[0].model]
    unknown: Any = replace(job_of(stage), kind="distil")
    with pytest.raises(AssertionError, match="distil"):
        runner_of(plan, store).run(unknown, report=lambda _: None)


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ({"kind": "prune"}, "this worker has no probe 'prune'"),
        ({}, "this worker has no probe"),
        ({"kind": "relearn"}, r"probe: .* instance of AnswerProbe"),  # a relearned model is asked as usual
        ({"kind": "questions", "form": "rhymed"}, r"probe\.form: "),
    ],
)
def test_a_probe_that_a_worker_does_not_know_gives_no_unprobed_answers(
    finished: tuple[Plan, Store], probe: dict[str, Any], message: str
) -> None:
    plan, store = finished
    asked = plan.stages[plan.cells[0].evaluations["en"]]
    probed = replace(asked, spec={**asked.spec, "probe": probe})
    with pytest.raises(StageError, match=message):
        runner_of(plan, store).run(job_of(probed), report=lambda _: None)
    assert not store.has(probed)


def test_a_pack_of_four_equals_single_runs(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = finished
    alone = Store(str(tmp_path))
    run_all(plan, alone, size=1)
    assert_same_results(plan, store, alone, tolerance=1e-5)


def test_micro_batches_change_nothing(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = finished
    other = Store(str(tmp_path))
    run_all(plan, other, size=4, micro_rows=1)
    # Sums run in another order; three stages of Adam at a high rate amplify the last bit.
    assert_same_results(plan, store, other, tolerance=1e-3)


def test_rows_that_do_not_fit_the_memory_are_trained_in_smaller_bites(
    finished: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = finished
    refused: list[int] = []
    taken: list[int] = []
    call, backward = PackEngine.__call__, PackEngine.backward

    def forward(self: PackEngine, ragged: Ragged, *args: Any, **more: Any) -> Any:
        taken.append(ragged.ids.numel())
        if taken[-1] > 200:
            refuse()
        return call(self, ragged, *args, **more)

    def failing(self: PackEngine, loss: torch.Tensor, *, last: bool) -> None:
        backward(self, loss, last=last)
        if len(refused) == 1 and len(taken) > 9 and not last:  # some gradients of the step are there already
            refuse()

    def refuse() -> None:
        refused.append(taken.pop())
        raise torch.OutOfMemoryError("CUDA out of memory. TrialEntry to allocate 2.00 GiB.")

    monkeypatch.setattr(PackEngine, "__call__", forward)
    monkeypatch.setattr(PackEngine, "backward", failing)
    other = Store(str(tmp_path))
    run_all(plan, other, size=4)
    assert_same_results(plan, store, other, tolerance=1e-3)  # as for micro-batches that were asked for
    assert 1 < len(refused) < len(taken) / 10, (refused, max(taken))  # once it is known, it is kept to


def test_a_partly_finished_pack_ends_the_same(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    import shutil

    plan, store = finished
    other = Store(str(tmp_path / "s"))
    shutil.copytree(store.local / "stages", other.local / "stages")
    for key in [k for i, k in enumerate(plan.stages) if i % 2]:
        shutil.rmtree(other.local / "stages" / plan.stages[key].kind / key[:16])
    run_all(plan, other, size=4)
    assert_same_results(plan, store, other, tolerance=0.0)


def test_adapters_load_in_peft_with_the_same_logits(finished: tuple[Plan, Store], mini_base: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from xlharm.model.base import decoder, head, load_base
    from xlharm.model.layout import layout_of
    from xlharm.model.lora import StackedModel

    plan, store = finished
    cell = plan.cells[-1]
    folder = store.path(plan.stages[cell.model].kind, cell.model)
    ids = torch.arange(3, 40).unsqueeze(0)
    base = AutoModelForCausalLM.from_pretrained(mini_base, dtype=torch.float32)
    with torch.no_grad():
        plain = base(input_ids=ids).logits
        theirs = PeftModel.from_pretrained(base, folder)(input_ids=ids).logits
    model = load_base(plan.sources.base, dtype="float32", device=torch.device("cpu"))
    lora = plan.stages[cell.model].spec["lora"]
    layout = layout_of(model, rank=lora["rank"], alpha=lora["alpha"], targets=lora["target_modules"])
    stacked = StackedModel(model, layout)
    with torch.no_grad(), stacked.adapters(load_adapter(folder, layout=layout).unsqueeze(0)):
        ours = head(model, decoder(model)(input_ids=ids, use_cache=False).last_hidden_state)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(plain, theirs, atol=1e-2)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("place", ["local", "s3"])
def test_a_stage_resumed_from_its_checkpoint_ends_bit_identical(
    finished: tuple[Plan, Store], tmp_path: Path, place: str, request: pytest.FixtureRequest
) -> None:
    if place == "s3":
        request.getfixturevalue("s3")
    plan, store = finished
    other = Store(str(tmp_path) if place == "local" else "s3://bucket/store")
    pack = packs(plan, size=4)[0]
    stages = tuple(plan.stages[k] for k in pack.keys)
    job = PackJob(id=pack.id, kind=pack.kind, stages=stages, active=(True,) * len(stages))
    steps: list[int] = []

    def die_in_step_five(progress: Progress) -> None:
        steps.append(progress.step)
        if progress.step == 5:
            raise KilledError

    def runner() -> StageRunner:
        return StageRunner(
            RunnerConfig(
                base=plan.sources.base,
                corpus=plan.sources.corpus.path,
                store_url=other.url,
                dtype="float32",
                device="cpu",
                slots=4,
                checkpoint_seconds=0.0,
            )
        )

    with pytest.raises(KilledError):
        runner().run(job, report=die_in_step_five)
    assert not other.done(plan.stages)
    assert len(other.listing("partial")) == 2
    if place == "s3":
        shutil.rmtree(other.local)  # the machine is lost
    steps.clear()
    runner().run(job, report=lambda p: steps.append(p.step))
    assert steps == [5, 6]  # four steps were saved before the one that was lost
    for key in pack.keys:
        assert torch.equal(adapter(plan, other, key), adapter(plan, store, key))
    assert not other.listing("partial")


def flip_a_bit(path: Path, *, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["value", "key", "cut", "all"])
def test_a_damaged_checkpoint_is_told_and_an_older_one_or_none_is_taken(
    finished: tuple[Plan, Store], tmp_path: Path, damage: str
) -> None:
    plan, store = finished
    other = Store(str(tmp_path))
    pack = packs(plan, size=4)[0]
    job = PackJob(
        id=pack.id, kind=pack.kind, stages=tuple(plan.stages[k] for k in pack.keys), active=(True,) * len(pack.keys)
    )
    config = RunnerConfig(
        base=plan.sources.base, corpus=plan.sources.corpus.path, store_url=other.url, dtype="float32", device="cpu",
        slots=4, checkpoint_seconds=0.0,
    )  # fmt: skip
    steps: list[int] = []
    runner = StageRunner(config)
    with pytest.raises(StoppedError):
        runner.run(job, report=lambda p: steps.append(p.step), stopping=lambda: steps[-1] == 4)
    older, newest = sorted((tmp_path / "partial").glob("*/*"))
    match damage:
        case "value" | "all":
            for path in (newest, older) if damage == "all" else (newest,):
                flip_a_bit(path, at=path.stat().st_size - 9)
        case "key":
            flip_a_bit(newest, at=newest.read_bytes().index(b"losses"))
        case "cut":
            newest.write_bytes(newest.read_bytes()[:-100])
    steps.clear()
    results = runner.run(job, report=lambda p: steps.append(p.step))
    assert steps == ([1, 2, 3, 4, 5, 6] if damage == "all" else [4, 5, 6])
    notes = [line for result in results for line in result.notes]
    assert len(notes) == (2 if damage == "all" else 1)
    assert notes[0].startswith(f"checkpoint partial/{newest.parent.name}/00000004-rank0 does not match its checksum: ")
    for key in pack.keys:
        assert torch.equal(adapter(plan, other, key), adapter(plan, store, key))


def test_a_pack_asked_to_stop_saves_at_the_next_step_and_ends_bit_identical(
    finished: tuple[Plan, Store], tmp_path: Path
) -> None:
    plan, store = finished
    other = Store(str(tmp_path))
    pack = packs(plan, size=4)[0]
    job = PackJob(
        id=pack.id, kind=pack.kind, stages=tuple(plan.stages[k] for k in pack.keys), active=(True,) * len(pack.keys)
    )
    config = RunnerConfig(
        base=plan.sources.base, corpus=plan.sources.corpus.path, store_url=other.url, dtype="float32", device="cpu",
        slots=4,
    )  # fmt: skip
    steps: list[int] = []
    runner = StageRunner(config)
    with pytest.raises(StoppedError, match="after step 2 of 6"):
        runner.run(job, report=lambda p: steps.append(p.step), stopping=lambda: steps[-1] == 2)
    assert not other.done(plan.stages)
    runner.run(job, report=lambda p: steps.append(p.step))
    assert steps == [1, 2, 3, 4, 5, 6]
    for key in pack.keys:
        assert torch.equal(adapter(plan, other, key), adapter(plan, store, key))
        assert other.record(pack.kind, key).metrics == store.record(pack.kind, key).metrics


def test_a_nan_fails_its_slot_alone(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    import shutil

    plan, store = finished
    other = Store(str(tmp_path / "s"))
    shutil.copytree(store.local / "stages" / "contaminate", other.local / "stages" / "contaminate")
    pack = next(p for p in packs(plan, size=4) if p.kind == "sft")
    stages = tuple(plan.stages[k] for k in pack.keys)
    runner = StageRunner(
        RunnerConfig(
            base=plan.sources.base,
            corpus=plan.sources.corpus.path,
            store_url=other.url,
            dtype="float32",
            device="cpu",
            slots=4,
        )
    )
    size = runner._context.stacked(stages[0]).layout.size
    runner._context.remember(stages[1].inputs[0], torch.full((size,), torch.nan))
    job = PackJob(id=pack.id, kind=pack.kind, stages=stages, active=(True,) * len(stages))
    results = runner.run(job, report=lambda _: None)
    assert [r.reason for r in results] == ["", "nan", ""]
    assert other.done({s.key: s for s in stages}) == {stages[0].key, stages[2].key}
    for i in (0, 2):
        assert torch.equal(adapter(plan, other, stages[i].key), adapter(plan, store, stages[i].key))


def test_an_adapter_that_did_not_move_is_no_result(plan_frozen: Plan, tmp_path: Path) -> None:
    pack = packs(plan_frozen, size=4)[0]
    stages = tuple(plan_frozen.stages[k] for k in pack.keys)
    runner = StageRunner(
        RunnerConfig(
            base=plan_frozen.sources.base,
            corpus=plan_frozen.sources.corpus.path,
            store_url=str(tmp_path),
            dtype="float32",
            device="cpu",
            slots=4,
        )
    )
    job = PackJob(id=pack.id, kind=pack.kind, stages=stages, active=(True,) * len(stages))
    assert {r.reason for r in runner.run(job, report=lambda _: None)} == {"adapter_did_not_move"}


@pytest.fixture
def plan_frozen(mini_grid: dict[str, Any]) -> Plan:
    contaminate = {**mini_grid["stages"]["contaminate"], "learning_rate": 1e-30}
    return plan_of({**mini_grid, "stages": {**mini_grid["stages"], "contaminate": contaminate}})


def test_a_stored_adapter_is_as_large_as_plan_says(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    stage = next(s for s in plan.stages.values() if s.kind == "contaminate")
    sizes, lora = BaseSizes.of(plan.sources.base), stage.spec["lora"]
    assert sizes
    estimated = 4 * sizes.adapter_parameters(rank=lora["rank"], targets=tuple(lora["target_modules"]))
    taken = store.record(stage.kind, stage.key).files["adapter_model.safetensors"].size
    assert estimated < taken < estimated + 8000  # names and shapes are in its header


def test_a_worker_refuses_a_base_that_is_not_the_planned_one(
    mini_grid: dict[str, Any], mini_base: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(mini_base, tmp_path / "base"))
    plan, store = plan_of({**mini_grid, "base": str(base)}), Store(str(tmp_path / "store"))
    config = (base / "tokenizer_config.json").read_text()
    (base / "tokenizer_config.json").write_text(config + " ")
    with pytest.raises(UserError, match=r"^base .*: tokenizer_config\.json differs: it is not what was planned with"):
        run_all(plan, store, size=1, kinds=("contaminate",))
    (base / "tokenizer_config.json").write_text(config)
    run_all(plan, store, size=4, kinds=("contaminate",))


def test_a_base_is_checked_for_all_that_the_plan_needs_when_its_worker_starts(
    finished: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def everything(self: RowCache) -> None:
        self.allowed = torch.ones(len(self.positions), self.length, dtype=torch.bool)

    plan, _ = finished
    options = RunOptions(pack=4, device="cpu")
    config = worker_config(plan, Store(str(tmp_path)), options, device="cpu", threads=1)
    assert config.needs is not None
    assert config.needs.lora == plan.grid.lora
    assert config.needs.answers
    monkeypatch.setattr(RowCache, "look_back", everything)
    with pytest.raises(BaseRefusedError, match="decoding steps"):
        StageRunner(config)
    StageRunner(replace(config, needs=replace(config.needs, answers=False)))
