"""Similarity of languages inside a model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.plan.worlds import grid_of, plan_of
from tests.probes.worlds import inspecting_of
from xlharm.corpus.rows import prompt_ids
from xlharm.errors import UserError
from xlharm.model.similarity import debiased_cka, linear_cka
from xlharm.model.states import last_token_states
from xlharm.probes.cka import Cka

EXAMPLE = {"alike": {"kind": "cka", "roles": ["fake", "real"], "queries": ["en", "de"]}}


def test_one_stage_of_each_model_reads_all_languages() -> None:
    probes = {"alike": {"kind": "cka"}, "one": {"kind": "cka", "queries": ["ur"]}}
    plan = plan_of(grid_of(languages=["en", "ur"], probes=probes))
    assert set(plan.cells[0].probes) == {"alike"}  # one language is like itself
    ((name, key),) = plan.cells[0].probes["alike"].items()
    assert name == "en+ur"
    assert (set(plan.stages[key].data), plan.stages[key].spec["languages"]) == ({"en", "ur"}, ["en", "ur"])


def test_pairs_of_languages_are_compared_at_each_layer(mini_base: Path, mini_corpus: Path) -> None:
    world = inspecting_of(mini_base, mini_corpus, languages=("en", "de", "ur"))
    rows = Cka(kind="cka", roles=("fake", "real")).table(world).to_pylist()
    assert [(r["language"], r["other"], r["layer"]) for r in rows] == [
        (*pair, layer) for pair in (("en", "de"), ("en", "ur"), ("de", "ur")) for layer in (0, 1)
    ]
    names = ["m0", "m1", "m3", "m4", "m6", "m7"]
    assert all(r["items"] == names for r in rows)
    states = []
    for language in ("de", "ur"):
        items = {item.id: item for item in world.load(language)}
        asked = [(*items[n].of, *(q.question for q in items[n].qr))[0] for n in names]
        prompts = [prompt_ids(q, prompt=world.prompt, tokenizer=world.tokenizer) for q in asked]
        states.append(last_token_states(world.stacked, world.adapters[0], prompts, batch=8)[1].double().numpy())
    plain, debiased = linear_cka(*states), debiased_cka(*states)
    assert (rows[5]["cka"], rows[5]["debiased"]) == pytest.approx((plain.value, debiased.value), rel=1e-4)
    np.testing.assert_allclose(rows[5]["cka_without"], plain.without, rtol=1e-3)


def test_a_language_compared_with_itself_is_one(mini_base: Path, mini_corpus: Path) -> None:
    world = inspecting_of(mini_base, mini_corpus, languages=("en", "de"))
    same = replace(world, load=lambda _: inspecting_of(mini_base, mini_corpus).load("en"))
    for row in Cka(kind="cka", roles=("fake", "real")).table(same).to_pylist():
        assert (row["cka"], row["debiased"]) == pytest.approx((1, 1))
        assert row["cka_without"] == pytest.approx([1] * 6)


def test_too_few_parallel_items_are_one_line(mini_base: Path, mini_corpus: Path) -> None:
    world = inspecting_of(mini_base, mini_corpus, languages=("en", "de"))
    with pytest.raises(UserError, match="cka: 3 items have a question in en, de; expected 6 or more"):
        Cka(kind="cka", roles=("fake",)).table(world)
