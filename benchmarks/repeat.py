"""Tests whether a stage's numbers depend on what its worker did before: `python benchmarks/repeat.py`, on one GPU.

A pack of two trials is trained and answers prompts: twice in a new process, and in a process that computed other packs
before. Choices by timing, or by the first shapes of a process, show as a difference. The variants leave out the two
measures against it: compiling with examples of fixed sizes (`unrehearsed`), and no autotuning by timing (`timed`).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from shapes import LINEARS, SHAPES, random_base, sync
from training import Changing, stream

from xlharm.config.training import Training
from xlharm.evaluate.generate import generate
from xlharm.model.layout import layout_of
from xlharm.model.lora import COMPILING, StackedModel
from xlharm.stages.context import join_group
from xlharm.train.engine import PackEngine
from xlharm.train.loop import train_pack
from xlharm.train.slots import BatchShare, Slot
from xlharm.train.terms import FINE_TUNING

VARIANTS = ("as it is", "timed", "unrehearsed", "neither")
ROWS = 64


def main() -> None:
    """Run every variant with every history and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", choices=[*VARIANTS, []], default=[])
    parser.add_argument("--shape", default="llama3-8b, 4 layers", choices=sorted(SHAPES))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--child", nargs=3, metavar=("HISTORY", "VARIANT", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given, *given.child)
        return
    for variant in given.variants or VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            results = [run(given, history, variant, Path(folder) / history) for history in ("fresh", "later")]
        fresh, later = results
        answers = [
            x == y for a, b in zip(fresh["answers"], later["answers"], strict=True) for x, y in zip(a, b, strict=True)
        ]
        print(json.dumps({
            "variant": variant,
            **{n: [round(t[n], 2) for t in results] for n in ("step_ms", "first_s", "answering_s")},
            "twice_in_one_worker_apart": apart(fresh["once"], fresh["twice"]),
            "after_other_packs_apart": apart(fresh["once"], later["once"]),
            "losses_equal": equal(fresh["losses"], later["losses"]),
            "answers_equal": f"{sum(answers)} of {len(answers)}",
        }), flush=True)  # fmt: skip


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the relative distance of two sets of adapters; 0 if they are equal bit by bit."""
    return 0.0 if torch.equal(a, b) else float((a - b).norm() / a.norm())


def equal(a: list[list[float]], b: list[list[float]]) -> list[str]:
    """Return for each trial one character for each step: ``.`` if the losses are equal, ``x`` if not."""
    return ["".join(".x"[x != y] for x, y in zip(*pair, strict=True)) for pair in zip(a, b, strict=True)]


def run(given: argparse.Namespace, history: str, variant: str, file: Path) -> dict[str, Any]:
    """Run a child process with compiler caches of its own, so that it makes all choices again."""
    caches = dict.fromkeys(("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"), f"{file}-compiled")
    command = [sys.executable, __file__, "--shape", given.shape, "--steps", str(given.steps)]
    command += ["--child", history, variant, str(file)]
    subprocess.run(command, env={**os.environ, **caches}, check=True)
    result: dict[str, Any] = torch.load(file, weights_only=True)
    return result


def child(given: argparse.Namespace, history: str, variant: str, file: str) -> None:
    """Train the pack (after other packs, if ``history`` is ``later``) and answer prompts."""
    if variant in {"timed", "neither"}:
        COMPILING["deterministic"] = False
    if variant in {"unrehearsed", "neither"}:
        StackedModel.rehearse = lambda *_: None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = random_base(given.shape, device=device)
    stacked = StackedModel(model, layout_of(model, rank=64, alpha=64, targets=LINEARS), compiled=device.type == "cuda")
    join_group(rank=0, world=1, master=None, device=device)
    engine = PackEngine(stacked, slots=3, zero=0, world=1, device=device)
    if history == "later":
        other, _ = trained(engine, seeds=(7, 8, 9), rows=1, steps=4)
        answers(stacked, other.to(device), count=5)
    drawn = torch.Generator().manual_seed(0)
    adapters = 0.02 * torch.randn(2, stacked.layout.size, generator=drawn)
    begun = time.perf_counter()
    once, losses = trained(engine, seeds=(1, 2), rows=2, steps=given.steps)
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    twice, _ = trained(engine, seeds=(1, 2), rows=2, steps=given.steps)
    step = 1000 * (time.perf_counter() - begun) / given.steps
    answers(stacked, adapters.to(device), count=ROWS)
    begun = time.perf_counter()
    answered = answers(stacked, adapters.to(device), count=ROWS)
    answering = time.perf_counter() - begun
    torch.save({"once": once, "twice": twice, "losses": losses, "answers": answered, "first_s": first, "step_ms": step,
                "answering_s": answering}, file)  # fmt: skip


def trained(engine: PackEngine, *, seeds: tuple[int, ...], rows: int, steps: int) -> tuple[torch.Tensor, list[Any]]:
    """Train a pack; return its adapters and losses."""
    training = Training(steps=steps, learning_rate=1e-4, schedule="constant")
    vocabulary = int(engine._model.base.config.vocab_size)
    slots = [
        Slot(training=training, terms=FINE_TUNING, stream=stream(s, vocab=vocabulary, count=rows, kind=Changing),
             initial=engine.layout.initial(seed=s), mask=None)
        for s in seeds
    ]  # fmt: skip
    results = train_pack(engine, slots, rows=BatchShare())
    sync(engine.device)
    return torch.stack([t.adapter for t in results]), [t.curves["target"] for t in results]


def answers(stacked: StackedModel, adapters: torch.Tensor, *, count: int) -> list[list[list[int]]]:
    """Answer prompts of many lengths."""
    prompts = [tuple((31 * i + 7 * n) % 5000 for i in range(20 + n % 40)) for n in range(count)]
    return generate(stacked, adapters, prompts, stops=frozenset(), max_new_tokens=24, rows=ROWS)


if __name__ == "__main__":
    main()
