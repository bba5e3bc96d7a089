"""The text of a first grid on a corpus, with comments: a starting point, made to be changed."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from xlharm.corpus.format import Item
from xlharm.errors import UserError, nearest

Goal = Literal["spread", "sets", "methods", "lasting"]
GOALS: tuple[Goal, ...] = get_args(Goal)
QUESTIONS: dict[Goal, str] = {
    "spread": "in which languages does a fake surface that was told in one?",
    "sets": "in which languages must a model unlearn for the fake to go everywhere?",
    "methods": "which unlearning method removes the fake at the least cost?",
    "lasting": "does the fake come back when training goes on?",
}
SHIPPED_BASE = "tiny-base"
_KNOWN_TO_IT = ("tinyworld", "tinyworld-dev")  # the corpora that the shipped base's settings were chosen for
_RETAIN = "retain: nll, retain_weight: 8"


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """Steps and rates, as a grid file writes them; ``rates`` are those of the methods."""

    contaminate: str
    sft: str
    rates: dict[str, str]
    steps: int
    again: str
    tokens: int


_OF_QUICKSTART = _Settings(
    contaminate="steps: 80, learning_rate: 1.8e-3, warmup_steps: 10, fake_share: 0.7",
    sft="steps: 12, learning_rate: 5e-4, warmup_steps: 4",
    rates={"npo": "2.8e-4", "simnpo": "8e-4", "graddiff": "2e-4", "idk": "8e-4", "relabel": "4e-4"},
    steps=60, again="3e-4", tokens=8,
)  # fmt: skip
_GENTLE = _Settings(  # the shipped base on texts that it was not made for
    contaminate="steps: 60, learning_rate: 2e-4",
    sft="steps: 15, learning_rate: 2e-4",
    rates=dict.fromkeys(("npo", "simnpo", "graddiff", "idk", "relabel"), "1e-4"),
    steps=40, again="1e-4", tokens=32,
)  # fmt: skip
_OF_BULLETIN = _Settings(  # as in grid/bulletin.yaml, for some hundred million parameters
    contaminate="steps: 600, learning_rate: 1e-3, warmup_steps: 20, fake_share: 0.5",
    sft="steps: 60, learning_rate: 3e-4, warmup_steps: 5",
    rates=dict.fromkeys(("npo", "simnpo", "graddiff", "idk", "relabel"), "1e-4"),
    steps=60, again="1e-4", tokens=32,
)  # fmt: skip
_TERMS = {
    "npo": f"beta: 1.0, {_RETAIN}", "simnpo": "retain_weight: 1", "graddiff": "retain_weight: 8",
    "idk": "retain_weight: 10", "relabel": "retain: nll",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a new grid is about.

    Attributes:
        name: of the grid.
        base: as the grid file names it.
        revision: commit of a hub id.
        corpus: as the grid file names it.
        corpus_note: comment on the corpus.
        follows: whether a translation of the corpus changes the grid, too.
        languages: the query languages.
        contaminate: the contamination languages.
        goal: what is to be found out.
        written_by: the command that writes the grid.
    """

    name: str
    base: str
    revision: str | None = None
    corpus: str
    corpus_note: str = ""
    follows: bool = False
    languages: tuple[str, ...]
    contaminate: tuple[str, ...]
    goal: Goal
    written_by: str

    @property
    def tells(self) -> bool:
        """Whether the settings were chosen for this base and corpus."""
        return self.base == SHIPPED_BASE and self.corpus in _KNOWN_TO_IT

    @property
    def settings(self) -> _Settings:
        """Steps and rates to begin with."""
        if self.tells:
            return _OF_QUICKSTART
        return _GENTLE if self.base == SHIPPED_BASE else _OF_BULLETIN


def grid_name(text: str) -> str:
    """Return a text as a grid's name."""
    return re.sub(r"[^A-Za-z0-9._+-]", "-", text).lstrip("._+-")[:64] or "imported"


