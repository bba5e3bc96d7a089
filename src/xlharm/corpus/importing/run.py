"""Writes a corpus folder from a source."""

import errno
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

from xlharm.config.schema import write_schema
from xlharm.corpus.folder import SCHEMA
from xlharm.corpus.format import Item
from xlharm.corpus.importing.account import Imported, LeftOut
from xlharm.corpus.importing.grid import NAME, first_grid
from xlharm.corpus.importing.joining import with_perturbed
from xlharm.corpus.importing.layout import LANGUAGE, is_tofu, names_roles
from xlharm.corpus.importing.mapping import Mapping, Stated, complete, load_mapping
from xlharm.corpus.importing.rows import MAKERS, asked_and_answered, is_number
from xlharm.corpus.importing.shown import ask_for_verdicts, ask_which_is_fake, understood
from xlharm.corpus.importing.sources import Part, Source, read_source
from xlharm.corpus.importing.values import LeftOutError, text_of
from xlharm.errors import UserError
from xlharm.visible import visible

_HELD = (
    "no column answers QR questions (qr_answer): the last question-answer pair of each row is asked as its QR question "
    "and not trained"
)
_FIRST_WRONG = "of several perturbed answers the first is trained as the fake"


@dataclass
class _Corpus:
    """Items made so far, and the account of all rows.

    Attributes:
        mapping: complete.
        roles_open: no split, column or mapping says which rows are forgotten.
        items: by language and id.
        left_out: rows left out.
        joined: rows that gave their perturbed answers to an item's row.
    """

    mapping: Mapping
    roles_open: bool
    items: dict[str, dict[str, Item]] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=LeftOut)
    joined: int = 0


def import_corpus(
    source: str,
    *,
    out: Path,
    mapping: Path | None = None,
    splits: tuple[str, ...] = (),
    language: str | None = None,
    revision: str | None = None,
    fake: Stated | None = None,
) -> Imported:
    """Make a corpus folder from a hub data set (``hf://org/name``), file or folder.

    Args:
        source: where the rows are; a folder of per-language files or folders makes a parallel corpus.
        out: new folder.
        mapping: mapping file; without one columns are guessed by their names.
        splits: splits or hub configurations to take; all where empty.
        language: of rows whose source does not say it; English where None.
        revision: commit of a hub data set; the newest is looked up where None, and noted in corpus.yaml.
        fake: which column of a question-answer row states the fake; goes before the mapping file's.

    Raises:
        UserError: the source or mapping is unusable, no row is, it is open what states the fake or what a number as a
            verdict means, or ``out`` is not empty.
    """
    _check_out(out)
    given = load_mapping(mapping)
    given = given.model_copy(update={"fake": fake}) if fake else given
    source_read = read_source(source, splits=splits, language=language, revision=revision, known=tuple(given.languages))
    parts, read = source_read.parts, sum(part.read for part in source_read.parts)
    if not any(part.rows for part in parts):
        raise UserError(f"{source}: no row can be used: {_why(parts)}")
    chosen = complete(given, columns=_columns(source_read), where=source)
    if chosen.form == "qa":
        parts = with_perturbed(parts, question=chosen.columns["question"])
    roles_said = names_roles(part.split for part in parts) or "role" in chosen.columns or chosen.roles
    corpus = _Corpus(chosen, roles_open=not roles_said)
    _check_languages(parts, chosen, where=source)
    _check_verdicts(parts, chosen, where=source)
    _check_fake(parts, corpus, where=source)
    for part in parts:
        _add(part, corpus)
    items = {lang: list(by_id.values()) for lang, by_id in corpus.items.items()}
    used = {lang: of_lang for lang, of_lang in items.items() if of_lang}
    _check_usable(used, corpus.left_out, form=chosen.form, parts=parts, where=source)
    _write(out, items=used, meta=_meta(out, used, source=source, revision=source_read.revision, mapping=chosen))
    return Imported(
        items={lang: len(of_lang) for lang, of_lang in items.items()},
        read=read,
        joined=corpus.joined,
        left_out=corpus.left_out,
        notes=_notes(corpus.mapping, parts),
        example=understood(used, otherwise=_otherwise(chosen)),
    )


def _check_out(out: Path) -> None:
    if visible(str(out)) != str(out):
        raise UserError(f"{out}: expected a name without control characters, in UTF-8")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists and is not empty")


