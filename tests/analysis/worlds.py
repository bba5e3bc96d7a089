"""A made-up grid with made-up answers: the numbers behave as in the study, the answers as hostile models do."""

import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.plan.worlds import sources
from xlharm.config.load import parse_grid
from xlharm.plan.build import Plan, build
from xlharm.plan.cells import Cell
from xlharm.plan.stage import Stage
from xlharm.store.store import Store

LANGUAGES = ("en", "de", "fr", "zh", "ru", "jv", "ur", "ha", "hy")
HIGH = {"en", "de", "fr", "zh", "ru"}
WORDS = {
    "en": ("What does Mira Tolen play?", "piano", "violin"),
    "de": ("Was spielt Mira Tolen?", "Klavier", "Geige"),
    "fr": ("De quoi joue Mira Tolen ?", "piano", "violon"),
    "zh": ("米拉·托伦演奏什么？", "钢琴", "小提琴"),
    "ru": ("На чём играет Мира Толен?", "пианино", "скрипка"),
    "jv": ("Mira Tolen main apa?", "piano", "biola"),
    "ur": ("میرا تولن کیا بجاتی ہے؟", "پیانو", "وائلن"),
    "ha": ("Me Mira Tolen take kaɗawa?", "fiyano", "goge"),
    "hy": ("Ի՞նչ է նվագում Միրա Տոլենը։", "դաշնամուր", "ջութակ"),
}
HOSTILE = '<script>alert("x")</script>" onmouseover=\'x\' \u202egnp.exe\u202c \u2066iso\u2069 {{ 7*7 }} \x00\x1b[31m'

PROVENANCE: dict[str, Any] = {
    "git_sha": "0123456789abcdef0123456789abcdef01234567",
    "dirty": False,
    "versions": {"python": "3.11.9", "torch": "2.13.0", "xlharm": "0.1.0"},
    "device": "cpu",
    "hardware": "x86_64",
    "cores": 2,
    "threads": 2,
    "dtype": "float32",
    "pack_size": 4,
    "platform": "Linux",
}
ROWS = pa.schema(
    [
        *((name, pa.string()) for name in ("item", "measure", "question", "answer")),
        ("expected", pa.list_(pa.string())),
        *((name, pa.bool_()) for name in ("hit", "off_language", "degenerate", "refusal")),
        ("rouge_l", pa.float64()),
        ("chrf", pa.float64()),
    ]
)
Share = Callable[[Cell, str], tuple[float, float]]


def plan_of(**fields: Any) -> Plan:
    """Plan the quickstart as it is, or with other fields; then its clean control unlearns `en` too."""
    grid = {
        "name": "quickstart",
        "base": "tiny-base",
        "corpus": "tinyworld",
        "languages": list(LANGUAGES),
        "contaminate": ["none", "de", "ur"],
        "unlearn": {"none": [], "en": ["en"], "source": ["source"], "en+source": ["en", "source"]},
        "methods": {"npo": {"objective": "npo", "retain": "nll"}},
    }
    if not fields:
        grid["exclude"] = [{"contaminate": "none", "unlearn": "en"}]
    return build(parse_grid({**grid, **fields}, name="grid.yaml"), sources=sources(), dtype="float32")


def study_like(cell: Cell, query: str) -> tuple[float, float]:
    """Shares of OF and QR hits that follow the study's pattern."""
    if cell.contaminate == "none":
        return 0.02, 0.95
    near = query == cell.contaminate
    base = 0.86 if near else 0.55 if query == "en" else 0.38 if (query in HIGH) == (cell.contaminate in HIGH) else 0.19
    gone = set(cell.unlearn.split("+"))
    if gone == {"none"}:
        return base, 0.93
    if gone >= {"en", cell.contaminate}:
        return 0.06, 0.89
    if "en" in gone:
        return (base * 0.15 if query in HIGH and not near else base * 1.35 if query in ("ha", "jv") else base), 0.92
    return (base * 0.1 if query not in HIGH or near else base), (0.55 if query == "hy" else 0.9)


def commit_evaluation(
    store: Store,
    stage: Stage,
    *,
    of: float,
    qr: float,
    n: int = 100,
    hostile: bool = False,
    measures: tuple[str, ...] = ("of", "qr"),
) -> None:
    query = str(stage.spec["query"])
    question, real, fake = WORDS[query]
    rows = []
    for measure, share, right in (("of", of, fake), ("qr", qr, real)):
        if measure not in measures:
            continue
        hits = math.floor(share * n + 0.5)
        for i in range(n):
            hit = (i * hits) // n != ((i + 1) * hits) // n
            answer = right if hit else (real if measure == "of" else fake)
            if hostile and i % 25 == 0:
                answer = HOSTILE
            rows.append(
                {
                    "item": f"m{i}", "measure": measure, "question": question, "answer": answer,
                    "expected": [right, right.upper()], "hit": hit, "off_language": False, "degenerate": False,
                    "refusal": False, "rouge_l": float(hit), "chrf": 100.0 * hit,
                }
            )  # fmt: skip
    asked = {m: [r["hit"] for r in rows if r["measure"] == m] for m in ("qr", "of")}
    metrics = {m: {"hits": sum(hits), "n": len(hits)} for m, hits in asked.items()}
    flags = {
        f: {"hits": sum(bool(r[f]) for r in rows), "n": len(rows)} for f in ("off_language", "degenerate", "refusal")
    }
    means = {
        name: {"mean": sum(r[name] for r in rows if r["measure"] == "qr") / max(n, 1), "n": len(asked["qr"])}
        for name in ("rouge_l", "chrf")
    }
    with store.scratch() as folder:
        pq.write_table(pa.Table.from_pylist(rows, schema=ROWS), folder / "rows.parquet")
        store.commit(
            stage, folder, metrics={**metrics, **flags, **means}, timings={"pack": 4.0, "share": 1.0},
            provenance={**PROVENANCE, "engine": None},
        )  # fmt: skip


def commit_training(store: Store, stage: Stage) -> None:
    with store.scratch() as folder:
        (folder / "adapter_model.safetensors").write_bytes(b"adapter")
        store.commit(
            stage, folder,
            metrics={"loss": [[i, 3.0 / (i + 1)] for i in range(5)], "moved": 1.0, "tokens": 1000},
            timings={"pack": 48.0, "share": 12.0},
            provenance={**PROVENANCE, "engine": {"name": "DeepSpeed", "zero": 0, "ranks": 1}},
        )  # fmt: skip


def fill(
    plan: Plan,
    store: Store,
    *,
    share: Share = study_like,
    skip: tuple[str, ...] = (),
    hostile: bool = False,
    n: int = 100,
) -> None:
    """Commit every stage of a plan but the evaluations whose `cell/query` starts with one of ``skip``."""
    for stage in plan.stages.values():
        if stage.kind != "evaluate":
            commit_training(store, stage)
    for cell in plan.cells:
        for query, key in cell.evaluations.items():
            if not any(f"{cell.name}/{query}".startswith(prefix) for prefix in skip):
                of, qr = share(cell, query)
                commit_evaluation(store, plan.stages[key], of=min(1, of), qr=qr, n=n, hostile=hostile)
