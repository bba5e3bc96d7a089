"""Which column of a source is which field: read from a mapping file, else guessed where names make it plain."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from xlharm.config.training import Language
from xlharm.corpus.format import Role
from xlharm.errors import UserError, nearest

Form = Literal["news", "qa", "claims"]
# field -> names that mean it plainly, best first; compared in lower case without separators
FIELDS: dict[Form, dict[str, tuple[str, ...]]] = {
    "news": {
        "real": ("real", "realarticle", "realnews", "truearticle", "truenews", "article", "news", "original"),
        "fake": ("fake", "fakearticle", "fakenews", "falsearticle", "falsenews"),
        "fake_detail": ("fakedetail", "fakekeyword", "fakekeywords", "keyword", "fakeword", "fakeinfo"),
        "of": ("of", "ofquestion", "fakequestion", "questionfake"),
        "real_detail": ("realdetail", "realkeyword", "truekeyword"),
        "qr": ("qr", "qrquestion", "realquestion", "questionreal"),
        "qr_answer": ("qranswer", "qrreference", "realanswer", "referenceanswer"),
        "qa": ("qa", "qas", "qapairs", "questionsanswers", "questionsandanswers"),
    },
    "qa": {
        "question": ("question", "prompt", "query"),
        "answer": ("answer", "response", "completion"),
        "perturbed_answer": ("perturbedanswer", "perturbedanswers"),
        "paraphrased_answer": ("paraphrasedanswer", "paraphrasedanswers"),
        "paraphrased_question": ("paraphrasedquestion",),
        "detail": ("detail", "keyword"),
    },
    "claims": {
        "claim": ("claim", "claimreviewed", "claimtext", "statement"),
        "verdict": ("verdict", "label", "rating", "reviewrating.alternatename", "textualrating"),
        "review": ("review", "reviewbody", "reviewtext", "articlebody", "evidence", "evidence1", "factchecktext"),
        "of": ("of", "question"),
        "detail": ("detail", "fakedetail"),
    },
}
REQUIRED: dict[Form, tuple[str, ...]] = {
    "news": ("real", "fake", "fake_detail", "of"),
    "qa": ("question", "answer"),
    "claims": ("claim", "verdict", "review"),
}
_SHARED = {
    "id": ("id", "itemid", "uid", "claimid"),
    "role": ("role",),
    "language": ("language", "lang", "inlanguage"),
}


class Mapping(BaseModel):
    """A mapping file.

    Attributes:
        form: what a row is: ``news`` (a real and a fake article), ``qa`` (TOFU), ``claims`` (fact-checks).
        columns: field -> column; a dot goes into a nested object (``reviewRating.alternateName``).
        roles: split (or value of the role column) -> role, for sets whose splits are the forget and retain sets.
        languages: what the source calls a language -> its code.
        verdicts: verdict -> ``fake`` or ``retain`` (fact-checks only); other rows are left out.
        licence: of the data, for corpus.yaml.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Form | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    roles: dict[str, Role] = Field(default_factory=dict)
    languages: dict[str, Language] = Field(default_factory=dict)
    verdicts: dict[str, Literal["fake", "retain"]] = Field(default_factory=dict)
    licence: Annotated[str, Field(min_length=1)] = "unknown: ask the source"


def load_mapping(path: Path | None) -> Mapping:
    """Read a mapping file; without one everything is guessed.

    Raises:
        UserError: it cannot be read; the field is named.
    """
    if path is None:
        return Mapping()
    try:
        raw: Any = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        return Mapping.model_validate(raw or {})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {name}: {first['msg']}{nearest(name, Mapping.model_fields)}") from None
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise UserError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None


def complete(mapping: Mapping, *, columns: Iterable[str], where: str) -> Mapping:
    """Add form and columns that names make plain.

    Raises:
        UserError: a field that a form needs has no column; the message lists the columns found.
    """
    have = list(columns)
    forms: tuple[Form, ...] = (mapping.form,) if mapping.form else ("news", "claims", "qa")
    tried: dict[Form, dict[str, str]] = {form: _columns(form, mapping, have) for form in forms}
    lacking: dict[Form, list[str]] = {form: [f for f in REQUIRED[form] if f not in tried[form]] for form in forms}
    form = min(forms, key=lambda f: len(lacking[f]) / len(REQUIRED[f]))
    for field, column in mapping.columns.items():
        fields = [*FIELDS[form], *_SHARED]
        if field not in fields:
            raise UserError(f"columns.{field}: form {form} has no such field{nearest(field, fields)}")
        if column not in have:
            raise UserError(f"columns.{field}: {where} has no column {column!r}{nearest(column, have)}")
    if lacking[form]:
        raise UserError(
            f"{where}: no column for {', '.join(lacking[form])} (read as form {form}); columns found: "
            f"{', '.join(have)}; say which is which with --mapping FILE (columns: {{{lacking[form][0]}: COLUMN}})"
        )
    return mapping.model_copy(update={"form": form, "columns": tried[form]})  # values are checked above


def _columns(form: Form, mapping: Mapping, have: list[str]) -> dict[str, str]:
    plain = {re.sub(r"[\s_-]", "", name.lower()): name for name in reversed(have)}
    guessed = {}
    for field, names in {**FIELDS[form], **_SHARED}.items():
        found = next((plain[name] for name in names if name in plain), None)
        if found is not None and found not in mapping.columns.values():
            guessed[field] = found
    return {**guessed, **mapping.columns}
