"""Cells, and how the stages of one are built."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from xlharm.config.grid import NONE, SOURCE, GridSpec, ordered
from xlharm.config.training import key_settings
from xlharm.config.unlearning import FineTune, Unlearning, VectorRows
from xlharm.plan.sources import Sources
from xlharm.plan.stage import Kind, Stage
from xlharm.probes.base import AnswerProbe, Planned

Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A leaf path of the tree.

    Attributes:
        contaminate: a language, or `none` (clean control).
        unlearn: `none`, or languages joined by `+`, see ``config.grid.ordered``.
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
        evaluations = {q: self.evaluation(model, query=q) for q in self.spec.languages}
        scores = {q: self._score(model, query=q) for q in self.spec.languages} if self.spec.evaluate.scores else {}
        probes = self._probes(model, before=before if languages else None)
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
            probes={name: _keys(planned.evaluations) for name, planned in probes.items()},
            judged={name: _keys(stages) for name, stages in judged.items()},
        )
        models = [stage for planned in probes.values() for stage in planned.models]
        measured = (evaluations, scores, *(p.evaluations for p in probes.values()), *judged.values())
        return cell, [*lineage, *models, *(stage for group in measured for stage in group.values())]

    @property
    def contaminating(self) -> tuple[str, ...]:
        """The languages that the grid contaminates in."""
        return tuple(language for language in self.spec.contaminate if language != NONE)

    def resolved(self, languages: tuple[str, ...]) -> tuple[str, ...]:
        """Put the contaminating language for `source`; a clean control has none."""
        named = [self.contaminate if x == SOURCE else x for x in languages]
        return ordered(x for x in named if x != NONE)

    def stage(self, kind: Kind, *, parent: Stage | None, reads: tuple[str, ...], label: str, **fields: Any) -> Stage:
        """Return a stage of this branch.

        Args:
            kind: what it does.
            parent: the stage whose adapter it starts from.
            reads: languages of the corpus that it depends on.
            label: for people.
            fields: more of its ``spec``.
        """
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
        real = self.resolved(settings.real_languages)
        if not real:
            # a clean control of a grid whose real articles follow the fake ones
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

    def _unlearning(self, parent: Stage, *, languages: tuple[str, ...], method: str) -> list[Stage]:
        """Return the stages of a method: one, or for a training-free one also those it takes its vectors from."""
        settings = self.spec.methods[method]
        label = f"{self.contaminate} -> {'+'.join(languages)} {method} seed {self.seed}"
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
        kept = {*settings.edit_fields, "plugin"}
        own = {name: value for name, value in key_settings(settings).items() if name in kept}
        edit = self.stage("edit", parent=parent, reads=(), label=f"edit {label}", edit=own)
        return [*vectors, replace(edit, inputs=(parent.key, *(v.key for v in vectors)))]

    def _finetune(
        self, parent: Stage, settings: Unlearning, *, languages: tuple[str, ...], rows: VectorRows, label: str
    ) -> Stage:
        left_out = {"retain_text", "retain_batch_size"} if rows == "forget" else {"forget"}
        kept = FineTune.model_fields.keys() - left_out
        training = {name: value for name, value in key_settings(settings).items() if name in kept}
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
        """Return the stage in which a model answers the questions of a language, as a probe changes them."""
        asked = key_settings(self.spec.evaluate)
        del asked["scores"]
        settings = {"probe": probe.settings()} if probe else {}
        named = f" by {settings['probe']['kind']}" if settings else ""
        return self.stage(
            "evaluate",
            parent=model,
            reads=(query, *(probe.reads if probe else ())),
            label=f"evaluate {query} of {model.label}{named}",
            query=query,
            **asked,
            **settings,
        )

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
        )

    def _probes(self, model: Stage, *, before: Stage | None) -> dict[str, Planned]:
        """Return the stages of each probe that means something in this cell."""
        plans = {
            name: probe.plan(self, name=name, model=model, before=before) for name, probe in self.spec.probes.items()
        }
        return {name: planned for name, planned in plans.items() if planned is not None}


def _keys(stages: dict[str, Stage]) -> dict[str, str]:
    return {name: stage.key for name, stage in stages.items()}
