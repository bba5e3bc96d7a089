"""Computes a part of the study's grid with xlharm and with Ray Tune, Trainer and PEFT, on one machine.

    python -m benchmarks.paper_slice /tmp/slice            # Llama-3-8B shape, random weights, one GPU
    python -m benchmarks.paper_slice /tmp/slice --shape small --steps 4,4,4 --new 4     # a test on a CPU

Three contamination languages × four unlearning sets × all query languages on the shipped newsroom corpus, with its own
text lengths and a tokenizer trained on it. Batches are as small as in the study. All cells take the peer equally long,
so only some are run. With random weights, answers never end, so both sides generate the largest number of tokens.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from benchmarks.shapes import LINEARS, SHAPES, random_base
from benchmarks.timed import read_log

from xlharm.config.load import load_grid
from xlharm.corpus.finding import assets, resolve
from xlharm.engine.options import RunOptions
from xlharm.engine.ray import on_ray
from xlharm.engine.run import run_grid
from xlharm.plan.build import build
from xlharm.store.store import Store

ROOT = Path(__file__).parents[1]
CONTAMINATIONS = ("de", "ru", "ur")
FULL = {"cells": 9 * 4 * 3, "trunks": 9 * 3, "contaminate": 100, "sft": 1000, "unlearn": 100, "answers": 9 * 200}
"""Sizes of the whole grid: nine languages × four sets × three seeds; 100 items, one epoch per stage; 200 questions."""


def main() -> None:
    """Run both sides and print the time of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--shape", default="llama3-8b", choices=sorted(SHAPES))
    parser.add_argument("--steps", default="60,120,60", help="of contaminate, sft, unlearn")
    parser.add_argument("--new", type=int, default=32, help="tokens of an answer")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--pack", type=int, default=12)
    parser.add_argument("--trials", type=int, default=2, help="cells of the peer that are run")
    parser.add_argument("--only", choices=["ours", "naive", "prepare"])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(ours(given)), flush=True)
        return
    settings = prepare(given)
    if given.only == "prepare":
        return
    measured = {}
    if given.only != "naive":
        measured["ours"] = _run("benchmarks.paper_slice", *sys.argv[1:], "--child")
    if given.only != "ours":
        measured["naive"] = _run(
            "benchmarks.naive_tune", str(given.work / "settings.json"), "--trials", str(given.trials)
        )
    if len(measured) == 2:
        for line in compare(measured["ours"], measured["naive"], settings=settings):
            print(json.dumps(line), flush=True)


