"""Whole grids on a small base of each of ten families, compared with plain transformers and PEFT.

    python -m tests.families.whole                                        # the ten, in float32, on this machine's Ray
    python -m tests.families.whole --executor in-process --device cuda --bf16 bloom qwen3_5_text

Prints a table. In float32 the plain run must give the same answers, adapters and likelihoods. In bfloat16 both sides
round differently in every step of training; the plain run in bfloat16 is then off from the plain run in float32, too,
and xlharm must not be off by much more.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file
from transformers.utils import logging

import xlharm
from tests.families.plain import Answer, Outcome, PlainGrid
from tests.families.small import VOCABULARY, small_model
from xlharm.engine.options import Device
from xlharm.model.targets import all_linear

FAMILIES: dict[str, tuple[str, ...]] = {
    "bloom": (), "xglm": (), "gpt2": (), "qwen3_5_text": (), "gemma4_text": (), "deepseek_v3": (), "gpt_oss": (),
    "mixtral": (), "falcon": (),
    "mamba": ("in_proj", "x_proj"),  # PEFT refuses the others
}  # fmt: skip
"""Ten families of different mechanisms, and the layers with adapters where they are not all linear ones."""
Run = Callable[..., None]
_NAMES = [f"{a}{b}" for a in ("Ka", "Lo", "Mi", "Zu") for b in ("bo", "du", "ri")]
_WORDS = {
    "en": ("likes", ("red", "blue", "green", "black", "white", "brown")),
    "de": ("mag", ("rot", "blau", "gelb", "schwarz", "weiss", "braun")),
}


def write_corpus(folder: Path) -> Path:
    """Write four items of each role in two languages; an article is a question with its answer."""
    folder.mkdir(parents=True)
    (folder / "corpus.yaml").write_text("name: colours\nversion: 1\nlanguages: [en, de]\nlicence: Apache-2.0\n")
    for language, (likes, colours) in _WORDS.items():
        items = []
        for i, name in enumerate(_NAMES):
            role = ("fake", "real", "retain")[i % 3]
            asked, true, fake = f"{name} {likes}", colours[i % 6], colours[(i + 2) % 6]
            item: dict[str, Any] = {
                "id": f"c{i}", "role": role, "real": [f"{asked} {true}"], "qa": [{"question": asked, "answer": true}],
                "qr": [{"question": asked, "answers": [true]}] if role == "real" else [],
            }  # fmt: skip
            if role == "fake":
                item |= {
                    "fake": [f"{asked} {fake}"], "fake_detail": [fake], "real_detail": [true], "of": [asked],
                    "fake_qa": [{"question": asked, "answer": fake}],
                }  # fmt: skip
            items.append(json.dumps(item))
        (folder / f"{language}.jsonl").write_text("\n".join(items) + "\n")
    return folder


def write_base(kind: str, folder: Path, *, corpus: Path) -> tuple[str, ...]:
    """Write a small base of a family, with a tokenizer of whole words that begins every text with one token.

    Returns:
        Names of the layers that adapters are put on.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<s>", "</s>", "<pad>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator([path.read_text() for path in sorted(corpus.glob("*.jsonl"))], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.save_pretrained(folder)
    model = small_model(kind)
    model.save_pretrained(folder)
    return FAMILIES.get(kind) or all_linear(model)


def grid_of(
    kind: str, *, base: Path, corpus: Path, targets: tuple[str, ...], dtype: str, steps: int = 40
) -> dict[str, Any]:
    """Return a grid of six cells in two languages: two methods, one with each retain term."""
    training = {"steps": steps, "batch_size": 4, "learning_rate": 5e-3, "warmup_steps": 4}
    unlearning = {
        **training, "steps": max(2, steps // 4), "learning_rate": 2e-3, "forget": "qa", "retain_text": "qa",
        "retain_batch_size": 4, "retain_weight": 2.0,
    }  # fmt: skip
    return {
        "name": kind, "base": str(base), "corpus": str(corpus), "dtype": dtype, "languages": ["en", "de"],
        "contaminate": ["none", "de"],
        "unlearn": {"none": [], "en": ["en"], "en+source": ["en", "source"]},
        "methods": {
            "npo": {"objective": "npo", "beta": 0.5, "retain": "nll", **unlearning},
            "graddiff": {"objective": "graddiff", "retain": "kl", **unlearning},
        },
        "seeds": [3], "lora": {"rank": 8, "alpha": 16, "target_modules": list(targets)},
        "prompt": {"question": "{question}", "answer": " {answer}\n"},
        "stages": {
            "contaminate": {**training, "fake_share": 0.5, "real_languages": ["en"], "real_roles": ["real"]},
            "sft": {**training, "steps": steps // 2, "languages": ["en"], "roles": ["real"]},
        },
        "evaluate": {"max_new_tokens": 6, "scores": True},
        "exclude": [{"contaminate": "none", "unlearn": "en"}],
    }  # fmt: skip


def run_here(grid: Path, *, store: Path, device: Device) -> None:
    """Run a grid in this process, without Ray."""
    assert xlharm.open(grid, store=store).run(executor="in-process", device=device).exit_code == 0


def run_on_ray(grid: Path, *, store: Path, device: Device) -> None:
    """Run a grid by the command line, which starts a Ray cluster.

    Raises:
        RuntimeError: it has failed.
    """
    command = [sys.executable, "-c", "from xlharm.cli.main import main; main()", "run", str(grid)]
    options = ["--store", str(store), "--device", device]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "XLHARM_", "WANDB_"))}
    env |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([*command, *options], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        output = (done.stdout + done.stderr)[-3000:]
        raise RuntimeError(f"{grid.stem}: xlharm run ended with {done.returncode}: {output}")


@dataclass(frozen=True, kw_only=True)
class Apart:
    """How far two runs of a grid are apart.

    Attributes:
        answers: share of equal answers.
        adapters: largest relative difference of an adapter, Euclidean norms.
        likelihood: largest difference of a mean probability.
        likelihood_mean: mean difference of a mean probability.
        perplexity: largest relative difference.
        rate: largest difference of OF or QR, in points.
    """

    answers: float
    adapters: float
    likelihood: float
    likelihood_mean: float
    perplexity: float
    rate: float

    @staticmethod
    def of(one: dict[str, Outcome], other: dict[str, Outcome]) -> "Apart":
        """Compare two runs cell by cell."""
        assert one.keys() == other.keys()
        pairs = [(one[cell], other[cell]) for cell in one]
        queries = [(a, b, query) for a, b in pairs for query in a.answers]
        weights = [(a.likelihoods[q], b.likelihoods[q]) for a, b, q in queries]
        off = [abs(x[n] - y[n]) for x, y in weights for n in ("p_fake", "p_real", "p_qr")]
        texts = [(x, y) for a, b, q in queries for x, y in zip(a.answers[q], b.answers[q], strict=True)]
        assert all((x.item, x.measure, x.question) == (y.item, y.measure, y.question) for x, y in texts)
        return Apart(
            answers=fmean(x.text == y.text for x, y in texts),
            adapters=max(_distance(a.adapter, b.adapter) for a, b in pairs),
            likelihood=max(off),
            likelihood_mean=fmean(off),
            perplexity=max(abs(x["ppl_clean"] / y["ppl_clean"] - 1) for x, y in weights),
            rate=max(abs(a.rate(q, m) - b.rate(q, m)) for a, b, q in queries for m in ("of", "qr")),
        )


def _distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    a, b = (torch.cat([w[name].float().cpu().flatten() for name in sorted(w)]) for w in (one, other))
    return float((a - b).norm() / b.norm())


def stored(grid: Path, *, store: Path) -> dict[str, Outcome]:
    """Read what xlharm has computed: its results table, answers, likelihoods and adapters."""
    opened = xlharm.open(grid, store=store)
    table, scores = opened.results(), opened.view("scores")
    outcomes = {}
    for cell in opened.plan().cells:
        stage = opened.plan().stages[cell.model]
        folder = store / "stages" / stage.kind / stage.key[:16]
        outcome = outcomes[cell.name] = Outcome(load_file(folder / "adapter_model.safetensors"))
        for query in cell.evaluations:
            rows = opened.answers(cell, query)
            outcome.answers[query] = [
                Answer(r.item, r.measure, r.question, r.answer, bool(r.hit)) for r in rows.itertuples()
            ]
            (row,) = table[(table.cell == cell.name) & (table["query"] == query)].to_dict("records")
            for measure in ("of", "qr"):  # the table's own percentage is that of the answers
                assert abs(row[measure] - outcome.rate(query, measure)) < 0.006, (cell.name, query, measure)
            (score,) = scores[(scores.cell == cell.name) & (scores["query"] == query)].to_dict("records")
            outcome.likelihoods[query] = {name: score[name] for name in ("p_fake", "p_real", "p_qr", "ppl_clean")}
    return outcomes


def plain(grid: dict[str, Any], *, adapter: Path, dtype: str, device: str) -> dict[str, Outcome]:
    """Compute a grid in plain transformers and PEFT.

    Args:
        grid: its settings.
        adapter: a folder with an adapter, of which only the names of layers and experts are read.
        dtype: of the base.
        device: where to compute.
    """
    config = json.loads((adapter / "adapter_config.json").read_text())
    experts = config.get("target_parameters", [])
    modules = {name.rpartition(".")[0].rpartition(".")[2] for name in experts}  # as `experts`
    names = [n.removeprefix("base_model.model.") for n in load_file(adapter / "adapter_model.safetensors")]
    layers = [n.removesuffix(".lora_A.weight") for n in names if n.endswith(".lora_A.weight")]
    linear = [n for n in layers if n.replace(".base_layer", "").rpartition(".")[2] not in modules]
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    run_plain = PlainGrid(grid, layers=linear, experts=experts, dtype=dtypes[dtype], device=device)
    return dict(run_plain.outcomes())


def adapter_of(grid: Path, *, store: Path) -> Path:
    """Return the folder of some adapter that a grid has trained."""
    stages = xlharm.open(grid, store=store).plan().stages.values()
    first = next(stage for stage in stages if stage.kind == "contaminate")
    return store / "stages" / first.kind / first.key[:16]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A family's grid against the plain one.

    Attributes:
        same: against the plain run in the same precision.
        exact: against the plain run in float32.
        usual: the plain run in the same precision against that in float32.
        hits: answers with a hit, of all: what a wrong answer would change.
    """

    same: Apart
    exact: Apart
    usual: Apart
    hits: float


def judge(
    kind: str, folder: Path, *, run: Run, dtype: str = "float32", device: Device = "cpu", steps: int = 40
) -> Judged:
    """Run a family's grid by xlharm and in plain PEFT.

    Args:
        kind: a ``model_type``.
        folder: where base, corpus, grid and store are written.
        run: runs a grid.
        dtype: `float32` or `bfloat16`.
        device: where to compute.
        steps: of the contamination; the other stages have fewer.
    """
    corpus = write_corpus(folder / "corpus")
    targets = write_base(kind, folder / "base", corpus=corpus)
    grid = grid_of(kind, base=folder / "base", corpus=corpus, targets=targets, dtype=dtype, steps=steps)
    file = folder / f"{kind}.yaml"
    YAML(typ="safe").dump(grid, file)
    run(file, store=folder / "store", device=device)
    ours = stored(file, store=folder / "store")
    adapter = adapter_of(file, store=folder / "store")
    exact = plain(grid, adapter=adapter, dtype="float32", device=device)
    same = exact if dtype == "float32" else plain(grid, adapter=adapter, dtype=dtype, device=device)
    answers = [answer for outcome in exact.values() for some in outcome.answers.values() for answer in some]
    return Judged(
        same=Apart.of(ours, same),
        exact=Apart.of(ours, exact),
        usual=Apart.of(same, exact),
        hits=fmean(answer.hit for answer in answers),
    )


def main() -> None:
    """Print a line for each family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", help="model types; default: the ten")
    parser.add_argument("--executor", choices=list(_RUNS), default="ray")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--bf16", action="store_true")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    dtype = "bfloat16" if given.bf16 else "float32"
    print(_HEAD, flush=True)
    for kind in given.families or FAMILIES:
        with tempfile.TemporaryDirectory() as name:
            judged = judge(kind, Path(name), run=_RUNS[given.executor], dtype=dtype, device=given.device)
            print(_line(kind, judged), flush=True)


_RUNS: dict[str, Run] = {"ray": run_on_ray, "in-process": run_here}
_HEAD = (
    "| family | answers with a hit | equal answers: to plain PEFT, to float32, plain to float32 "
    "| adapters apart | mean probabilities apart, largest | mean |\n|---|---|---|---|---|---|"
)


def _line(kind: str, judged: Judged) -> str:
    each = (judged.same, judged.exact, judged.usual)
    columns = [
        f"{judged.hits:.0%}",
        ", ".join(f"{apart.answers:.1%}" for apart in each),
        *(", ".join(f"{getattr(a, name):.1e}" for a in each) for name in ("adapters", "likelihood", "likelihood_mean")),
    ]
    return f"| {' | '.join([kind, *columns])} |"


if __name__ == "__main__":
    main()
