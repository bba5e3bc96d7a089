"""Similarity of languages inside a model: linear CKA of hidden states of parallel questions, by decoder layer."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from xlharm.config.training import Role
from xlharm.errors import UserError
from xlharm.probes.base import Inspection, Planned

if TYPE_CHECKING:
    import pyarrow as pa

    from xlharm.evaluate.inspecting import Inspecting
    from xlharm.plan.cells import CellBuilder
    from xlharm.plan.stage import Stage

_FEWEST = 6  # items: the debiased estimator needs 4, and one is left out


class Cka(Inspection):
    """Compare the hidden states of the same questions in two languages, at the last token of the prompt (1905.00414).

    A question is the first one about an item's fake detail, or its first one about a real detail where it has no fake.

    Attributes:
        queries: the languages, two or more; all of the grid's by default.
        roles: of the items.
    """

    limited: ClassVar[bool] = False  # every item counts, and reading its question costs little

    kind: Literal["cka"]
    roles: Annotated[tuple[Role, ...], Field(min_length=1)] = ("fake", "real", "retain")

    def models(self, *, layers: int) -> int:  # noqa: ARG002 - it does not depend on them
        """Return 1: every question is read once."""
        return 1

    def plan(self, builder: CellBuilder, *, name: str, model: Stage, before: Stage | None) -> Planned | None:  # noqa: ARG002 - controls are compared too
        """Plan one inspection of the cell's model with all languages; None for fewer than two."""
        languages = tuple(dict.fromkeys(self.queries or builder.spec.languages))
        if len(languages) < 2:
            return None
        return Planned(evaluations={"+".join(languages): builder.inspection(model, languages=languages, probe=self)})

    def table(self, inspecting: Inspecting) -> pa.Table:
        """Return a row for each pair of languages and layer.

        ``items`` are the items' ids; ``cka`` and ``debiased`` are the CKA and its debiased estimate (0 to 1), and
        ``cka_without`` and ``debiased_without`` the same without each item.

        Raises:
            UserError: there are too few items.
        """
        import numpy as np
        import pyarrow as pa

        from xlharm.model.similarity import debiased_cka, linear_cka
        from xlharm.model.states import last_token_states

        names, prompts = inspecting.prompts(self.roles)
        if len(names) < _FEWEST:
            where = ", ".join(inspecting.languages)
            raise UserError(f"probes: cka: {len(names)} items have a question in {where}; expected {_FEWEST} or more")
        states = {
            language: last_token_states(
                inspecting.stacked, inspecting.adapters[0], prompts[language], batch=inspecting.texts
            ).numpy().astype(np.float64)
            for language in inspecting.languages
        }  # fmt: skip
        rows: list[dict[str, Any]] = []
        for one, other in combinations(inspecting.languages, 2):
            for layer, (x, y) in enumerate(zip(states[one], states[other], strict=True)):
                plain, debiased = linear_cka(x, y), debiased_cka(x, y)
                rows.append(
                    {
                        "layer": layer, "language": one, "other": other, "items": names,
                        "cka": plain.value, "cka_without": plain.without.tolist(),
                        "debiased": debiased.value, "debiased_without": debiased.without.tolist(),
                    }
                )  # fmt: skip
        numbers = pa.list_(pa.float64())
        schema = pa.schema(
            [
                ("layer", pa.int64()), ("language", pa.string()), ("other", pa.string()),
                ("items", pa.list_(pa.string())), ("cka", pa.float64()), ("cka_without", numbers),
                ("debiased", pa.float64()), ("debiased_without", numbers),
            ]
        )  # fmt: skip
        return pa.Table.from_pylist(rows, schema=schema)