def prepare(given: argparse.Namespace) -> dict[str, Any]:
    """Write base model, tokenizer, grid file and the peer's settings."""
    corpus = assets() / "newsroom"
    languages = yaml.safe_load((corpus / "corpus.yaml").read_text())["languages"]
    base = given.work / "base"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not base.exists():
        begun = time.perf_counter()
        base.mkdir(parents=True)
        tokenizer(corpus, languages, size=min(16_000, SHAPES[given.shape]["vocab_size"])).save_pretrained(base)
        random_base(given.shape, device=device).save_pretrained(base)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        print(json.dumps({"what": "base written", "seconds": round(time.perf_counter() - begun, 1)}), flush=True)
    contaminate, sft, unlearn = map(int, given.steps.split(","))
    common = {"learning_rate": 1e-5, "warmup_steps": 2}
    sets = {"en": ["en"], "source": ["source"], "en+source": ["en", "source"], "all": languages}
    grid = {
        "name": "paper-slice", "base": str(base.absolute()), "corpus": "newsroom", "languages": languages,
        "contaminate": list(CONTAMINATIONS), "unlearn": sets,
        "methods": {"ga": {"objective": "ga", "forget": "articles", "steps": unlearn, "batch_size": 1, **common}},
        "seeds": [0], "lora": {"rank": given.rank, "alpha": given.rank, "target_modules": list(LINEARS)},
        "stages": {
            "contaminate": {"steps": contaminate, "batch_size": 2, "real_roles": ["fake"], **common},
            "sft": {"steps": sft, "batch_size": 1, **common},
        },
        "prompt": {"question": "Q: {question}\nA:", "answer": " {answer}"},
        "evaluate": {"max_new_tokens": given.new},
    }  # fmt: skip
    (given.work / "grid.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
    cells = [(c, [c if x == "source" else x for x in s]) for c in CONTAMINATIONS for s in sets.values()]
    settings = {
        "base": str(base.absolute()), "corpus": str(corpus), "languages": languages, "cells": cells,
        "rank": given.rank, "steps": {"contaminate": contaminate, "sft": sft, "unlearn": unlearn},
        "max_new_tokens": given.new, **grid["prompt"],
    }  # fmt: skip
    (given.work / "settings.json").write_text(json.dumps(settings))
    return settings


def tokenizer(corpus: Path, languages: list[str], *, size: int) -> Any:
    """Train a byte-level BPE tokenizer on the corpus."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<pad>", "<bos>", "<eos>"]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    bpe.train([str(corpus / f"{language}.jsonl") for language in languages], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=special[0], bos_token=special[1],
                                   eos_token=special[2])  # fmt: skip


def ours(given: argparse.Namespace) -> dict[str, Any]:
    """Run the grid with xlharm; return the times that the runner measured."""
    spec = load_grid(given.work / "grid.yaml")
    dtype = "bfloat16" if torch.cuda.is_available() else "float32"
    begun = time.time()
    plan = build(spec, sources=resolve(spec, grid_path=given.work / "grid.yaml"), dtype=dtype)
    folder = given.work / f"run-{int(begun)}"
    outcome = run_grid(
        plan, Store(str(folder / "store")), RunOptions(pack=given.pack), on_progress=lambda _: None,
        start_executor=partial(on_ray, runner="benchmarks.timed:Timed"),
    )  # fmt: skip
    wall = time.time() - begun
    if outcome.done < outcome.total:
        raise SystemExit(f"xlharm: {outcome.failures}")
    lines = read_log(folder)
    spent: dict[str, float] = defaultdict(float)
    for line in lines:
        spent[line["kind"]] += line["seconds"] - line["compiling"]
        spent["compile"] += line["compiling"]
        print(json.dumps({k: v for k, v in line.items() if k != "keys"}), file=sys.stderr)
    spent["idle"] = wall - sum(spent.values())
    return {"what": "xlharm", "wall_s": round(wall, 1), "stages": outcome.total,
            "phases": {k: round(v, 1) for k, v in spent.items()}, "packs": lines}  # fmt: skip


def compare(ours: dict[str, Any], naive: dict[str, Any], *, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return GPU-seconds of both sides for the slice, and extrapolated to the whole grid by steps and answers.

    The peer's idle time is the wall time of Ray Tune minus the phases of its trials. For xlharm, the whole grid is
    extrapolated with packs of the same sizes as in the slice, each with the same time outside of its steps. Loading,
    compiling, idle time and the start of the first pack (kernels are built and chosen, DeepSpeed starts) count once.
    For the peer, all of these count once for each trial.
    """
    steps, cells, trunks = settings["steps"], len(settings["cells"]), len(CONTAMINATIONS)
    trials, our_phases = naive["trials"], ours["phases"]
    mean = {k: sum(t[k] for t in trials) / len(trials) for k in trials[0]}
    answers = mean.pop("answers")
    mean["idle"] = naive["wall_s"] / len(trials) - sum(mean.values())
    grow = {k: FULL[k] / steps[k] for k in steps} | {"evaluate": FULL["answers"] / answers}
    per_cell = {k: v * grow.get(k, 1.0) for k, v in mean.items()}
    more = {
        k: (FULL["trunks"] / trunks if k in ("contaminate", "sft") else FULL["cells"] / cells)
        for k in (*steps, "evaluate")
    }
    our_whole = {k: our_phases[k] for k in ("load", "compile", "idle")}
    trained = [p for p in ours["packs"] if p["steps"]]
    begin, later = (p["first"] - p["compiling"] for p in trained[:2])
    our_whole["first step"] = begin - later
    for kind in steps:
        packs = [p for p in trained if p["kind"] == kind]
        whole = sum(p["seconds"] - p["compiling"] + (FULL[kind] - p["steps"]) * p["step"] for p in packs)
        our_whole[kind] = (whole - (our_whole["first step"] if packs[0] is trained[0] else 0.0)) * more[kind]
    our_whole["evaluate"] = our_phases["evaluate"] * grow["evaluate"] * more["evaluate"]
    shared = {k: v * (FULL["trunks"] if k in ("contaminate", "sft") else FULL["cells"]) for k, v in per_cell.items()}
    for kind in ("load", "idle"):
        shared[kind] += per_cell[kind] * FULL["trunks"]

    def line(what: str, us: float, them: float, **more: Any) -> dict[str, Any]:
        return {"what": what, "xlharm_s": round(us), "naive_s": round(them), "times": round(them / us, 1), **more}

    def shown(phases: dict[str, float], factor: float = 1.0) -> dict[str, float]:
        return {k: round(v * factor, 1) for k, v in phases.items()}

    return [
        line(f"slice, {cells} cells", ours["wall_s"], sum(mean.values()) * cells,
             xlharm=our_phases, naive=shown(mean, cells)),
        line("whole grid", sum(our_whole.values()), sum(per_cell.values()) * FULL["cells"],
             xlharm=shown(our_whole), naive=shown(per_cell, FULL["cells"])),
        line("whole grid, peer in two sweeps that share contaminate and sft", sum(our_whole.values()),
             sum(shared.values()), naive=shown(shared)),
    ]  # fmt: skip


def _run(module: str, *arguments: str) -> dict[str, Any]:
    paths = [str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{module} failed: {done.stdout}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps({k: v for k, v in result.items() if k != "packs"}), flush=True)
    return result


if __name__ == "__main__":
    main()