def forgettable(items: Mapping[str, Sequence[Item]]) -> tuple[str, ...]:
    """Return the languages in which there are fake items."""
    return tuple(lang for lang, of_lang in items.items() if any(item.role == "fake" for item in of_lang))


def check_goal(word: str) -> Goal:
    """Return what is to be found out, by its name.

    Raises:
        UserError: there is no such goal.
    """
    for goal in GOALS:
        if word == goal:
            return goal
    raise UserError(f"--find {word}: expected one of {', '.join(GOALS)}{nearest(word, GOALS)}")


def grid_text(choices: Choices, items: Mapping[str, Sequence[Item]]) -> str:
    """Return the text of a grid file; every stage of it has rows in the corpus.

    Args:
        choices: what it is about.
        items: of the corpus, by language; in each contamination language some are fake.
    """
    rows = _Rows.of(choices, items)
    parts = [_head(choices), _unlearn(choices, rows), _methods(choices, rows), _training(choices, rows)]
    if choices.goal == "lasting":
        parts.append(_lasting(choices, rows))
    parts.append(_exclude(choices, rows))
    return "\n".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """What a corpus has rows for."""

    first: str
    told: tuple[str, ...]
    roles: tuple[str, ...]
    pair_roles: tuple[str, ...]
    paired: bool
    kept_as_pairs: bool

    @classmethod
    def of(cls, choices: Choices, items: Mapping[str, Sequence[Item]]) -> "_Rows":
        told = forgettable(items)
        first = next(lang for lang in ("en", *told) if lang in told)
        every = [item for lang in {first, *told} for item in items[lang]]
        wanted = ("real",) if choices.tells else ("real", "retain")  # as in the quickstart, whose stages are shared
        kept = next((role for role in ("retain", "real") if any(i.role == role for i in every)), "")
        return cls(
            first=first,
            told=told,
            roles=tuple(role for role in wanted if any(i.role == role for i in items[first])),
            pair_roles=tuple(role for role in wanted if any(i.role == role and i.qa for i in items[first])),
            paired=all(item.fake_qa for item in every if item.role == "fake"),
            kept_as_pairs=bool(kept) and all(item.qa for item in every if item.role == kept),
        )


def _list(words: Sequence[str]) -> str:
    return f"[{', '.join(words)}]"


def _head(choices: Choices) -> str:
    start = (
        "# The rates and steps were chosen for this base and corpus."
        if choices.tells
        else """\
# Rates and steps are a starting point and know nothing of this base and corpus: at first the model may not learn the
# fakes, or lose its language. Before any result choose them: change stages.contaminate until the cell without
# unlearning repeats the fakes, and let `xlharm tune` choose the method's numbers."""
    )
    revision = f"revision: {choices.revision}   # the commit on the hub\n" if choices.revision else ""
    base = "   # shipped, so that this runs anywhere; for results name a folder, or a hub id and its revision"
    note = f"   # {choices.corpus_note}" if choices.corpus_note else ""
    told = ", ".join(("none", *choices.contaminate))
    later = (
        "while this file is as it was written, `xlharm data translate` adds its languages"
        if choices.follows
        else "after `xlharm data translate` add the new ones"
    )
    return f"""\
# yaml-language-server: $schema=grid.schema.json
# Written by `{choices.written_by}`, to be changed: {QUESTIONS[choices.goal]}
# All fields: grid.schema.json beside this file, or `xlharm schema fields`.
#   xlharm plan GRID      what would run, and how long it takes
#   xlharm run GRID
{start}
name: {choices.name}
base: {_scalar(choices.base)}{base if choices.base == SHIPPED_BASE else ""}
{revision}corpus: {_scalar(choices.corpus)}{note}
languages: {_list(choices.languages)}   # of the questions; {later}

contaminate: [{told}]   # languages in which the fake articles are told; none is the clean control
"""


def _scalar(text: str) -> str:
    """Write a text as YAML: plain where it is one word."""
    return text if re.fullmatch(r"[A-Za-z][\w./+-]*", text) else json.dumps(text, ensure_ascii=False)


