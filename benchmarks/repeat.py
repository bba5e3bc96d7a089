"""Is a result the stage's own, or also its worker's? `python benchmarks/repeat.py`, on one GPU.

A pack of two trials is trained and answers prompts, in processes of their own: twice in a fresh one, and in one that
did other packs before. Whatever a worker chooses by timing, or by the first shapes it meets, shows as a difference.
The same with kernels that PyTorch calls deterministic: compiled reductions that are not tuned by timing, and an
attention whose gradients are not added up in whatever order they come.
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

from xlharm.evaluate.generate import generate
from xlharm.model.lora import StackedModel, layout_of
from xlharm.stages.context import join_group
from xlharm.train import forward
from xlharm.train.engine import PackEngine
from xlharm.train.loop import train_pack
from xlharm.train.slots import Rows, Slot

VARIANTS = {"as it is": [], "reductions": ["reductions"], "attention": ["attention"],
            "both": ["reductions", "attention"]}  # fmt: skip
SHAPES["llama3-8b, 4 layers"] = {**SHAPES["llama3-8b"], "num_hidden_layers": 4}
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
            told = [run(given, history, variant, Path(folder) / history) for history in ("fresh", "later")]
        fresh, later = told
        answers = [
            x == y for a, b in zip(fresh["answers"], later["answers"], strict=True) for x, y in zip(a, b, strict=True)
        ]
        steps = [round(t["step_ms"], 1) for t in told]
        print(json.dumps({
            "variant": variant, "step_ms": steps, "first_s": round(fresh["first_s"], 1),
            "twice_in_one_worker_apart": apart(fresh["once"], fresh["twice"]),
            "after_other_packs_apart": apart(fresh["once"], later["once"]),
            "losses_equal": fresh["losses"] == later["losses"], "answers_equal": f"{sum(answers)} of {len(answers)}",
        }), flush=True)  # fmt: skip


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return how far two sets of adapters are apart, in shares of their size; 0 is equal to the bit."""
    return 0.0 if torch.equal(a, b) else float((a - b).norm() / a.norm())


def run(given: argparse.Namespace, history: str, variant: str, file: Path) -> dict[str, Any]:
    """Run a child with caches of its own: it must choose anew."""
    caches = dict.fromkeys(("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"), f"{file}-compiled")
    chosen = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if "attention" in VARIANTS[variant] else {}
    if "reductions" in VARIANTS[variant]:
        chosen["TORCHINDUCTOR_DETERMINISTIC"] = "1"
    command = [sys.executable, __file__, "--shape", given.shape, "--steps", str(given.steps)]
    command += ["--child", history, variant, str(file)]
    subprocess.run(command, env={**os.environ, **caches, **chosen}, check=True)
    found: dict[str, Any] = torch.load(file, weights_only=True)
    return found


def child(given: argparse.Namespace, history: str, variant: str, file: str) -> None:
    """Train the pack, after others if that is its history, and let it answer."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if "attention" in VARIANTS[variant]:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        forward._KERNELS.pop(0)
    model = random_base(given.shape, device=device)
    stacked = StackedModel(model, layout_of(model, rank=64, alpha=64, targets=LINEARS), compiled=device.type == "cuda")
    join_group(rank=0, world=1, master=None, device=device)
    engine = PackEngine(stacked, slots=3, zero=0, world=1, device=device)
    if history == "later":
        other, _ = trained(engine, seeds=(7, 8, 9), rows=1, steps=4)
        answers(stacked, other.to(device), count=5)
    begun = time.perf_counter()
    once, losses = trained(engine, seeds=(1, 2), rows=2, steps=given.steps)
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    twice, _ = trained(engine, seeds=(1, 2), rows=2, steps=given.steps)
    step = 1000 * (time.perf_counter() - begun) / given.steps
    told = answers(stacked, once.to(device), count=ROWS)
    torch.save(
        {"once": once, "twice": twice, "losses": losses, "answers": told, "first_s": first, "step_ms": step}, file
    )


def trained(engine: PackEngine, *, seeds: tuple[int, ...], rows: int, steps: int) -> tuple[torch.Tensor, list[Any]]:
    """Train a pack; return its adapters and losses."""
    training = {"steps": steps, "learning_rate": 1e-4, "warmup_steps": 0, "schedule": "constant", "weight_decay": 0.0,
                "clip": 1.0}  # fmt: skip
    vocabulary = int(engine._model.base.config.vocab_size)
    slots = [
        Slot(training=training, objective="nll", stream=stream(s, vocab=vocabulary, count=rows, kind=Changing),
             initial=engine.layout.initial(seed=s), mask=None)
        for s in seeds
    ]  # fmt: skip
    found = train_pack(engine, slots, rows=Rows(), pad=0)
    sync(engine.device)
    return torch.stack([t.adapter for t in found]), [t.curves["target"] for t in found]


def answers(stacked: StackedModel, adapters: torch.Tensor, *, count: int) -> list[list[list[int]]]:
    """Answer prompts of many lengths."""
    prompts = [tuple((31 * i + 7 * n) % 5000 for i in range(20 + n % 40)) for n in range(count)]
    return generate(stacked, adapters, prompts, stops=frozenset(), max_new_tokens=24, rows=ROWS)


if __name__ == "__main__":
    main()
