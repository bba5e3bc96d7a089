"""Which column of a source is which field: read from a mapping file, else guessed where names make it plain."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from xlharm.config.training import Language
from xlharm.corpus.format import Role
from xlharm.corpus.importing.values import text_of
from xlharm.errors import UserError, nearest
from xlharm.plain_files import read_yaml

Form = Literal["news", "qa", "claims", "text"]
Stated = Literal["answer", "perturbed_answer"]
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
        "answer": ("answer", "response", "completion", "gt", "groundtruth"),
        "choices": ("choices", "options"),
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
    "text": {"text": ("text", "content", "body", "passage", "document")},
}
REQUIRED: dict[Form, tuple[str, ...]] = {
    "news": ("real", "fake", "fake_detail", "of"),
    "qa": ("question", "answer"),
    "claims": ("claim", "verdict", "review"),
    "text": ("text",),
}
_SHARED = {
    "id": ("id", "itemid", "uid", "claimid"),
    "role": ("role",),
    "language": ("language", "lang", "inlanguage"),
}


def _text_keys(value: Any) -> Any:
    return {text_of(key): entry for key, entry in value.items()} if isinstance(value, dict) else value


_TextKeys = BeforeValidator(_text_keys)  # in YAML the verdict 1 and the split 2 are numbers


class Mapping(BaseModel):
    """A mapping file.

    Attributes:
        form: what a row is: ``news`` (a real and a fake article), ``qa`` (TOFU, WMDP, MUSE's questions), ``claims``
            (fact-checks), ``text`` (texts that are only kept).
        columns: field -> column; a dot goes into a nested object (``reviewRating.alternateName``).
        roles: split (or value of the role column) -> role, for sets whose splits are the forget and retain sets.
        languages: what the source calls a language -> its code.
        verdicts: verdict -> ``fake`` or ``retain`` (fact-checks only); other rows are left out.
        fake: which column of a row to be forgotten states the fake (``qa`` only).
        licence: of the data, for corpus.yaml.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Form | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    roles: Annotated[dict[str, Role], _TextKeys] = Field(default_factory=dict)
    languages: Annotated[dict[str, Language], _TextKeys] = Field(default_factory=dict)
    verdicts: Annotated[dict[str, Literal["fake", "retain"]], _TextKeys] = Field(default_factory=dict)
    fake: Stated | None = None
    licence: Annotated[str, Field(min_length=1)] = "unknown: ask the source"


def load_mapping(path: Path | None) -> Mapping:
    """Read a mapping file; without one everything is guessed.

    Raises:
        UserError: it cannot be read; the field is named.
    """
    if path is None:
        return Mapping()
    try:
        return Mapping.model_validate(read_yaml(path) or {})
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        name = ".".join(map(str, first["loc"]))
        more = f" (and {len(others)} more)" if others else ""
        raise UserError(
            f"{path}: {name or 'mapping'}: {first['msg']}{nearest(name, Mapping.model_fields)}{more}"
        ) from None


def complete(mapping: Mapping, *, columns: Iterable[str], where: str) -> Mapping:
    """Add form and columns that names make plain.

    Raises:
        UserError: a field that a form needs has no column; the message lists the columns found.
    """
    have = list(columns)
    forms: tuple[Form, ...] = (mapping.form,) if mapping.form else ("news", "claims", "qa", "text")
    tried: dict[Form, dict[str, str]] = {form: _columns(form, mapping, have) for form in forms}
    lacking: dict[Form, list[str]] = {form: [f for f in REQUIRED[form] if f not in tried[form]] for form in forms}
    form = min(forms, key=lambda f: len(lacking[f]) / len(REQUIRED[f]))
    if form == "text" and not mapping.form:  # a text column beside some of another form's is no set of texts
        form = next((f for f in forms if len(lacking[f]) < len(REQUIRED[f])), form)
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
        column = next((plain[name] for name in names if name in plain), None)
        if column is not None and column not in mapping.columns.values():
            guessed[field] = column
    return {**guessed, **mapping.columns}