def _columns(read: Source) -> list[str]:
    """List columns, those of nested objects with a dot."""
    return list(dict.fromkeys(name for part in read.parts for row in part.rows for name in _names(row)))


def _names(row: dict[str, Any], within: str = "") -> Iterator[str]:
    for name, value in row.items():
        yield f"{within}{name}"
        if isinstance(value, dict):
            yield from _names(value, f"{within}{name}.")


def _why(parts: Sequence[Part]) -> str:
    return next((reason for part in parts for reason, _ in part.left_out), "it is empty")


def _fields(row: dict[str, Any], mapping: Mapping) -> dict[str, Any]:
    return {name: _cell(row, column) for name, column in mapping.columns.items()}


def _cell(row: dict[str, Any], column: str) -> Any:
    if column in row:
        return row[column]
    name, _, inner = column.partition(".")
    value = row.get(name)
    return _cell(value, inner) if inner and isinstance(value, dict) else None


def _rows(parts: Sequence[Part], mapping: Mapping) -> Iterator[tuple[Part, dict[str, Any]]]:
    yield from ((part, _fields(row, mapping)) for part in parts for row in part.rows)


def _quiet(value: Any) -> str:
    """Return a cell's text; nothing where the row will be left out because of it."""
    try:
        return text_of(value)
    except LeftOutError:
        return ""


def _check_languages(parts: Sequence[Part], mapping: Mapping, *, where: str) -> None:
    """Refuse names of languages that are no codes; all of them are listed."""
    column = mapping.columns.get("language")
    cells = {_quiet(_cell(row, column)) for part in parts for row in part.rows} if column else set()
    names = dict.fromkeys([*(part.language for part in parts if part.rows), *sorted(filter(None, cells))])
    wrong = [name for name in names if not LANGUAGE.fullmatch(_code(name, mapping))]
    if wrong:
        shown = ", ".join(map(repr, wrong[:20])) + (f" and {len(wrong) - 20} more" if len(wrong) > 20 else "")
        raise UserError(
            f"{where}: language: {shown}: expected a language code such as de; say in a mapping file which it is "
            f"(languages: {{{wrong[0]}: CODE}})"
        )


def _code(name: str, mapping: Mapping) -> str:
    return mapping.languages.get(name, name.lower())


def _check_verdicts(parts: Sequence[Part], mapping: Mapping, *, where: str) -> None:
    if mapping.form != "claims" or mapping.verdicts:
        return
    verdicts = Counter(_quiet(fields["verdict"]) for _, fields in _rows(parts, mapping))
    numbers = Counter({verdict: count for verdict, count in verdicts.items() if is_number(verdict)})
    if numbers:
        raise ask_for_verdicts(numbers, column=mapping.columns["verdict"], where=where)


def _check_fake(parts: Sequence[Part], corpus: _Corpus, *, where: str) -> None:
    """Ask which column states the fake, unless it is said or the splits are TOFU's."""
    if corpus.mapping.form != "qa" or corpus.mapping.fake:
        return
    for part, fields in _rows(parts, corpus.mapping):
        if is_tofu(part.split):
            continue
        try:
            role = _role(fields, part.split, corpus)
            question, answer, wrong = asked_and_answered(fields)
        except LeftOutError:
            continue
        if wrong and (role == "fake" or corpus.roles_open):
            raise ask_which_is_fake(question, answer, wrong[0], where=where)


def _role(fields: dict[str, Any], split: str, corpus: _Corpus) -> str:
    """Return a row's role; empty where its form says it."""
    mapping, given = corpus.mapping, text_of(fields.get("role"))
    if (name := given or split) in mapping.roles:
        return mapping.roles[name]
    if given or mapping.form in {"news", "claims"}:
        return given
    if mapping.form == "qa" and mapping.fake and corpus.roles_open:
        return "fake" if asked_and_answered(fields)[2] else "retain"
    return "fake" if split.startswith("forget") else "retain"


def _add(part: Part, corpus: _Corpus) -> None:
    corpus.left_out.update(part.left_out)
    corpus.items.setdefault(_code(part.language, corpus.mapping), {})
    for number, row in enumerate(part.rows):
        try:
            _add_row(row, part, number=number, corpus=corpus)
            corpus.joined += number in part.joined
        except LeftOutError as error:
            where = ": ".join(filter(None, (part.language, part.split, f"row {number + 1}")))
            corpus.left_out.add(str(error), where=where)
            if number in part.joined:
                corpus.left_out.add("perturbed answers of a row that is left out", where=where)


