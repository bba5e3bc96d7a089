"""Judge every causal model type of transformers: `make families` prints the table of docs/families.md.

Each type is a tiny random model. Its answer is one of: equal (to transformers' own forward with plain LoRA layers),
refused (in one line, before anything is computed), wrong, crash, or cannot be built this small.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from tests.families.reference import LONG, differences
from tests.families.small import small_config, small_model
from xlharm.errors import UserError
from xlharm.evaluate.checks import check_base
from xlharm.model.base import load_base
from xlharm.model.layout import layout_of
from xlharm.model.lora import StackedModel
from xlharm.model.targets import all_linear
from xlharm.plan import families
from xlharm.plan.base_files import folder_base

DTYPES = ("float32", "bfloat16")
_SECONDS = 600  # of a machine that others use, too
_SHOWN = 130  # letters of a reason in the table
Verdict = dict[str, Any]


def judge(folder: Path, *, path: families.Path, dtype: str) -> Verdict:
    """Return what comes of a saved base on a path."""
    began = time.perf_counter()
    try:
        model = load_base(folder_base(folder), dtype=dtype, device=torch.device("cpu"))
        layout = layout_of(model, rank=4, alpha=8.0, targets=all_linear(model))
        stacked = StackedModel(model, layout, path=path)
        checked = time.perf_counter()
        check_base(stacked, longest=LONG)
        seconds = time.perf_counter() - checked
        wrong = differences(stacked, folder)
    except UserError as error:
        return {"is": "refused", "why": str(error).replace(f" {folder}", ""), "seconds": time.perf_counter() - began}
    except Exception as error:  # noqa: BLE001 - a crash is one of the verdicts
        return {"is": "crash", "why": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    return {"is": "wrong" if wrong else "equal", "why": wrong, "check": seconds, "layers": len(layout.segments)}


def judge_all_ways(kind: str, *, paths: tuple[families.Path, ...]) -> dict[str, Any]:
    """Build a type's small model and judge it in each precision, on each path until one is right."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            _save(kind, folder)
        except Exception as error:  # noqa: BLE001 - what cannot be built is told
            return {"kind": kind, "build": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        verdicts: dict[str, Verdict] = {}
        for path in paths:
            here = {f"{path} {dtype}": judge(folder, path=path, dtype=dtype) for dtype in DTYPES}
            verdicts |= here
            if all(verdict["is"] == "equal" for verdict in here.values()):
                break
        return {"kind": kind, **verdicts}


def _save(kind: str, folder: Path) -> None:
    """Save a type's small model, with the configuration of a whole if the model is the text part of one."""
    model, config = small_model(kind), small_config(kind)
    model.save_pretrained(folder)
    if type(model.config) is not type(config):
        config.save_pretrained(folder)


def _family(kind: str) -> str:
    """Return the family that decides the path: of the part that reads text."""
    try:
        return families.family_of(small_config(kind).to_dict())
    except Exception:  # noqa: BLE001 - what cannot be built is told by its judge
        return kind


def _in_child(kind: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run a type in a process of its own, which may end or hang."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.setsid()
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        os.write(write, json.dumps(work()).encode())
        os._exit(0)
    os.close(write)
    deadline = time.monotonic() + _SECONDS
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.02)
    with os.fdopen(read, "rb") as pipe:
        line = pipe.read()
    return json.loads(line) if line else {"kind": kind, "build": "no answer in time"}


def main() -> None:
    """Judge the types named, or all; print a table, or lines of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*")
    parser.add_argument(
        "--both-paths", action="store_true", help="judge the fast path, and the generic one where it is not right"
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each type")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    import transformers.generation
    import transformers.models.llama.modeling_llama  # noqa: F401 - what every child needs; computing would start threads

    if not options.json:
        print("| type | path | float32 | bfloat16 | why |\n|---|---|---|---|---|", flush=True)
    counts: dict[str, Counter[str]] = {dtype: Counter() for dtype in DTYPES}
    for kind in options.kinds or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        own = families.path_of("auto", family=_family(kind))
        paths: tuple[families.Path, ...] = ("fast", "generic") if options.both_paths else (own,)
        judged = _in_child(kind, lambda kind=kind, paths=paths: judge_all_ways(kind, paths=paths))
        verdicts = [
            judged.get(f"{own} {dtype}", {"is": "not built", "why": judged.get("build", "")}) for dtype in DTYPES
        ]
        for dtype, verdict in zip(DTYPES, verdicts, strict=True):
            counts[dtype][verdict["is"]] += 1
        if options.json:
            print(json.dumps(judged), flush=True)
        else:
            why = next((v["why"] for v in verdicts if v["why"]), "").replace("|", "/")
            why = why if len(why) <= _SHOWN else why[:_SHOWN] + " …"
            print(f"| {kind} | {own} | {verdicts[0]['is']} | {verdicts[1]['is']} | {why} |", flush=True)
    if not options.json:
        print("\n".join(f"{dtype}: {dict(count)}" for dtype, count in counts.items()), file=sys.stderr)


if __name__ == "__main__":
    main()
