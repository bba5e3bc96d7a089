"""Writes a corpus folder from a source."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

from xlharm.corpus.folder import SCHEMA
from xlharm.corpus.format import Item
from xlharm.corpus.importing.grid import first_grid
from xlharm.corpus.importing.mapping import Mapping, complete, load_mapping
from xlharm.corpus.importing.rows import MAKERS, LeftOutError
from xlharm.corpus.importing.sources import LANGUAGE, Part, Source, read_source
from xlharm.errors import UserError

_HELD = (
    "no column answers QR questions (qr_answer): the last question-answer pair of each row is asked as its QR question "
    "and not trained"
)


@dataclass(frozen=True)
class Imported:
    """What an import wrote.

    Attributes:
        items: number of items by language.
        skipped: number of rows left out by reason.
        note: what was done that nobody asked for.
    """

    items: dict[str, int]
    skipped: dict[str, int]
    note: str = ""


def import_corpus(
    source: str,
    *,
    out: Path,
    mapping: Path | None = None,
    splits: tuple[str, ...] = (),
    language: str = "en",
    revision: str | None = None,
) -> Imported:
    """Make a corpus folder from a hub data set (``hf://org/name``), file or folder.

    Args:
        source: where the rows are; a folder of per-language files or folders makes a parallel corpus.
        out: new folder.
        mapping: mapping file; without one columns are guessed by their names.
        splits: splits or hub configurations to take; all where empty.
        language: of rows whose source does not say it.
        revision: commit of a hub data set; the newest is looked up where None, and noted in corpus.yaml.

    Raises:
        UserError: the source or mapping is unusable, no row is, or ``out`` is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists and is not empty")
    given = load_mapping(mapping)
    read = read_source(source, splits=splits, language=language, revision=revision, known=tuple(given.languages))
    chosen = complete(given, columns=_columns(read), where=source)
    items: dict[str, dict[str, Item]] = {}
    skipped: Counter[str] = Counter()
    for part in read.parts:
        _add(part, mapping=chosen, items=items, skipped=skipped)
    items = {lang: found for lang, found in items.items() if found}
    if not items:
        reason = skipped.most_common(1)[0][0] if skipped else "it is empty"
        raise UserError(f"{source}: no row can be used: {reason}")
    if not any(item.role == "fake" for found in items.values() for item in found.values()):
        names = ", ".join(dict.fromkeys(part.split for part in read.parts if part.split))
        raise UserError(
            f"{source}: no row is to be forgotten: say which split is, in a mapping file (roles: {{SPLIT: fake}}), "
            "take one whose name begins with forget, or give the rows a column `role` (fake, real, retain); "
            f"splits found: {names or 'none'}"
        )
    meta = {
        "name": out.resolve().name,
        "version": 1,
        "schema": SCHEMA,
        "languages": list(items),
        "licence": chosen.licence,
        "source": source,
        **({"revision": read.revision} if read.revision else {}),
        "form": chosen.form,
        "columns": dict(chosen.columns),
    }
    _write(out, items=items, meta=meta)
    held = chosen.form == "news" and "qr_answer" not in chosen.columns and "qa" in chosen.columns
    return Imported({lang: len(found) for lang, found in items.items()}, dict(skipped), note=_HELD if held else "")


def _columns(read: Source) -> list[str]:
    """List columns, those of nested objects with a dot."""
    rows = (row for part in read.parts for row in part.rows[:100])
    return list(dict.fromkeys(name for row in rows for name in _names(row)))


def _names(row: dict[str, Any], within: str = "") -> Iterator[str]:
    for name, value in row.items():
        yield f"{within}{name}"
        if isinstance(value, dict):
            yield from _names(value, f"{within}{name}.")


def _add(part: Part, *, mapping: Mapping, items: dict[str, dict[str, Item]], skipped: Counter[str]) -> None:
    assert mapping.form is not None
    for number, row in enumerate(part.rows):
        fields = {field: _cell(row, column) for field, column in mapping.columns.items()}
        language = _language(str(fields.get("language") or part.language), mapping)
        given = fields.get("id")
        # an id is shared by all languages, so it may depend on the row's place in its split alone
        name = str(given) if given not in {None, ""} else "-".join(filter(None, (part.split, f"{number:05d}")))
        role = str(fields.get("role") or part.split)
        role = mapping.roles.get(role, role if fields.get("role") else "")
        found = items.setdefault(language, {})
        try:
            if name in found:
                raise LeftOutError("its id is used by another row of the language")
            found[name] = MAKERS[mapping.form](
                fields, name=name, role=role, split=part.split, language=language, mapping=mapping
            )
        except LeftOutError as reason:
            skipped[str(reason)] += 1
        except IndexError:
            skipped["a needed field is empty"] += 1
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            skipped[f"{'.'.join(map(str, first['loc'])) or 'item'}: {first['msg']}"] += 1


def _language(name: str, mapping: Mapping) -> str:
    code = mapping.languages.get(name, name.lower())
    if not LANGUAGE.fullmatch(code):
        raise UserError(
            f"language: {name!r} is not a language code such as de; say in a mapping file which it is "
            f"(languages: {{{name}: CODE}})"
        )
    return code


def _cell(row: dict[str, Any], column: str) -> Any:
    if column in row:
        return row[column]
    name, _, inner = column.partition(".")
    value = row.get(name)
    return _cell(value, inner) if inner and isinstance(value, dict) else None


def _write(out: Path, *, items: dict[str, dict[str, Item]], meta: dict[str, Any]) -> None:
    """Write beside and rename: a half-written corpus never exists."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        made = Path(scratch) / "corpus"
        made.mkdir()
        for language, found in items.items():
            lines = (
                json.dumps(x.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False) for x in found.values()
            )
            (made / f"{language}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        YAML(typ="safe", pure=True).dump(meta, made / "corpus.yaml")
        grid = first_grid({language: list(found.values()) for language, found in items.items()}, corpus=out.resolve())
        (made / "grid.yaml").write_text(grid, encoding="utf-8")
        made.replace(out)
