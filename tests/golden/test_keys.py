"""A change of keys invalidates somebody's GPU hours: it must be meant, and is made here.

``python -m tests.golden.test_keys`` writes ``keys.json`` anew.
"""

import json
from pathlib import Path
from typing import Any

from tests.plan.worlds import grid_of, sources
from xlharm.config.load import parse_grid
from xlharm.plan.build import build
from xlharm.plan.sources import BaseSource

GOLDEN = Path(__file__).parent / "keys.json"

KINDS = grid_of(
    contaminate=["none", "ur"],
    unlearn={"none": [], "both": ["en", "source"]},
    languages=["en", "ur"],
    methods={"npo": {"objective": "npo"}, "sub": {"objective": "subspace"}, "tv": {"objective": "task_vector"}},
    evaluate={"scores": True},
    probes={
        "relearn": {"kind": "relearn"},
        "int4": {"kind": "quantise"},
        "other": {"kind": "questions", "form": "code_switched", "queries": ["ur"]},
        "steer": {"kind": "steer", "queries": ["en"]},
        "parts": {"kind": "ablate"},
        "patched": {"kind": "patch", "queries": ["en"]},
        "alike": {"kind": "cka"},
        "clean": {"kind": "continue", "queries": ["en"]},
    },
    judges={"chat": {"kind": "chat", "url": "http://host/v1", "model": "m-1"}},
    exclude=[{"contaminate": "none", "unlearn": "both"}],
)
"""Every kind of stage."""

OBJECTIVES = (
    "ga", "graddiff", "kl", "npo", "simnpo", "dpo", "idk", "rmu", "undial", "wga", "satimp", "ceu", "lingtea",
    "relabel", "task_vector", "subspace", "altpo", "pdu",
)  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    **{f"ga-{term}": {"objective": "ga", "retain": term} for term in ("nll", "kl", "hidden", "lingtea")},
    "weights": {"objective": "npo", "beta": 0.5, "forget_weight": 2, "retain": "nll", "retain_weight": 0.3},
    "retain-text": {"objective": "npo", "retain": "nll", "retain_text": "qa", "retain_batch_size": 4},
    "pairs": {"objective": "simnpo", "forget": "qa", "delta": 0.5},
    "rmu-at-a-layer": {"objective": "rmu", "layer": 3, "coefficient": 2},
    "layers": {"objective": "ga", "layers": [0, 2]},
    "training": {
        "objective": "undial", "schedule": "cosine", "warmup_steps": 3, "weight_decay": 0.01, "clip": 0.5,
        "batch_size": 8,
    },
    "lingtea-temperature": {"objective": "lingtea", "temperature": 2},
    "lingtea-retain-of-ga": {"objective": "wga", "beta": 0, "retain": "lingtea"},
    "stop-forget": {"objective": "ga", "stop": {"forget_nll": 6}},
    "stop-retain": {"objective": "graddiff", "stop": {"retain_nll": 4, "window": 5}},
    "stop-both": {"objective": "kl", "stop": {"forget_nll": 6, "retain_nll": 4}},
    "ceu-published": {"objective": "ceu", "skip_tokens": 1},
    "lingtea-published": {"objective": "lingtea", "normalisation": "published"},
    "rmu-published": {"objective": "rmu", "positions": "all"},
    "warm-up-from-zero": {"objective": "ga", "warmup_steps": 2, "warmup_from_zero": True},
    "mix-balanced": {"objective": "npo", "mix": "balanced"},
    "mix-resource": {"objective": "task_vector", "mix": "resource", "alpha": 2},
    "mix-weights": {"objective": "subspace", "mix": {"en": 3, "ur": 1}, "dimensions": 2, "kept_dimensions": 1},
}  # fmt: skip
METHODS = grid_of(
    contaminate=["ur"],
    unlearn={"both": ["en", "source"]},
    languages=["en"],
    methods={**{name: {"objective": name} for name in OBJECTIVES}, **VARIANTS},
)
"""Every method at its defaults; every retain term, stop rule and mix."""

MEASURES = grid_of(
    contaminate=["ur"],
    unlearn={"en": ["en"]},
    languages=["en", "ur"],
    evaluate={"max_new_tokens": 5, "questions": 7},
    probes={
        "relearn-pairs": {"kind": "relearn", "languages": ["en", "source"], "items": 3, "forget": "qa", "steps": 4},
        "int8": {"kind": "quantise", "bits": 8, "group": None, "queries": ["en"]},
        "paraphrased": {"kind": "questions", "queries": ["en"]},
        "sampled": {"kind": "sample", "queries": ["ur"]},
        "sampled-warm": {
            "kind": "sample", "samples": 4, "temperature": 0.7, "top_p": 0.9, "seed": 2, "queries": ["ur"],
        },
        "steer-at-a-layer": {"kind": "steer", "layer": 1, "strength": 2, "queries": ["en"]},
        "curve": {"kind": "relearn", "items": [1, 5], "queries": ["en"]},
        "finer-parts": {"kind": "ablate", "by": ["target", "component"], "components": 2, "queries": ["en"]},
        "patched-everywhere": {"kind": "patch", "positions": "all", "queries": ["en"]},
        "fakes-alike": {"kind": "cka", "roles": ["fake"]},
        "articles": {
            "kind": "continue", "times": [0, 2], "steps": 3, "text": "articles", "languages": ["source"],
            "roles": ["retain"], "queries": ["en"],
        },
    },
    judges={
        "translating": {
            "kind": "chat", "url": "http://host/v1", "model": "m", "translate": True, "temperature": 0.5,
            "max_tokens": 9, "measures": ["of"],
        },
        "local": {"kind": "local", "base": "org/judge", "revision": "0" * 40},
        "nli": {"kind": "nli", "base": "org/nli", "revision": "1" * 40, "threshold": 0.6},
    },
)  # fmt: skip
"""Every probe and judge with settings of its own."""


def keys_of(grid: dict[str, Any], *, dtype: Any = "float32") -> dict[str, str]:
    """Return a grid's keys by what the stages are called."""
    judges = {
        name: BaseSource(location="org/judge", revision="0" * 40, digest=f"digest of {name}", size=1)
        for name, judge in grid.get("judges", {}).items()
        if judge["kind"] != "chat"
    }
    files = sources()
    known = type(files)(base=files.base, corpus=files.corpus, judges=judges)
    plan = build(parse_grid(grid, name="grid.yaml"), sources=known, dtype=dtype)
    named = [(f"{s.label} {s.spec.get('probe', '')}".strip(), key) for key, s in plan.stages.items()]
    assert len(dict(named)) == len(named)
    return dict(named)


def all_keys() -> dict[str, dict[str, str]]:
    """Return the keys of all grids here."""
    shallow = grid_of(contaminate=["ur"], languages=["ur"], stages={"sft": None}, seeds=[3], lora={"rank": 8})
    return {
        "kinds": keys_of(KINDS),
        "methods": keys_of(METHODS),
        "measures": keys_of(MEASURES),
        "without sft, in bfloat16": keys_of(shallow, dtype="bfloat16"),
        "held out": keys_of(grid_of(languages=["en"], holdout=2, evaluate={"scores": True, "utility": True})),
    }


def test_keys_are_as_they_were() -> None:
    """Every kind of stage, and every sort of method, retain term, stop rule, mix, probe and judge."""
    assert all_keys() == json.loads(GOLDEN.read_text()), (
        "raise STAGE_VERSIONS only when numbers change; then update keys.json"
    )


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(all_keys(), indent=1) + "\n")
