"""Activation patching: hidden states of one model put into another, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from xlharm.errors import UserError
from xlharm.probes.base import Inspection, Planned, reading

if TYPE_CHECKING:
    import pyarrow as pa

    from xlharm.corpus.rows import Row
    from xlharm.evaluate.inspecting import Inspecting
    from xlharm.plan.cells import CellBuilder
    from xlharm.plan.stage import Stage

MODELS = ("after", "before", "control")
"""The cell's model, the model before unlearning, and the clean control, in the order of the stage's inputs."""
PAIRS = (("after", "before"), ("before", "after"), ("before", "control"))
"""What is patched: the states of the second model are put into the first."""
_CLOSE = {"float32": 1e-3, "bfloat16": 0.1}  # relative; how log-probabilities of the same states may differ


class Patch(Inspection):
    """Put hidden states of one model into another, layer by layer, and see how likely the fake answer is then.

    States of the model before unlearning go into the model after: where does the fake answer come back? States of the
    model after, and of the clean control, go into the model before: which layers hold the fake answer, and of how many
    of them did unlearning take it (the layer erasure ratio and depth of 2605.24614)? As there, the text is the fake
    detail after its question (teacher forcing), the state is the decoder layer's output, and states are replaced at the
    positions that predict the answer's tokens.

    Attributes:
        positions: `answer`, or `all` for the question's tokens too.
    """

    kind: Literal["patch"]
    positions: Literal["answer", "all"] = "answer"

    def models(self, *, layers: int) -> int:
        """Return the number of forward passes of each text."""
        return len(PAIRS) * (layers + 2)

    def plan(self, builder: CellBuilder, *, name: str, model: Stage, before: Stage | None) -> Planned | None:
        """Plan inspections, which also read the model before unlearning and the control; None without unlearning."""
        planned = super().plan(builder, name=name, model=model, before=before)
        if planned is None or before is None:
            return None
        control = builder.control()
        return Planned(evaluations=reading(planned, before, *control[-1:]).evaluations, models=control)

    def table(self, inspecting: Inspecting) -> pa.Table:
        """Return a row for each patch and item: (into, source, layer, item, tokens, logp).

        ``source`` and ``layer`` are null for the model as it is; ``logp`` is in nats, summed over the ``tokens`` of the
        fake detail.
        """
        import pyarrow as pa

        from xlharm.model.base import settings
        from xlharm.model.patching import patched_likelihoods

        items, rows = inspecting.fake_answers()
        depth = int(settings(inspecting.stacked.model).num_hidden_layers)
        adapters = dict(zip(MODELS, inspecting.adapters, strict=False))  # a grid may have no control
        patches: list[tuple[int, ...]] = [(), *((layer,) for layer in range(depth))]
        entries: list[dict[str, Any]] = []
        as_they_are: dict[str, list[float]] = {}
        whole: dict[str, list[float]] = {}  # with the states of the last layer, which decide the answer
        for into, source in PAIRS:
            if not rows or source not in adapters:
                continue
            plain, *patched = patched_likelihoods(
                inspecting.stacked,
                rows,
                into=adapters[into],
                source=adapters[source],
                patches=patches,
                positions=self.positions,
                batch=inspecting.texts,
                slots=inspecting.slots,
            )
            if into not in as_they_are:
                as_they_are[into] = plain
                entries += _entries(items, rows, plain, into=into, source=None, layer=None)
            for layer, values in enumerate(patched):
                entries += _entries(items, rows, values, into=into, source=source, layer=layer)
            whole[source] = patched[-1]
        for name in as_they_are.keys() & whole.keys():
            _check(whole[name], as_they_are[name], inspecting=inspecting)
        schema = pa.schema(
            [
                ("into", pa.string()), ("source", pa.string()), ("layer", pa.int64()), ("item", pa.string()),
                ("tokens", pa.int64()), ("logp", pa.float64()),
            ]
        )  # fmt: skip
        return pa.Table.from_pylist(entries, schema=schema)


def _entries(
    items: list[str], rows: list[Row], values: list[float], *, into: str, source: str | None, layer: int | None
) -> list[dict[str, Any]]:
    return [
        {
            "into": into, "source": source, "layer": layer, "item": item,
            "tokens": len(row.ids) - row.start, "logp": value,
        }
        for item, row, value in zip(items, rows, values, strict=True)
    ]  # fmt: skip


def _check(last: list[float], source: list[float], *, inspecting: Inspecting) -> None:
    """Check that the output of the last layer is all that decides the answer.

    Raises:
        UserError: a model with the last layer's states of another does not answer as that one.
    """
    close = _CLOSE[str(inspecting.stacked.dtype).removeprefix("torch.")]
    if any(abs(a - b) > close * max(1.0, abs(b)) for a, b in zip(last, source, strict=True)):
        name = type(inspecting.stacked.model).__name__
        raise UserError(f"probes: patch: the decoder layers of {name} do not hold its whole hidden state")
