"""The corpus folder that is filled: what is in it stays; what is made is added, with a row in its report.

A translation is finished when its line is in LANGUAGE.jsonl. The report says how each was made, or why it was not; a
line without a row is a person's. Files are replaced as a whole, so a half-written one never exists.
"""

import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from xlharm.corpus.folder import language_path
from xlharm.corpus.format import REPORT, Item, load_language, raw_items
from xlharm.corpus.translate.backend import LEFT, Task, Translated
from xlharm.errors import UserError
from xlharm.plan.digest import digest
from xlharm.remote.endpoint import TEMPORARY

_HIDDEN = ".translate"
_SOURCE = "en"
_SAVE_EVERY = 2.0  # seconds between two savings, and at least twenty times as long as one takes
Maker = dict[str, str | int | float]
"""What made a translation: model, revision and the like; no dates."""


class TranslatedRow(BaseModel):
    """What the report says of one item in one language.

    Attributes:
        source: digest of the English item.
        variant: how many attempts at the same, by the same maker, failed before this one.
        chrf: of the back-translation, 0 to 100; None where there is none (``unscored`` says why, if it was tried).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    language: str
    item: str
    status: Literal["made", "failed"]
    problem: str = ""
    reason: str = ""
    warnings: tuple[str, ...] = ()
    chrf: float | None = None
    unscored: str = ""
    maker: Maker
    source: str
    variant: int = 0


class Folder:
    """A corpus folder in the making; one process at a time.

    Args:
        source: the corpus with the English items.
        out: where translations go; may be the same folder.
        languages: that are wanted.

    Raises:
        UserError: no English there, a folder of something else, English that differs, or another process in it.
    """

    def __init__(self, source: Path, out: Path, *, languages: Sequence[str]) -> None:
        if out.exists() and not (out / "corpus.yaml").is_file() and not _empty(out):
            raise UserError(f"{out}: exists and is no corpus")
        if _SOURCE not in _listed(_meta(source)):
            raise UserError(f"{source / 'corpus.yaml'}: languages: no {_SOURCE}: translations are made from English")
        saved = next((lang for lang in languages if (where := language_path(out, lang)) and where.is_dir()), None)
        if saved:
            raise UserError(f"{out / saved}: is a `save_to_disk` folder, to which nothing is added; give another OUT")
        self.path, self.languages = out, tuple(languages)
        self.english = {item.id: item for item in load_language(source, _SOURCE)}
        self.cache = out / _HIDDEN / "chat"
        self._lock = _locked(out / _HIDDEN)
        self._meta = _meta(out if (out / "corpus.yaml").is_file() else source)
        self._lines = {lang: _lines(out, lang) for lang in {*_listed(self._meta), *languages}}
        self._dirty: set[str] = set()
        self._saved, self._pause = time.monotonic(), _SAVE_EVERY
        if out.resolve() != source.resolve():
            self._meta["name"] = out.resolve().name
            self._take_over(source)
        self._rows = {(row.language, row.item): row for row in _rows(out / REPORT) if self._stands(row)}
        self.save()

    def close(self) -> None:
        """Save, and let another process in."""
        self.save()
        self._lock.release()

    def _take_over(self, source: Path) -> None:
        """Add what the source has and this folder lacks."""
        for language in dict.fromkeys((*_listed(_meta(source)), *self.languages)):
            mine, theirs = self._lines.setdefault(language, {}), _lines(source, language)
            for name, line in theirs.items():
                if language == _SOURCE and json.loads(mine.get(name, line)) != json.loads(line):
                    raise UserError(
                        f"{self.path / language}.jsonl: {name}: differs from {source / language}.jsonl: copy that file "
                        f"here, or translate this folder in place (OUT = CORPUS)"
                    )
                if name not in mine:
                    mine[name] = line
                    self._dirty.add(language)

    def _stands(self, row: TranslatedRow) -> bool:
        """Whether a row still says something: its translation is there, or its failure is not filled by a person."""
        there = row.item in self._lines.get(row.language, {})
        return there if row.status == "made" else not there and row.item in self.english

    # -- what is there, and what is missing ------------------------------------------------------------------

    def pending(self, language: str, *, maker: Maker, retry_failed: bool, limit: int | None = None) -> list[Task]:
        """Return what is to be made: not what is there, nor what the same maker failed at for good."""
        tasks = []
        for item in list(self.english.values())[:limit]:
            if item.id in self._lines[language]:
                continue
            row = self._rows.get((language, item.id))
            if row is None or row.maker != maker or row.source != _digest(item):
                tasks.append(Task(item=item))
            elif row.problem in TEMPORARY or retry_failed:
                tasks.append(Task(item=item, variant=row.variant + (row.problem not in TEMPORARY)))
        return tasks

    def unscored(self, language: str, *, retry_failed: bool) -> list[Item]:
        """Return the translations made here that have no chrF yet."""
        wanted = {
            row.item
            for row in self.rows(language, "made")
            if row.chrf is None and (not row.unscored or row.unscored in TEMPORARY or retry_failed)
        }
        return [self._item(language, name) for name in self._lines[language] if name in wanted & self.english.keys()]

    def rows(self, language: str, status: str) -> list[TranslatedRow]:
        """Return the report's rows of a language, in the order of the English items."""
        found = [self._rows.get((language, name)) for name in self.english]
        return [row for row in found if row is not None and row.status == status]

    def count(self, language: str) -> int:
        """Return how many items a language has."""
        return len(self._lines[language])

    def stale(self, language: str) -> list[str]:
        """Return the items whose English has changed since they were made."""
        return [row.item for row in self.rows(language, "made") if row.source != _digest(self.english[row.item])]

    def _item(self, language: str, name: str) -> Item:
        try:
            return Item.model_validate_json(self._lines[language][name])
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = f"{self.path / language}.jsonl: {name}: {'.'.join(map(str, first['loc']))}"
            raise UserError(f"{where}: {first['msg']}") from None

    # -- what is added ---------------------------------------------------------------------------------------

    def add(self, language: str, outcome: Translated, *, maker: Maker, variant: int) -> None:
        """Take in what came of an item."""
        item = outcome.item
        row = TranslatedRow(
            language=language, item=outcome.id, status="failed" if item is None else "made", problem=outcome.problem,
            reason=outcome.reason, warnings=outcome.warnings, maker=maker, variant=variant,
            source=_digest(self.english[outcome.id]),
        )  # fmt: skip
        if item is not None:
            told = item.model_dump(mode="json", exclude_defaults=True)
            self._lines[language][item.id] = json.dumps(told, ensure_ascii=False)
            self._dirty.add(language)
        self._set(row)

    def score(self, language: str, name: str, *, chrf: float | None, problem: str = "") -> None:
        """Take in the score of a back-translation, or why there is none."""
        row = self._rows[language, name]
        self._set(TranslatedRow.model_validate({**row.model_dump(), "chrf": chrf, "unscored": problem}))

    def _set(self, row: TranslatedRow) -> None:
        self._rows[row.language, row.item] = row
        if time.monotonic() - self._saved >= self._pause:
            self.save()

    def save(self) -> None:
        """Write what has changed: the report first, so that no translation is taken for a person's."""
        began = time.monotonic()
        order = {name: i for i, name in enumerate(self.english)}
        rows = sorted(self._rows.values(), key=lambda row: (row.language, order.get(row.item, len(order))))
        if rows:
            self._write(REPORT, (row.model_dump_json(exclude_defaults=True) for row in rows))
        for language in sorted(self._dirty):
            lines = self._lines[language]
            self._write(f"{language}.jsonl", (lines[n] for n in sorted(lines, key=lambda n: order.get(n, len(order)))))
        self._dirty.clear()
        self._note()
        self._saved = time.monotonic()
        self._pause = max(_SAVE_EVERY, 20 * (self._saved - began))

    def _note(self) -> None:
        """Write corpus.yaml: the languages that have an item, and how their translations were made."""
        fresh = [x for x in self.languages if x not in _listed(self._meta) and self._lines[x]]
        self._meta["languages"].extend(fresh)
        notes = {lang: made for lang in _listed(self._meta) if (made := self._makers(lang))}
        where = self.path / "corpus.yaml"
        if where.is_file() and not fresh and notes == (self._meta.get("translations") or {}):
            return  # a person's file stays as it was written
        self._meta["translations"] = notes
        scratch = self.path / _HIDDEN / "corpus.yaml"
        _yaml().dump(self._meta, scratch)
        scratch.replace(where)

    def _makers(self, language: str) -> list[dict[str, Any]]:
        counted: dict[str, int] = {}
        for (lang, _), row in self._rows.items():
            if lang == language and row.status == "made":
                told = json.dumps(row.maker, sort_keys=True)
                counted[told] = counted.get(told, 0) + 1
        return [{**json.loads(told), "items": counted[told]} for told in sorted(counted)]

    def _write(self, name: str, lines: Iterable[str]) -> None:
        scratch = self.path / _HIDDEN / name
        with scratch.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self.path / name)


