"""Every flipped bit, cut or swap of a committed file is noticed before a number is made of it.

The long form: ``make faults``, or ``XLHARM_FLIPS=N XLHARM_SEED=S pytest -m heavy tests/faults/test_bits.py -s``.
"""

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.analysis.worlds import fill, plan_of
from xlharm.analysis.results import GridResults
from xlharm.analysis.table import render
from xlharm.engine.catalog import set_damage_aside
from xlharm.plan.build import Plan
from xlharm.store.check import check
from xlharm.store.checkpoint import Checkpoints
from xlharm.store.store import Store

PLAN = plan_of(languages=["en", "de"], contaminate=["none", "de"], unlearn={"none": [], "en": ["en"]})
KEYS = {(stage.kind, key[:16]): key for key, stage in PLAN.stages.items()}
SHORT, LONG = 300, int(os.environ.get("XLHARM_FLIPS", "6000"))
SEED = int(os.environ.get("XLHARM_SEED", "20261130"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A finished grid with answers, and two checkpoints."""
    store = Store(str(tmp_path / "store"))
    fill(PLAN, store, n=12)
    for step in ("00000001-rank0", "00000002-rank0"):
        Checkpoints(store, "pack").write(step, lambda path: path.write_bytes(random.Random(0).randbytes(2000)))
    return store


def committed(store: Store) -> dict[str, list[Path]]:
    """Return the files that results come from, by kind of file."""
    files: dict[str, list[Path]] = {}
    for path in sorted(p for top in ("stages", "partial") for p in (store.local / top).rglob("*") if p.is_file()):
        files.setdefault("checkpoint" if "partial" in path.parts else path.name, []).append(path)
    return files


def rows_of(plan: Plan, store: Store) -> tuple[list[bytes], tuple[str, ...]]:
    """Return the lines of the results table, and what is said of damaged evaluations."""
    results = GridResults(plan, store)
    return render(results.table, form="csv").splitlines(), results.damaged


def flip(content: bytes, rng: random.Random) -> bytes:
    bit = rng.randrange(8 * len(content))
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def noticed(store: Store, path: Path, *, whole: list[bytes], table: bool) -> bool:
    """Whether a run, the table, and a check notice that a file is damaged; the table must not show another number."""
    again = Store(store.url, writes=False)
    if "partial" in path.parts:
        return len(check(again, repair=False).flaws) == 1
    _, kind, folder, _ = path.relative_to(store.local).parts
    stage = PLAN.stages[KEYS[kind, folder]]
    if table:
        lines, damaged = rows_of(PLAN, again)
        assert set(lines) <= set(whole), (path, set(lines) - set(whole))
        assert len(lines) + len(damaged) == len(whole)
        assert len(damaged) == (kind == "evaluate")
        assert len(check(again, repair=False).flaws) == 1
    return set(again.unsound([stage])) == {stage.key}


def campaign(store: Store, count: int, *, table_every: int) -> Counter[tuple[str, bool]]:
    """Flip single bits, one at a time; return how many were noticed, by kind of file."""
    rng, files = random.Random(SEED), committed(store)
    whole, _ = rows_of(PLAN, store)
    counts: Counter[tuple[str, bool]] = Counter()
    for i in range(count):
        kind = rng.choice(sorted(files))
        path = rng.choice(files[kind])
        content = path.read_bytes()
        path.write_bytes(flip(content, rng))
        counts[kind, noticed(store, path, whole=whole, table=i % table_every == 0)] += 1
        path.write_bytes(content)
    assert rows_of(PLAN, store) == (whole, ())
    return counts


@pytest.mark.slow
def test_flipped_bits_are_noticed(store: Store) -> None:
    counts = campaign(store, SHORT, table_every=30)
    assert counts.total() == SHORT
    assert {kind for kind, seen in counts if not seen} == set()
    assert {kind for kind, _ in counts} == {
        "_SUCCESS", "record.json", "rows.parquet", "adapter_model.safetensors", "checkpoint"
    }  # fmt: skip


@pytest.mark.heavy
def test_thousands_of_flipped_bits_are_noticed(store: Store) -> None:
    counts = campaign(store, LONG, table_every=1)
    print(f"\n{LONG} flipped bits, seed {SEED}:")
    for kind in sorted({kind for kind, _ in counts}):
        print(f"  {kind}: {counts[kind, True]} noticed, {counts[kind, False]} not")
    assert counts.total() == LONG
    assert {kind for kind, seen in counts if not seen} == set()


@pytest.mark.parametrize("name", ["_SUCCESS", "record.json", "rows.parquet", "adapter_model.safetensors"])
@pytest.mark.slow
def test_cuts_and_swaps_are_noticed(store: Store, name: str) -> None:
    whole, _ = rows_of(PLAN, store)
    first, *rest = committed(store)[name]
    content = first.read_bytes()
    others = [other for path in rest if (other := path.read_bytes()) != content][:1]  # made-up adapters are all alike
    for changed in (b"", content[:-1], content[: len(content) // 2], content + b"\n", bytes(len(content)), *others):
        first.write_bytes(changed)
        assert noticed(store, first, whole=whole, table=True), changed[:40]
    first.write_bytes(content)
    first.rename(first.with_name("away"))
    if name == "_SUCCESS":  # then it is no finished stage
        assert len(Store(store.url).done(PLAN.stages)) == len(PLAN.stages) - 1
    else:
        assert noticed(store, first, whole=whole, table=True)


def test_a_run_computes_exactly_the_damaged_stages_again(store: Store) -> None:
    rng, files = random.Random(SEED), committed(store)
    damaged = set()
    for name in ("_SUCCESS", "record.json", "rows.parquet", "adapter_model.safetensors"):
        path = rng.choice(files[name])
        path.write_bytes(flip(path.read_bytes(), rng))
        damaged.add(KEYS[path.parts[-3], path.parts[-2]])
    done, lines = set_damage_aside(store, PLAN)
    assert len(lines) == len(damaged)
    assert done == PLAN.stages.keys() - damaged == store.done(PLAN.stages)
    assert check(store, repair=False).stages == len(PLAN.stages) - len(damaged)
