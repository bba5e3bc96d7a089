"""Writes a corpus folder from a source."""

import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

from xlharm.data.corpus import Item
from xlharm.data.importing.mapping import Mapping, complete, load_mapping
from xlharm.data.importing.rows import MAKERS, LeftOutError
from xlharm.data.importing.sources import Part, Source, read_source
from xlharm.errors import UserError


@dataclass(frozen=True)
class Imported:
    """What an import wrote.

    Attributes:
        items: number of items by language.
        skipped: number of rows left out by reason.
    """

    items: dict[str, int]
    skipped: dict[str, int]


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
    read = read_source(source, splits=splits, language=language, revision=revision)
    chosen = complete(load_mapping(mapping), columns=_columns(read), where=source)
    items: dict[str, dict[str, Item]] = {}
    skipped: Counter[str] = Counter()
    for part in read.parts:
        _add(part, mapping=chosen, items=items, skipped=skipped)
    items = {lang: found for lang, found in items.items() if found}
    if not items:
        reason = skipped.most_common(1)[0][0] if skipped else "it is empty"
        raise UserError(f"{source}: no row can be used: {reason}")
    if not any(item.role == "fake" for found in items.values() for item in found.values()):
        names = ", ".join(dict.fromkeys(part.split for part in read.parts))
        raise UserError(
            f"{source}: no row is to be forgotten: say which split is, in a mapping file (roles: {{SPLIT: fake}}), "
            f"or take one whose name begins with forget; splits found: {names}"
        )
    meta = {
        "name": out.resolve().name,
        "version": 1,
        "languages": list(items),
        "licence": chosen.licence,
        "source": source,
        **({"revision": read.revision} if read.revision else {}),
        "form": chosen.form,
        "columns": dict(chosen.columns),
    }
    _write(out, items=items, meta=meta)
    return Imported({lang: len(found) for lang, found in items.items()}, dict(skipped))


def _columns(read: Source) -> list[str]:
    """List columns, those of nested objects with a dot."""
    found: dict[str, None] = {}
    for part in read.parts:
        for row in part.rows[:100]:
            for name, value in row.items():
                found[str(name)] = None
                if isinstance(value, dict):
                    found.update(dict.fromkeys(f"{name}.{inner}" for inner in value))
    return list(found)


def _add(part: Part, *, mapping: Mapping, items: dict[str, dict[str, Item]], skipped: Counter[str]) -> None:
    assert mapping.form is not None
    for number, row in enumerate(part.rows):
        fields = {field: _cell(row, column) for field, column in mapping.columns.items()}
        language = str(fields.get("language") or part.language).lower()
        given = fields.get("id")
        # an id is shared by all languages, so it may depend on the row's place in its split alone
        name = str(given) if given not in {None, ""} else "-".join(filter(None, (part.split, f"{number:05d}")))
        role = str(fields.get("role") or mapping.roles.get(part.split, ""))
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


def _cell(row: dict[str, Any], column: str) -> Any:
    if column in row:
        return row[column]
    name, _, inner = column.partition(".")
    value = row.get(name)
    return value.get(inner) if isinstance(value, dict) else None


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
        made.replace(out)