def _digest(item: Item) -> str:
    return digest(item.model_dump(mode="json", exclude={"id", *LEFT}, exclude_defaults=True))[:16]


def _empty(folder: Path) -> bool:
    return folder.is_dir() and all(path.name == _HIDDEN for path in folder.iterdir())


def _locked(hidden: Path) -> FileLock:
    hidden.mkdir(parents=True, exist_ok=True)
    (hidden / ".gitignore").write_text("*\n")
    lock = FileLock(hidden / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{hidden.parent}: another `xlharm data translate` is writing there") from None
    return lock


def _yaml() -> YAML:
    yaml = YAML()  # keeps people's comments
    yaml.default_flow_style = False
    yaml.width = 120
    return yaml


def _meta(folder: Path) -> Any:
    where = folder / "corpus.yaml"
    try:
        meta = _yaml().load(where.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise UserError(f"{where}: cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(meta, dict) or not isinstance(meta.get("languages"), list):
        raise UserError(f"{where}: languages: expected a list of language codes")
    return meta


def _listed(meta: Any) -> list[str]:
    return [str(language) for language in meta["languages"]]


def _lines(folder: Path, language: str) -> dict[str, str]:
    """Read a language's lines by id, as they stand; no file is no lines."""
    path = language_path(folder, language)
    if path is None:
        return {}
    raw = [row for _, row in raw_items(path)]
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in raw]
    try:
        found = {str(json.loads(line)["id"]): line for line in lines}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read: {error!r}") from None
    if len(found) < len(lines):
        raise UserError(f"{path}: id: an id is used twice")
    return found


def _rows(path: Path) -> list[TranslatedRow]:
    if not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        return [TranslatedRow.model_validate_json(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {str(error).splitlines()[0]}; move it away to begin anew") from None
