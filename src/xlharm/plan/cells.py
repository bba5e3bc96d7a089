"""Cells, and the stages that each of them needs."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from xlharm.config.grid import NONE, SOURCE, Dtype, GridSpec, ordered
from xlharm.config.matching import MATCHING_VERSION, default_variants, variants_of
from xlharm.config.training import key_settings
from xlharm.config.unlearning import FineTune, Unlearning, VectorRows
from xlharm.plan.families import path_of
from xlharm.plan.sources import Sources
from xlharm.plan.stage import Kind, Stage
from xlharm.probes.base import AnswerProbe, Inspection, Planned


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One path from the base to a model and its measurements.

    Attributes:
        contaminate: the contamination language, or `none` for a clean control.
        unlearn: the unlearning set: languages joined by `+` in the order of ``config.grid.ordered``, or `none`.
        method: the method's name in the grid; `none` without unlearning.
        seed: the seed of all its stages.
        model: key of the stage whose adapter is the cell's model.
        lineage: keys of the stages from the base to the model.
        evaluations: the evaluate stage's key, by query language.
        scores: the score stage's key, by query language; empty unless the grid enables scores.
        probes: the key of the evaluate or inspect stage, by probe and query language; see ``Planned``.
        judged: the judge stage's key, by judge and query language.
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
        """`contaminate/unlearn/method/seed`: the cell's name on the command line."""
        return f"{self.contaminate}/{self.unlearn}/{self.method}/{self.seed}"

    @property
    def leaves(self) -> tuple[str, ...]:
        """Keys of all stages that measure the cell's model: evaluations, scores, probes and verdicts."""
        groups = (self.evaluations, self.scores, *self.probes.values(), *self.judged.values())
        return tuple(key for group in groups for key in group.values())


