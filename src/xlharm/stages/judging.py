"""Judge: verdicts on the answers of finished evaluations. What cannot be judged is missing with its reason."""

import time
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xlharm.errors import StageError, StoppedError
from xlharm.judges import JUDGES
from xlharm.judges.base import Case, Judge, JudgeResources, ReadyJudge, Verdict
from xlharm.plan.digest import digest
from xlharm.plan.stage import Stage
from xlharm.stages.context import Context
from xlharm.stages.job import PackJob, Progress, Report, StageResult

SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("measure", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("matched", pa.bool_()),
        ("hit", pa.bool_()),
        ("rationale", pa.string()),
        ("problem", pa.string()),
    ]
)


def judge(context: Context, job: PackJob, *, report: Report) -> list[StageResult]:
    """Judge the answers of a pack's evaluations, one after another.

    Raises:
        StoppedError: the pack was asked to stop; what is judged is stored.
    """
    results: list[StageResult] = []
    for i, (stage, on) in enumerate(zip(job.stages, job.active, strict=True)):
        if on:
            if context.stopping():
                raise StoppedError(f"stopped after {len(results)} of {sum(job.active)} judgements")
            results.append(_one(context, job, stage))
        report(Progress(pack=job.id, step=i + 1, steps=len(job.stages), tokens=0))
    return results


def _one(context: Context, job: PackJob, stage: Stage) -> StageResult:
    begun = time.perf_counter()
    settings, ready = _judge(context, stage)
    answers = pq.read_table(context.store.path("evaluate", stage.inputs[0]) / "rows.parquet").to_pylist()
    rows = [row for row in answers if row["measure"] in settings.measures]
    cases = [
        Case(
            measure=row["measure"], language=str(stage.spec["query"]), question=row["question"],
            answer=row["answer"], expected=tuple(row["expected"]),
        )
        for row in rows
    ]  # fmt: skip
    verdicts = ready.judge(cases)
    table = pa.Table.from_pylist([_row(r, v) for r, v in zip(rows, verdicts, strict=True)], schema=SCHEMA)
    seconds = time.perf_counter() - begun
    if context.config.rank == 0:
        with context.store.scratch() as folder:
            pq.write_table(table, folder / "verdicts.parquet")
            context.store.commit(
                stage,
                folder,
                metrics=counted(rows, verdicts),
                timings={"pack": seconds, "share": seconds},
                provenance=context.provenance(pack=len(job.stages), trained=False),
            )
    return StageResult(key=stage.key, ok=True, seconds=seconds)


def _row(row: dict[str, Any], verdict: Verdict) -> dict[str, Any]:
    kept = {name: row[name] for name in ("item", "measure", "question", "answer")}
    columns = {"hit": verdict.hit, "rationale": verdict.rationale, "problem": verdict.problem}
    return {**kept, "matched": row["hit"], **columns}


def counted(rows: list[dict[str, Any]], verdicts: list[Verdict]) -> dict[str, Any]:
    """Count verdicts by measure, and what is missing by reason; rates are over the verdicts that are there.

    ``matched`` counts the hits of matching among the same answers: what a judge leaves out is no random part.
    """
    counts: dict[str, Any] = {}
    for measure in sorted({row["measure"] for row in rows}):
        pairs = zip(rows, verdicts, strict=True)
        hits = [(v.hit, r["hit"]) for r, v in pairs if r["measure"] == measure and v.hit is not None]
        counts[measure] = {"hits": sum(v for v, _ in hits), "n": len(hits), "matched": sum(m for _, m in hits)}
    return {**counts, "missing": dict(Counter(v.problem for v in verdicts if v.hit is None))}


def _judge(context: Context, stage: Stage) -> tuple[Judge, ReadyJudge]:
    """Return a stage's judge; it is started once a worker.

    Raises:
        StageError: the grid has no such judge, or this worker does not know its class.
    """
    name = digest(stage.spec["judge"])
    if name not in context.judges:
        config = context.config.judges.get(name)
        if config is None:
            raise StageError("the grid that runs has no such judge")
        settings = JUDGES.restore(config.settings)
        cache = context.store.local / "cache" / "chat"  # of a remote store: this machine's cache of it
        worker = JudgeResources(device=context.device, cache=cache, source=config.source)
        context.judges[name] = settings, settings.start(worker)
    return context.judges[name]
