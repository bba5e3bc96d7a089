"""Checks before a run: the corpus, and whether its rows fit the grid and the base model."""

import shlex
import sys
from pathlib import Path

from rich.console import Console

from xlharm.corpus.finding import assets
from xlharm.corpus.streams import Corpora
from xlharm.corpus.validate import validate
from xlharm.corpus.validate.fitting import check_rows
from xlharm.errors import UserError
from xlharm.plan.build import Plan
from xlharm.plan.stage import TRAINED, Stage
from xlharm.plan.targets import check_targets
from xlharm.store.store import Store


def check_before_run(plan: Plan, store: Store, *, console: Console) -> None:
    """Check the data and the base model that the missing stages read, and print one line about warnings.

    Raises:
        UserError: the corpus has errors in languages that the grid uses, rows are too long for a stage, or the base
            model lacks a target layer.
    """
    done, _ = store.sound(plan.stages)
    left = [stage for key, stage in plan.stages.items() if key not in done]
    if not left:
        return
    check_prompt(plan)
    check_targets(plan.grid.lora.target_modules, plan.sources.base)
    with console.status("Checking the corpus"):
        warnings = _findings(plan, left)
        not_checked = _rows(plan, left)
    for line in filter(None, (warnings, not_checked)):
        console.print(line, markup=False, soft_wrap=True)


def check_prompt(plan: Plan) -> None:
    """Check that the base can write a grid's chat prompt, if its tokenizer is on this machine.

    Raises:
        UserError: it has no chat template, or the template refuses the system prompt.
    """
    from xlharm.model.tokenizer import tokenizer_at_hand

    if plan.grid.prompt.template == "chat" and (tokenizer := tokenizer_at_hand(plan.sources.base)) is not None:
        try:
            tokenizer.template(plan.grid.prompt)
        except UserError as error:
            raise UserError(f"{plan.grid.name}: {error}") from None


def _findings(plan: Plan, left: list[Stage]) -> str:
    """Validate the languages that the stages read; return a line about warnings, or an empty one."""
    folder, read = plan.sources.corpus.path, {language for stage in left for language in stage.data}
    findings = validate(folder, wanted=sorted(read)) if read else []  # judge stages read no corpus
    errors = [finding for finding in findings if finding.severity == "error"]
    show = shlex.join(["xlharm", "data", "validate", _name(folder)])
    if errors:
        more = f" (and {len(errors) - 1} more errors: {show})" if len(errors) > 1 else ""
        raise UserError(f"corpus {_name(folder)}: {errors[0]}{more}")
    return f"corpus {_name(folder)}: {len(findings)} warnings, shown by: {show}" if findings else ""


def _name(folder: Path) -> str:
    return folder.name if folder.parent == assets().resolve() else str(folder)


def _rows(plan: Plan, left: list[Stage]) -> str:
    """Check that rows are not too long; return a line if the base model's tokenizer cannot be loaded here."""
    from xlharm.model.tokenizer import check_vocabulary, light_tokenizer, positions

    if not any(stage.kind in TRAINED for stage in left):
        return ""
    sources, grid = plan.sources, plan.grid
    try:
        limit = min(positions(sources.base) or sys.maxsize, grid.sequence_length or sys.maxsize)
        tokenizer = light_tokenizer(sources.base, trust_remote_code=grid.trust_remote_code)
    except UserError as error:
        return f"the lengths of rows cannot be checked before the run: {error}"
    check_vocabulary(tokenizer, size=None, source=sources.base)
    check_rows(left, Corpora(sources.corpus.path, tokenizer, limit))
    return ""
