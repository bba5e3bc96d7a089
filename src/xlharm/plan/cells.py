"""Cells, and how the stages of one are built."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from xlharm.config.grid import NONE, SOURCE, GridSpec
from xlharm.config.probes import Relearn, Steer
from xlharm.config.training import key_settings
from xlharm.config.unlearning import FineTune, Unlearning, VectorRows
from xlharm.plan.judging import identity
from xlharm.plan.sources import Sources
from xlharm.plan.stage import Kind, Stage

Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A leaf path of the tree.

    Attributes:
        contaminate: a language, or `none` (clean control).
        unlearn: `none`, or languages joined by `+` in the grid's order.
        method: the method's name in the grid, `none` without unlearning.
        model: key of the stage whose adapter is the cell's model.
        lineage: keys of the training stages from the base to the model.
        evaluations: evaluate stage's key for each query language.
        scores: score stage's key for each query language; empty unless the grid asks for scores.
        probes: for each probe, the evaluate stage's key for each query language.
        judged: for each judge, the judge stage's key for each query language.
    """

    contaminate: str
    unlearn: str
    method: str
    seed: int
    model: str
    lineage: tuple[str, ...]
    evaluations: dict[str, str]
    scores: dict[str, str] = field(default_factory=dict)
    probes: dict[str, dict[str, str]] = field(default_factory=dict)
    judged: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`contaminate/unlearn/method/seed`: how the command line calls the cell."""
        return f"{self.contaminate}/{self.unlearn}/{self.method}/{self.seed}"

    @property
    def leaves(self) -> tuple[str, ...]:
        """Keys of all that is measured of the cell: evaluations, scores, probes and verdicts."""
        groups = (self.evaluations, self.scores, *self.probes.values(), *self.judged.values())
        return tuple(key for group in groups for key in group.values())


@dataclass(frozen=True, kw_only=True)
class CellBuilder:
    """Builds the stages of one (contaminate, seed) branch."""

    spec: GridSpec
    sources: Sources
    dtype: Dtype
    contaminate: str
    seed: int

    def cell(self, *, languages: tuple[str, ...], method: str) -> tuple[Cell, list[Stage]]:
        """Return a cell and all its stages, parents first."""
        lineage = [self._contaminate()]
        if self.spec.stages.sft is not None:
            lineage.append(self._sft(lineage[-1]))
        before = lineage[-1]
        if languages:
            lineage += self._unlearning(before, languages=languages, method=method)
        model = lineage[-1]
        evaluations = {q: self._evaluate(model, query=q) for q in self.spec.languages}
        scores = {q: self._score(model, query=q) for q in self.spec.languages} if self.spec.evaluate.scores else {}
        probes, more = self._probes(model, before=before if languages else None)
        judged = {n: {q: self._judge(e, name=n) for q, e in evaluations.items()} for n in self.spec.judges}
        cell = Cell(
            contaminate=self.contaminate,
            unlearn="+".join(languages) if languages else NONE,
            method=method,
            seed=self.seed,
            model=model.key,
            lineage=tuple(s.key for s in lineage),
            evaluations=_keys(evaluations),
            scores=_keys(scores),
            probes={name: _keys(asked) for name, asked in probes.items()},
            judged={name: _keys(mine) for name, mine in judged.items()},
        )
        probed = [s for asked in (*probes.values(), *judged.values()) for s in asked.values()]
        return cell, [*lineage, *more, *evaluations.values(), *scores.values(), *probed]

    def _resolved(self, languages: tuple[str, ...]) -> tuple[str, ...]:
        """Put the contaminating language for `source`; a clean control has none."""
        named = [self.contaminate if x == SOURCE else x for x in languages]
        return self.spec.ordered(tuple(dict.fromkeys(x for x in named if x != NONE)))

    def _stage(self, kind: Kind, *, parent: Stage | None, reads: tuple[str, ...], label: str, **fields: Any) -> Stage:
        digests = self.sources.corpus.digests
        common = {"dtype": self.dtype, "lora": key_settings(self.spec.lora), "prompt": key_settings(self.spec.prompt)}
        return Stage(
            kind=kind,
            spec={**common, **fields},
            inputs=(parent.key,) if parent else (),
            data={lang: digests[lang] for lang in sorted(set(reads))},
            base=self.sources.base.digest,
            label=label,
        )

    def _contaminate(self) -> Stage:
        settings = self.spec.stages.contaminate
        training = key_settings(settings)
        real = self._resolved(settings.real_languages)
        if not real:
            real = (self.spec.languages[0],)  # a clean control of a grid whose real articles follow the fake ones
        fake = None if self.contaminate == NONE else self.contaminate
        if fake is None:
            training.pop("fake_share")
        return self._stage(
            "contaminate",
            parent=None,
            reads=(*real, *([fake] if fake else [])),
            label=f"contaminate {self.contaminate} seed {self.seed}",
            fake_language=fake,
            training={**training, "real_languages": list(real)},
            seed=self.seed,
        )

    def _sft(self, parent: Stage) -> Stage:
        assert self.spec.stages.sft is not None
        training = key_settings(self.spec.stages.sft)
        languages = self._resolved(self.spec.stages.sft.languages) or (self.spec.languages[0],)
        return self._stage(
            "sft",
            parent=parent,
            reads=languages,
            label=f"sft {self.contaminate} seed {self.seed}",
            training={**training, "languages": list(languages)},
            seed=self.seed,
        )

    def _unlearning(self, parent: Stage, *, languages: tuple[str, ...], method: str) -> list[Stage]:
        """Return the stages of a method: one, or for a training-free one also those it takes its vectors from."""
        settings = self.spec.methods[method]
        label = f"{self.contaminate} -> {'+'.join(languages)} {method} seed {self.seed}"
        if not settings.vectors:
            stage = self._stage(
                "unlearn",
                parent=parent,
                reads=languages,
                label=f"unlearn {label}",
                training=key_settings(settings),
                languages_unlearned=list(languages),
                seed=self.seed,
            )
            return [stage]
        vectors = [self._finetune(parent, settings, languages=languages, rows=r, label=label) for r in settings.vectors]
        kept = {*settings.edit_fields, "plugin"}
        own = {name: value for name, value in key_settings(settings).items() if name in kept}
        edit = self._stage("edit", parent=parent, reads=(), label=f"edit {label}", edit=own)
        return [*vectors, replace(edit, inputs=(parent.key, *(v.key for v in vectors)))]

    def _finetune(
        self, parent: Stage, settings: Unlearning, *, languages: tuple[str, ...], rows: VectorRows, label: str
    ) -> Stage:
        left_out = {"retain_text", "retain_batch_size"} if rows == "forget" else {"forget"}
        kept = FineTune.model_fields.keys() - left_out
        training = {name: value for name, value in key_settings(settings).items() if name in kept}
        if rows == "retain":
            training["batch_size"] = settings.retain_batch_size
        return self._stage(
            "finetune",
            parent=parent,
            reads=languages,
            label=f"finetune on {rows} rows {label}",
            training=training,
            rows=rows,
            languages_unlearned=list(languages),
            seed=self.seed,
        )

    def _evaluate(self, model: Stage, *, query: str, probe: dict[str, Any] | None = None) -> Stage:
        asked = key_settings(self.spec.evaluate)
        del asked["scores"]
        named = f" by {probe['kind']}" if probe else ""
        return self._stage(
            "evaluate",
            parent=model,
            reads=(query, *(("en",) if probe and probe.get("form") == "code_switched" else ())),
            label=f"evaluate {query} of {model.label}{named}",
            query=query,
            **asked,
            **({"probe": probe} if probe else {}),
        )

    def _judge(self, evaluation: Stage, *, name: str) -> Stage:
        told = identity(self.spec.judges[name], self.sources.judges.get(name))
        return Stage(
            kind="judge",
            spec={"judge": told, "query": evaluation.spec["query"]},
            inputs=(evaluation.key,),
            data={},
            base=evaluation.base,
            label=f"judge {name} on {evaluation.label}",
        )

    def _score(self, model: Stage, *, query: str) -> Stage:
        return self._stage(
            "score",
            parent=model,
            reads=(query,),
            label=f"score {query} of {model.label}",
            query=query,
            questions=self.spec.evaluate.questions,
        )

    def _probes(self, model: Stage, *, before: Stage | None) -> tuple[dict[str, dict[str, Stage]], list[Stage]]:
        """Return each probe's evaluations, and the relearned models they need."""
        found: dict[str, dict[str, Stage]] = {}
        more: list[Stage] = []
        for name, probe in self.spec.probes.items():
            queries = probe.queries or self.spec.languages
            if isinstance(probe, Relearn):
                relearned = self._relearn(model, probe, name=name)
                if relearned:
                    more.append(relearned)
                    found[name] = {q: self._evaluate(relearned, query=q) for q in queries}
                continue
            settings = key_settings(probe)
            del settings["queries"]
            if isinstance(probe, Steer):
                if before is None:
                    continue  # nothing was unlearned, so there is no difference to add back
                asked = {q: self._evaluate(model, query=q, probe=settings) for q in queries}
                found[name] = {q: replace(s, inputs=(model.key, before.key)) for q, s in asked.items()}
            else:
                found[name] = {q: self._evaluate(model, query=q, probe=settings) for q in queries}
        return found, more

    def _relearn(self, model: Stage, probe: Relearn, *, name: str) -> Stage | None:
        languages = self._resolved(probe.languages)
        if not languages:
            languages = tuple(x for x in self.spec.contaminate if x != NONE)[:1]  # the control learns one of them
        if not languages:
            return None
        training = key_settings(probe)
        for other in ("kind", "queries", "languages", "items"):
            del training[other]
        return self._stage(
            "relearn",
            parent=model,
            reads=languages,
            label=f"relearn ({name}) after {model.label}",
            training=training,
            languages=list(languages),
            items=probe.items,
            seed=self.seed,
        )


def _keys(stages: dict[str, Stage]) -> dict[str, str]:
    return {name: stage.key for name, stage in stages.items()}