@dataclass(frozen=True, kw_only=True)
class CellBuilder:
    """Builds the stages of the cells with one contamination language, one method and one seed."""

    spec: GridSpec
    sources: Sources
    dtype: Dtype
    contaminate: str
    method: str
    seed: int

    def cell(self, *, languages: tuple[str, ...]) -> tuple[Cell, list[Stage]]:
        """Return a cell and all its stages, parents first."""
        before = self._before_unlearning[-1]
        unlearning = self._unlearning(before, languages=languages) if languages else []
        lineage = [*self._before_unlearning, *unlearning]
        model = lineage[-1]
        evaluations = {q: self.evaluation(model, query=q) for q in self.spec.languages}
        scores = {q: self._score(model, query=q) for q in self.spec.languages} if self.spec.evaluate.scores else {}
        probes = self._probes(model, before=before if languages else None)
        judged = {n: {q: self._judge(e, name=n) for q, e in evaluations.items()} for n in self.spec.judges}
        cell = Cell(
            contaminate=self.contaminate,
            unlearn="+".join(languages) if languages else NONE,
            method=self.method,
            seed=self.seed,
            model=model.key,
            lineage=tuple(s.key for s in lineage),
            evaluations=_keys(evaluations),
            scores=_keys(scores),
            probes={name: _keys(planned.evaluations) for name, planned in probes.items()},
            judged={name: _keys(by_query) for name, by_query in judged.items()},
        )
        models = [stage for planned in probes.values() for stage in planned.models]
        measured = (evaluations, scores, *(p.evaluations for p in probes.values()), *judged.values())
        return cell, [*lineage, *models, *(stage for group in measured for stage in group.values())]

    @property
    def contaminating(self) -> tuple[str, ...]:
        """The grid's contamination languages."""
        return tuple(language for language in self.spec.contaminate if language != NONE)

    def control(self) -> tuple[Stage, ...]:
        """Return the stages of the clean control of this seed, parents first; none where the grid has no control."""
        if NONE not in self.spec.contaminate:
            return ()
        return replace(self, contaminate=NONE)._before_unlearning  # noqa: SLF001 - of the same class

    @cached_property
    def _before_unlearning(self) -> tuple[Stage, ...]:
        contaminated = self._contaminate()
        return (contaminated,) if self.spec.stages.sft is None else (contaminated, self._sft(contaminated))

    def resolved(self, languages: tuple[str, ...]) -> tuple[str, ...]:
        """Replace `source` by the contamination language; in a clean control it is dropped."""
        replaced = [self.contaminate if x == SOURCE else x for x in languages]
        return ordered(x for x in replaced if x != NONE)

    def stage(self, kind: Kind, *, parent: Stage | None, reads: tuple[str, ...], label: str, **fields: Any) -> Stage:
        """Return a stage of this branch.

        Args:
            kind: what it computes.
            parent: the stage whose adapter it starts from.
            reads: languages of the corpus files that it reads.
            label: a name for people; not part of the key.
            fields: further fields of its ``spec``.
        """
        digests = self.sources.corpus.digests
        common: dict[str, Any] = {
            "dtype": self.dtype,
            "lora": key_settings(self.spec.lora),
            "prompt": key_settings(self.spec.prompt),
        }
        path = path_of(self.spec.path, family=self.sources.base.family, kind=self.sources.base.kind)
        if path != "fast":  # a key of the fast path does not name it: it was the only one
            common["path"] = path
        if self.spec.holdout:
            common["holdout"] = self.spec.holdout
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
        real = self.resolved(settings.real_languages)
        if not real:
            # a clean control, when the real articles are in the `source` language
            real = ordered(self.spec.languages)[:1]
        fake = None if self.contaminate == NONE else self.contaminate
        if fake is None:
            training.pop("fake_share")
        return self.stage(
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
        languages = self.resolved(self.spec.stages.sft.languages) or ordered(self.spec.languages)[:1]
        return self.stage(
            "sft",
            parent=parent,
            reads=languages,
            label=f"sft {self.contaminate} seed {self.seed}",
            training={**training, "languages": list(languages)},
            seed=self.seed,
        )

    def _unlearning(self, parent: Stage, *, languages: tuple[str, ...]) -> list[Stage]:
        """Return a method's stages: one unlearn stage, or finetune stages and the edit that uses their vectors."""
        settings = self.spec.methods[self.method]
        label = f"{self.contaminate} -> {'+'.join(languages)} {self.method} seed {self.seed}"
        if not settings.vectors:
            stage = self.stage(
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
        fields = {*settings.edit_fields, "plugin"}
        edit_settings = {name: value for name, value in key_settings(settings).items() if name in fields}
        edit = self.stage("edit", parent=parent, reads=(), label=f"edit {label}", edit=edit_settings)
        return [*vectors, replace(edit, inputs=(parent.key, *(v.key for v in vectors)))]

    def _finetune(
        self, parent: Stage, settings: Unlearning, *, languages: tuple[str, ...], rows: VectorRows, label: str
    ) -> Stage:
        unused = {"retain_text", "retain_batch_size"} if rows == "forget" else {"forget"}
        fields = FineTune.model_fields.keys() - unused
        training = {name: value for name, value in key_settings(settings).items() if name in fields}
        if rows == "retain":
            training["batch_size"] = settings.retain_batch_size
        return self.stage(
            "finetune",
            parent=parent,
            reads=languages,
            label=f"finetune on {rows} rows {label}",
            training=training,
            rows=rows,
            languages_unlearned=list(languages),
            seed=self.seed,
        )

    def evaluation(self, model: Stage, *, query: str, probe: AnswerProbe | None = None) -> Stage:
        """Return the stage in which a model answers the questions of a query language, changed by a probe if given."""
        probe_field = {"probe": probe.settings()} if probe else {}
        suffix = f" by {probe_field['probe']['kind']}" if probe_field else ""
        return self.stage(
            "evaluate",
            parent=model,
            reads=(query, *(probe.reads if probe else ())),
            label=f"evaluate {query} of {model.label}{suffix}",
            query=query,
            **self._answering(query),
            **probe_field,
        )

    def inspection(self, model: Stage, *, languages: tuple[str, ...], probe: Inspection) -> Stage:
        """Return the stage in which a probe looks inside a model with the questions of some languages."""
        limit = {"questions": self.spec.evaluate.questions} if probe.limited else {}
        answering = self._answering(languages[0]) if probe.asks else limit
        settings = probe.settings()
        return self.stage(
            "inspect",
            parent=model,
            reads=languages,
            label=f"{settings['kind']} {'+'.join(languages)} of {model.label}",
            languages=list(languages),
            **answering,
            probe=settings,
        )

    def _answering(self, query: str) -> dict[str, Any]:
        """Return what decides how a model answers in a language and how its answers are counted."""
        if query not in self._answering_in:
            settings = {**key_settings(self.spec.evaluate), "matching_version": MATCHING_VERSION}
            for name in ("scores", "utility", "matching"):
                settings.pop(name, None)
            variants = variants_of(self.spec.evaluate.matching, query)
            if variants != default_variants(query):
                settings["matching"] = list(variants)
            self._answering_in[query] = settings
        return self._answering_in[query]

    @cached_property
    def _answering_in(self) -> dict[str, dict[str, Any]]:
        """What ``_answering`` has returned, by query language: a grid asks for it once an evaluation."""
        return {}

    def _judge(self, evaluation: Stage, *, name: str) -> Stage:
        identity = self.spec.judges[name].identity(self.sources.judges.get(name))
        return Stage(
            kind="judge",
            spec={"judge": identity, "query": evaluation.spec["query"]},
            inputs=(evaluation.key,),
            data={},
            base=evaluation.base,
            label=f"judge {name} on {evaluation.label}",
        )

    def _score(self, model: Stage, *, query: str) -> Stage:
        return self.stage(
            "score",
            parent=model,
            reads=(query,),
            label=f"score {query} of {model.label}",
            query=query,
            questions=self.spec.evaluate.questions,
            **({"utility": True} if self.spec.evaluate.utility else {}),
        )

    def _probes(self, model: Stage, *, before: Stage | None) -> dict[str, Planned]:
        """Return the stages of each probe and amount; a probe that does not apply to this cell is left out."""
        probes = {
            f"{name}{suffix}": part
            for name, probe in self.spec.probes.items()
            for suffix, part in probe.parts().items()
        }
        plans = {name: probe.plan(self, name=name, model=model, before=before) for name, probe in probes.items()}
        return {name: planned for name, planned in plans.items() if planned is not None}


def _keys(stages: dict[str, Stage]) -> dict[str, str]:
    return {name: stage.key for name, stage in stages.items()}
