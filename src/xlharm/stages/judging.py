"""Judge: verdicts on the answers of finished evaluations. What cannot be judged is missing with its reason."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xlharm.config.judges import Chat, Local
from xlharm.errors import StageError, StoppedError
from xlharm.evaluate.judges import Case, ChatJudge, Judge, Verdict
from xlharm.evaluate.model_judges import LocalJudge, NliJudge
from xlharm.plan.digest import digest
from xlharm.plan.judging import JudgeConfig
from xlharm.plan.stage import Stage
from xlharm.remote.chat import ChatClient
from xlharm.remote.endpoint import Endpoint
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
    measures = set(stage.spec["judge"]["measures"])
    answers = pq.read_table(context.store.path("evaluate", stage.inputs[0]) / "rows.parquet").to_pylist()
    rows = [row for row in answers if row["measure"] in measures]
    cases = [
        Case(
            measure=row["measure"], language=str(stage.spec["query"]), question=row["question"],
            answer=row["answer"], expected=tuple(row["expected"]),
        )
        for row in rows
    ]  # fmt: skip
    verdicts = _judge(context, stage).judge(cases)
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
    told = {"hit": verdict.hit, "rationale": verdict.rationale, "problem": verdict.problem}
    return {**kept, "matched": row["hit"], **told}


def counted(rows: list[dict[str, Any]], verdicts: list[Verdict]) -> dict[str, Any]:
    """Count verdicts by measure, and what is missing by reason; rates are over the verdicts that are there.

    ``matched`` counts the hits of matching among the same answers: what a judge leaves out is no random part.
    """
    found: dict[str, Any] = {}
    for measure in sorted({row["measure"] for row in rows}):
        pairs = zip(rows, verdicts, strict=True)
        told = [(v.hit, r["hit"]) for r, v in pairs if r["measure"] == measure and v.hit is not None]
        found[measure] = {"hits": sum(v for v, _ in told), "n": len(told), "matched": sum(m for _, m in told)}
    return {**found, "missing": dict(Counter(v.problem for v in verdicts if v.hit is None))}


def _judge(context: Context, stage: Stage) -> Judge:
    name = digest(stage.spec["judge"])
    if name not in context.judges:
        config = context.config.judges.get(name)
        if config is None:
            raise StageError("the grid that runs has no such judge")
        context.judges[name] = make_judge(config, context)
    return context.judges[name]


def make_judge(config: JudgeConfig, context: Context) -> Judge:
    """Build a judge on a worker.

    Raises:
        UserError: its model cannot be loaded, or the variable with its key is not set.
    """
    settings = config.settings
    if isinstance(settings, Chat):
        fields = settings.model_dump(exclude={"kind", "measures", "translate"})
        return ChatJudge(ChatClient(Endpoint(**fields), cache=_cache(context)), translate=settings.translate)
    assert config.source is not None
    where, revision = config.source.location, config.source.revision
    if isinstance(settings, Local):
        return LocalJudge(where, revision=revision, device=context.device)
    return NliJudge(where, revision=revision, threshold=settings.threshold, device=context.device)


def _cache(context: Context) -> Path:
    """Keep paid answers beside the results (of a remote store: in this machine's cache of it)."""
    return context.store.local / "cache" / "chat"
