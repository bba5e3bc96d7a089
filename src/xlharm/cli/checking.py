"""What is checked before a run: the corpus, and whether its rows fit the grid and its base."""

import shlex
from pathlib import Path

from rich.console import Console

from xlharm.corpus.finding import assets
from xlharm.corpus.streams import Corpora
from xlharm.corpus.validate import validate
from xlharm.corpus.validate.fitting import check_rows
from xlharm.errors import UserError
from xlharm.plan.build import Plan
from xlharm.plan.memory import Anatomy
from xlharm.plan.stage import TRAINED, Stage
from xlharm.store.store import Store


def check_before_run(plan: Plan, store: Store, *, console: Console) -> None:
    """Check what the missing stages read; errors stop, warnings are one line.

    Raises:
        UserError: the corpus has errors in languages that the grid uses, a stage could not take its rows, or the base
            has no layer that is to be adapted.
    """
    done = store.done(plan.stages)
    left = [stage for key, stage in plan.stages.items() if key not in done]
    if not left:
        return
    anatomy = Anatomy.of(plan.sources.base)
    if anatomy is not None:  # else its files are not on this machine
        anatomy.check_targets(plan.grid.lora.target_modules)
    with console.status("Checking the corpus"):
        told = _findings(plan, left)
        unchecked = _rows(plan, left)
    for line in filter(None, (told, unchecked)):
        console.print(line, markup=False, soft_wrap=True)


def _findings(plan: Plan, left: list[Stage]) -> str:
    """Validate the languages that are read; return a line on warnings."""
    folder, read = plan.sources.corpus.path, {language for stage in left for language in stage.data}
    findings = validate(folder, wanted=sorted(read)) if read else []  # verdicts of judges read none
    errors = [finding for finding in findings if finding.severity == "error"]
    show = shlex.join(["xlharm", "data", "validate", _name(folder)])
    if errors:
        more = f" (and {len(errors) - 1} more errors: {show})" if len(errors) > 1 else ""
        raise UserError(f"corpus {_name(folder)}: {errors[0]}{more}")
    return f"corpus {_name(folder)}: {len(findings)} warnings, shown by: {show}" if findings else ""


def _name(folder: Path) -> str:
    return folder.name if folder.parent == assets().resolve() else str(folder)


def _rows(plan: Plan, left: list[Stage]) -> str:
    """Check that rows fit; return a line where the base's tokenizer is not to be had on this machine."""
    from xlharm.model.tokenizer import check_vocabulary, light_tokenizer, positions

    if not any(stage.kind in TRAINED for stage in left):
        return ""
    sources, grid = plan.sources, plan.grid
    try:
        seen = positions(sources.base)
        tokenizer = light_tokenizer(sources.base, trust_remote_code=grid.trust_remote_code)
    except UserError as error:
        return f"lengths of rows are not checked before the run: {error}"
    check_vocabulary(tokenizer, size=None, source=sources.base)
    check_rows(left, Corpora(sources.corpus.path, tokenizer), positions=seen)
    return ""