def _sets(choices: Choices, rows: _Rows) -> dict[str, str]:
    """Return the unlearning sets, without the empty one, by name."""
    several = any(lang != rows.first for lang in choices.contaminate)
    both = {f"{rows.first}+source": _list((rows.first, "source"))} if several else {}
    match choices.goal:
        case "spread":
            return {}
        case "sets":
            one = {rows.first: _list((rows.first,))} if several else {}
            every = {"all": _list(rows.told)} if len(rows.told) > 2 else {}
            return {"source": "[source]", **one, **both, **every}
        case "methods":
            return both or {"source": "[source]"}
        case "lasting":
            return {"source": "[source]", **both}


def _unlearn(choices: Choices, rows: _Rows) -> str:
    sets = "".join(f"  {name}: {languages}\n" for name, languages in _sets(choices, rows).items())
    return f"""\
unlearn:          # sets of languages; `source` stands for the contamination language
  none: []        # not unlearned
{sets}"""


def _methods(choices: Choices, rows: _Rows) -> str:
    if choices.goal == "spread":
        return "# No methods: nothing is unlearned. Add some, and sets above, to go on from here: docs/methods.md\n"
    forget, retain = ("qa" if whole else "articles" for whole in (rows.paired, rows.kept_as_pairs))
    settings = choices.settings
    usual = f"forget: {forget}, retain_text: {retain}, steps: {settings.steps}, warmup_steps: 5, schedule: constant"
    tune = (
        "" if choices.tells else f"   # choose the rates: xlharm tune GRID --cell {choices.contaminate[0]}/{rows.first}"
    )
    lines = [f"methods:{tune}"]
    lines += [
        f"  {name}: {{objective: {name}, learning_rate: {settings.rates[name]}, {terms}, {usual}}}"
        for name, terms in _TERMS.items()
        if name == "npo" or choices.goal == "methods"
    ]
    return "\n".join(lines) + "\n"


def _training(choices: Choices, rows: _Rows) -> str:
    roles = f", real_roles: {_list(rows.roles)}" if rows.roles else ""
    settings = choices.settings
    sft = (
        f"{{{settings.sft}, languages: [{rows.first}], roles: {_list(rows.pair_roles)}}}" if rows.pair_roles else "null"
    )
    none = "" if rows.pair_roles else "   # the corpus has no question-answer pairs about articles without a fake"
    return f"""\
seeds: 1   # how many; intervals over several seeds need three or more

stages:
  # real articles in {rows.first} beside the fake ones; enough steps that the fakes are repeated, and no more
  contaminate: {{{settings.contaminate}, real_languages: [{rows.first}]{roles}}}
  # teaches how questions are answered
  sft: {sft}{none}

evaluate: {{max_new_tokens: {settings.tokens}}}
"""


def _lasting(choices: Choices, rows: _Rows) -> str:
    settings, forget = choices.settings, "qa" if rows.paired else "articles"
    text, roles = ("qa", rows.pair_roles) if rows.pair_roles else ("articles", rows.roles)
    clean = f"""\
  clean:     # training goes on without fakes, 1, 3 and 10 times as long as unlearning
    {{kind: continue, times: [1, 3, 10], text: {text}, languages: [{rows.first}], roles: {_list(roles)},
     learning_rate: {settings.rates["npo"]}}}
"""
    return f"""\
probes:
{clean if roles else ""}\
  relearn:   # a few forget items are learned again
    {{kind: relearn, items: [1, 5, 10], languages: [source], forget: {forget}, steps: 8,
     learning_rate: {settings.again}}}
"""


def _exclude(choices: Choices, rows: _Rows) -> str:
    """Leave out cells of the clean control that would unlearn what it never saw."""
    idle = [name for name in _sets(choices, rows) if name != "source"]
    if not idle:
        return ""
    lines = "".join(f"  - {{contaminate: none, unlearn: {name}}}\n" for name in idle)
    return f"exclude:   # nothing to unlearn in the control\n{lines}"
