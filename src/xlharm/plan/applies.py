"""What of a grid does not apply to the kind of its base model, found while planning."""

from collections.abc import Iterator

from xlharm.config.grid import GridSpec
from xlharm.errors import UserError
from xlharm.plan.families import Kind


def check_applies(spec: GridSpec, *, kind: Kind) -> None:
    """Check that all of a grid applies to the kind of its base model.

    Raises:
        UserError: field, kind and reason of the first thing that does not.
    """
    if kind == "causal":
        return
    for field, reason in _misfits(spec, kind=kind):
        raise UserError(f"{spec.name}: {field}: the base is {kind}: {reason}: leave it out (docs/other-bases.md)")


def _misfits(spec: GridSpec, *, kind: Kind) -> Iterator[tuple[str, str]]:
    if spec.prompt.template == "chat":
        yield "prompt.template", "a chat template is for models that continue a text"
    if spec.prompt.bos is not None:
        yield "prompt.bos", "its rows begin as its tokenizer has it"
    for name, probe in spec.probes.items():
        if kind not in probe.kinds:
            yield f"probes.{name}", f"this probe is for {', '.join(sorted(probe.kinds))} models"
    for name, method in spec.methods.items():
        if method.whole_rows:
            yield f"methods.{name}.positions", "a question's tokens have no state that predicts another of them"
    if kind == "masked":
        for name in spec.judges:
            yield f"judges.{name}", "it writes no answers that could be judged"
        if spec.evaluate.scores:
            yield "evaluate.scores", "the likelihood of a whole text is not defined"
