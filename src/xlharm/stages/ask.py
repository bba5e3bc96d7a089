"""Ask a cell's model a question."""

import torch

from xlharm.config.grid import Prompt
from xlharm.corpus.other_rows import asked_source
from xlharm.corpus.rows import prompt_ids
from xlharm.errors import UserError
from xlharm.evaluate.generate import generate, stop_ids, text_of
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.stages.context import Context
from xlharm.stages.job import RunnerConfig
from xlharm.store.store import Store


def ask(
    plan: Plan,
    store: Store,
    cell: Cell,
    question: str,
    *,
    max_new_tokens: int | None = None,
    language: str | None = None,
) -> str:
    """Return the answer of a cell's model to a question in any language, decoded greedily as in evaluations.

    Args:
        plan: the plan of the grid.
        store: the store with the cell's model.
        cell: the cell.
        question: the question, without the prompt template.
        max_new_tokens: longest answer in tokens; None takes the grid's setting.
        language: of the question, for a base whose tokenizer has tokens for languages; None takes the grid's first.

    Raises:
        UserError: the cell's model is not in the store yet.
    """
    stage = plan.stages[cell.model]
    if not store.has(stage):
        raise UserError(f"{cell.name}: its model is not in the store yet; run the grid first")
    if plan.sources.base.kind == "masked":
        raise UserError(f"ask: the base fills in masks and writes no answers; what {cell.name} chose is in its results")
    config = RunnerConfig(
        base=plan.sources.base,
        corpus=plan.sources.corpus.path,
        store_url=store.url,
        dtype=plan.dtype,
        trust_remote_code=plan.grid.trust_remote_code,
    )
    context = Context(config)
    stacked = context.stacked(stage)
    adapter = context.adapter(stage.key, stacked.layout)
    prompt = Prompt.model_validate(stage.spec["prompt"])
    tokenizer, template = context.tokenizer, context.tokenizer.template(prompt)
    tokens = max_new_tokens or plan.grid.evaluate.max_new_tokens
    begun: tuple[int, ...] = ()
    if tokenizer.kind == "encoder-decoder":
        spoken = language or plan.grid.languages[0]
        ids = asked_source(question, prompt=prompt, tokenizer=tokenizer, language=spoken)
        begun = tokenizer.frame(spoken).begun
    else:
        ids = prompt_ids(question, prompt=prompt, tokenizer=tokenizer)
    reads = tokenizer.kind == "encoder-decoder"  # the question and the answer are rows of their own
    context.check_rows(stage, max(len(ids), len(begun) + tokens) if reads else len(ids) + tokens, answers=True)
    answers = generate(
        stacked,
        torch.stack([adapter]).to(context.device),
        [ids],
        stops=stop_ids(context.tokenizer, template),
        max_new_tokens=tokens,
        rows=1,
        begun=begun,
    )
    return text_of(answers[0][0], context.tokenizer, template)
