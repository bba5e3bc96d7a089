"""Every module of the package has a test file of its name, or a reason for having none."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "src" / "xlharm"
FEW = 30  # lines of an ``__init__`` from which on it counts as a module

# module -> the tests that reach it, and why it has none of its own. A reason ends where its module gets a test file.
ELSEWHERE = {
    "analysis/agreement.py": "stages/test_judging.py: verdicts of several judges side by side",
    "analysis/effects.py": "analysis/test_views.py",
    "analysis/items.py": "analysis/test_views.py and test_seeds.py",
    "analysis/probed.py": "analysis/test_views.py: a view of records",
    "analysis/ranking.py": "analysis/test_views.py",
    "analysis/signatures.py": "analysis/test_views.py",
    "analysis/verdicts.py": "stages/test_judging.py: the view `judges`",
    "analysis/view.py": "analysis/test_views.py: every view is one",
    "cli/checking.py": "cli/test_corpora.py: what stops a run",
    "cli/common.py": "test_api.py: what a session opens; cli/test_corpora.py: its terminal",
    "cli/inspect.py": "cli/test_run.py: results, ask, export and the rest on a store that was run",
    "cli/running.py": "cli/test_run.py",
    "cli/translating.py": "cli/test_translate.py",
    "cli/translators.py": "cli/test_translate.py",
    "cli/tuning.py": "cli/test_tune.py",
    "cli/upkeep.py": "cli/test_run.py: `export` and `gc`; config/test_schema.py: `schema`",
    "config/grid.py": "config/test_load.py: every mistake in a file",
    "config/kinds.py": "config/test_plugins.py and test_load.py: unions of methods, probes and judges",
    "config/unlearning.py": "methods/test_every.py: what every method has",
    "corpus/importing/joining.py": "corpus/importing/test_shapes.py: perturbed answers in folders beside",
    "corpus/importing/mapping.py": "corpus/importing/test_import.py",
    "corpus/importing/rows.py": "corpus/importing/test_import.py",
    "corpus/importing/run.py": "corpus/importing/test_import.py",
    "corpus/importing/shown.py": "corpus/importing/test_shapes.py: what is asked, and an item as it was understood",
    "corpus/importing/sources.py": "corpus/importing/test_import.py and test_shapes.py",
    "corpus/match/boundaries.py": "corpus/match/test_match.py and test_properties.py",
    "corpus/match/fold.py": "corpus/match/test_properties.py: folding twice is folding once",
    "corpus/match/korean.py": "corpus/match/test_match.py and test_letters.py",
    "corpus/match/languages.py": "corpus/match/test_letters.py",
    "corpus/shipped.py": "corpus/tinyworld/test_corpus.py and corpus/bulletin/test_corpus.py: shipped bytes",
    "corpus/translate/assemble.py": "corpus/translate/test_seq2seq.py: items in and out of sentences",
    "corpus/translate/backend.py": "corpus/translate/test_chat.py: what is wrong with a translation",
    "corpus/translate/translation.py": "corpus/translate/test_folder.py and cli/test_translate.py",
    "corpus/validate/across.py": "corpus/validate/test_check.py: planted damage of every kind",
    "corpus/validate/content.py": "corpus/validate/test_check.py",
    "corpus/validate/language.py": "corpus/validate/test_check.py",
    "corpus/validate/reading.py": "corpus/validate/test_check.py",
    "corpus/validate/unfilled.py": "corpus/test_template.py: a template before it is filled in",
    "engine/driver.py": "engine/test_run.py: the driver with scripted workers",
    "engine/events.py": "engine/test_scheduler.py: types without logic",
    "engine/executor.py": "engine/test_in_process.py and faults/: a protocol",
    "engine/ray/submit.py": "cli/test_submit.py: on a real head",
    "engine/ray/warm.py": "faults/test_processes.py and engine/ray/test_translate.py",
    "engine/ray/worker.py": "faults/test_processes.py: in real workers",
    "engine/trouble.py": "engine/test_policy.py: classes of errors",
    "engine/tune/search.py": "faults/test_search.py and cli/test_tune.py: on real Ray Tune",
    "engine/tune/trial.py": "faults/test_search.py and cli/test_tune.py",
    "evaluate/asking.py": "stages/test_runner.py, and families/test_other_grids.py: choices",
    "evaluate/cache.py": "evaluate/test_generate.py: every token against a forward without it",
    "evaluate/decoding.py": "evaluate/test_generate.py and test_checks.py: each step against a forward without cache",
    "evaluate/inspecting.py": "probes/test_ablate.py, probes/test_patch.py and probes/test_cka.py",
    "evaluate/likelihood.py": "model/test_families.py and test_compiled.py: against plain forwards",
    "methods/base.py": "methods/test_every.py and test_retain.py",
    "methods/inputs.py": "methods/test_every.py: types without logic",
    "evaluate/stock.py": "families/test_matrix.py and test_others.py: answers of families on the generic path",
    "model/base.py": "model/test_families.py: bases of every family",
    "model/layout.py": "model/test_targets.py and test_families.py",
    "model/lora.py": "model/test_ragged.py, test_compiled.py and test_families.py",
    "plan/cells.py": "plan/test_build.py and golden/test_keys.py",
    "plan/judging.py": "stages/test_judging.py and golden/test_keys.py",
    "plan/settings.py": "golden/test_keys.py and plan/test_build.py",
    "plan/sources.py": "types without logic",
    "remote/endpoint.py": "remote/test_chat.py: types without logic",
    "stages/ask.py": "stages/test_runner.py",
    "stages/card.py": "stages/test_export.py: the code in it is run",
    "stages/context.py": "stages/test_runner.py: whole grids in one process",
    "stages/edit.py": "stages/test_methods.py and model/test_arithmetic.py",
    "stages/job.py": "types without logic",
    "stages/training.py": "stages/test_runner.py and test_methods.py",
    "store/record.py": "store/test_store.py: types without logic",
    "train/forward.py": "stages/test_methods.py and invariance/test_ranks.py: the same result however rows are cut",
    "train/loop.py": "stages/test_runner.py and test_methods.py",
    "train/replay.py": "model/test_gpu.py: it needs a GPU",
    "train/terms.py": "methods/test_every.py and stages/test_methods.py",
}


def modules() -> list[str]:
    """List the modules that need a test: not the ``__init__`` and ``__main__`` of a few lines."""
    paths = [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if not path.name.startswith("__") or len(path.read_text("utf-8").splitlines()) >= FEW
    ]
    return [path.relative_to(PACKAGE).as_posix() for path in paths]


def has_test(module: str) -> bool:
    path = Path(module)
    return (TESTS / path.parent / f"test_{path.name}").is_file()


def test_every_module_has_a_test_of_its_name_or_a_reason() -> None:
    missing = [module for module in modules() if not has_test(module) and module not in ELSEWHERE]
    assert not missing, f"write tests/…/test_<name>.py, or a reason in ELSEWHERE of {Path(__file__).name}: {missing}"


def test_no_reason_outlives_its_module_or_its_need() -> None:
    assert sorted(set(ELSEWHERE) - set(modules())) == [], "these modules are gone"
    assert [module for module in ELSEWHERE if has_test(module)] == [], "these have a test file of their name now"


@pytest.mark.parametrize("module", ELSEWHERE)
def test_the_tests_that_a_reason_names_are_there(module: str) -> None:
    folder = TESTS
    for word in ELSEWHERE[module].replace(":", " ").replace(",", " ").split():
        if word.endswith(("/", ".py")):
            path = (TESTS / word) if "/" in word else folder / word
            assert path.exists(), word
            folder = path.parent