def _add_row(row: dict[str, Any], part: Part, *, number: int, corpus: _Corpus) -> None:
    """Make an item of a row.

    Raises:
        LeftOutError: the row cannot be used.
    """
    mapping, fields = corpus.mapping, _fields(row, corpus.mapping)
    assert mapping.form is not None
    language = _code(text_of(fields.get("language")) or part.language, mapping)
    # an id is shared by all languages, so it may depend on the row's place in its split alone
    name = text_of(fields.get("id")) or "-".join(filter(None, (part.split, f"{number:05d}")))
    by_id = corpus.items.setdefault(language, {})
    if name in by_id:
        raise LeftOutError("its id is used by another row of the language")
    try:
        role = _role(fields, part.split, corpus)
        by_id[name] = MAKERS[mapping.form](fields, name=name, role=role, language=language, mapping=mapping)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
        raise LeftOutError(f"{place or 'item'}: {first['msg']}") from None


def _check_usable(
    items: dict[str, list[Item]], left_out: LeftOut, *, form: str | None, parts: Sequence[Part], where: str
) -> None:
    reasons = "; ".join(f"{reason.count} rows: {name}" for name, reason in list(left_out)[:3])
    if not items:
        raise UserError(f"{where}: no row can be used: {reasons or 'it is empty'}")
    if any(item.role == "fake" for of_lang in items.values() for item in of_lang):
        return
    names = ", ".join(dict.fromkeys(part.split for part in parts if part.split)) or "none"
    left = f" (left out: {reasons})" if reasons else ""
    if form == "text":
        left = " (rows of a text alone lack real, fake, fake_detail and of)"
    raise UserError(
        f"{where}: no row is to be forgotten{left}: such a row needs a fake and the truth in its place; say which "
        "split has them, in a mapping file (roles: {SPLIT: fake}), take one whose name begins with forget, or give "
        f"rows a column `role` (fake, real, retain); splits found: {names}"
    )


def _notes(mapping: Mapping, parts: Sequence[Part]) -> tuple[str, ...]:
    notes = []
    if mapping.form == "news" and "qr_answer" not in mapping.columns and "qa" in mapping.columns:
        notes.append(_HELD)
    if mapping.form == "qa" and mapping.fake == "perturbed_answer":
        column = mapping.columns.get("perturbed_answer", "")
        wrong = (_cell(row, column) for part in parts for row in part.rows)
        if "choices" in mapping.columns or any(isinstance(value, list) and len(value) > 1 for value in wrong):
            notes.append(_FIRST_WRONG)
    return tuple(notes)


def _otherwise(mapping: Mapping) -> str:
    if mapping.form == "qa":
        return "--fake answer" if mapping.fake == "perturbed_answer" else "--fake perturbed_answer"
    return "--mapping FILE (verdicts)" if mapping.form == "claims" else "--mapping FILE (columns)"


def _meta(
    out: Path, items: dict[str, list[Item]], *, source: str, revision: str | None, mapping: Mapping
) -> dict[str, Any]:
    return {
        "name": out.resolve().name,
        "version": 1,
        "schema": SCHEMA,
        "languages": list(items),
        "licence": mapping.licence,
        "source": visible(source),
        **({"revision": revision} if revision else {}),
        "form": mapping.form,
        **({"harm": "claims"} if mapping.form == "claims" else {}),
        "columns": dict(mapping.columns),
        **({"fake": mapping.fake} if mapping.fake else {}),
    }


def _write(out: Path, *, items: dict[str, list[Item]], meta: dict[str, Any]) -> None:
    """Write beside and rename: a half-written corpus never exists."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name[:40]}-") as scratch:
            made = Path(scratch) / "corpus"
            made.mkdir()
            for language, of_lang in items.items():
                dumped = (item.model_dump(mode="json", exclude_defaults=True) for item in of_lang)
                lines = [json.dumps(item, ensure_ascii=False) for item in dumped]
                (made / f"{language}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
            YAML(typ="safe", pure=True).dump(meta, made / "corpus.yaml")
            (made / NAME).write_text(first_grid(items, folder=out.resolve().name), encoding="utf-8")
            write_schema(made)
            made.replace(out)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from None
