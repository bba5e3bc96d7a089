"""The corpus folder that translations are added to. Existing items are never changed.

A translation is finished when its line is in LANGUAGE.jsonl. The report has a row for each translation: how it was
made, or why it failed. An item without a row was written by a person. Files are replaced as a whole, so no file is ever
half-written.
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
from xlharm.corpus.importing.grid import NAME as GRID
from xlharm.corpus.importing.grid import grid_as_written, write_grid
from xlharm.corpus.translate.backend import LEFT, TranslationOutcome, TranslationTask
from xlharm.errors import UserError
from xlharm.plan.digest import digest
from xlharm.remote.endpoint import TEMPORARY

_HIDDEN = ".translate"
_SOURCE = "en"
_SAVE_EVERY = 2.0  # fewest seconds between two saves; at least twenty times as long as a save takes
Maker = dict[str, str | int | float]
"""How a translation was made: model, revision and settings, but no dates."""


class ReportRow(BaseModel):
    """The report's row for one item in one language.

    Attributes:
        language: language of the translation.
        item: id of the item.
        status: ``made`` or ``failed``.
        problem: one word for a failure; see ``TranslationOutcome``.
        reason: the failure, for people.
        warnings: findings about a translation that was accepted.
        chrf: chrF of the back-translation, 0 to 100; None if there is none.
        unscored: why back-translation failed, in one word; empty if it was not tried.
        maker: model and settings.
        source: digest of the English item.
        variant: number of earlier attempts by the same maker that failed.
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
    """A corpus folder that translations are added to, locked for one process.

    Args:
        source: the corpus with the English items.
        out: the folder to fill; may be the same folder.
        languages: languages to fill.

    Raises:
        UserError: ``source`` has no English items, ``out`` is not a corpus folder or has other English items, or
            another process is translating into it.
    """

    def __init__(self, source: Path, out: Path, *, languages: Sequence[str]) -> None:
        if out.exists() and not (out / "corpus.yaml").is_file() and not _empty(out):
            raise UserError(f"{out}: the folder exists and is not a corpus")
        if _SOURCE not in _listed(_meta(source)):
            raise UserError(f"{source / 'corpus.yaml'}: languages: no {_SOURCE}: translations are made from English")
        saved = next((lang for lang in languages if (where := language_path(out, lang)) and where.is_dir()), None)
        if saved:
            raise UserError(f"{out / saved}: cannot add to a `save_to_disk` folder; give another OUT")
        self.path, self.languages = out, tuple(languages)
        self.english = {item.id: item for item in load_language(source, _SOURCE)}
        self.cache = out / _HIDDEN / "chat"
        self._lock = _locked(out / _HIDDEN)
        self._meta = _meta(out if (out / "corpus.yaml").is_file() else source)
        self._lines = {lang: _lines(out, lang) for lang in {*_listed(self._meta), *languages}}
        self._dirty: set[str] = set()
        self._saved, self._pause = time.monotonic(), _SAVE_EVERY
        self._grid = _follows(source, out)
        if out.resolve() != source.resolve():
            self._meta["name"] = out.resolve().name
            self._take_over(source)
        self._rows = {(row.language, row.item): row for row in _rows(out / REPORT) if self._stands(row)}
        self.save()

    def close(self) -> None:
        """Save, and release the lock."""
        self.save()
        self._lock.release()

    def grid(self) -> Path | None:
        """Give the grid that the corpus's import wrote the corpus's languages; return it unless there is none to give.

        A grid that somebody has changed stays as it is.
        """
        languages = _listed(self._meta)
        if not self._grid or grid_as_written(self.path, languages=languages):
            return None
        return write_grid(self.path, languages=languages)

    def _take_over(self, source: Path) -> None:
        """Add the items that the source has and this folder lacks."""
        for language in dict.fromkeys((*_listed(_meta(source)), *self.languages)):
            own, theirs = self._lines.setdefault(language, {}), _lines(source, language)
            for name, line in theirs.items():
                if language == _SOURCE and json.loads(own.get(name, line)) != json.loads(line):
                    raise UserError(
                        f"{self.path / language}.jsonl: {name}: differs from {source / language}.jsonl: copy that file "
                        f"here, or translate this folder in place (OUT = CORPUS)"
                    )
                if name not in own:
                    own[name] = line
                    self._dirty.add(language)

    def _stands(self, row: ReportRow) -> bool:
        """Whether a row is still valid: a made item is still there, and a failed one was not written by a person."""
        there = row.item in self._lines.get(row.language, {})
        return there if row.status == "made" else not there and row.item in self.english

    # -- what is there, and what is missing ------------------------------------------------------------------

    def pending(
        self, language: str, *, maker: Maker, retry_failed: bool, limit: int | None = None
    ) -> list[TranslationTask]:
        """Return the items to translate: those that are missing and at which the same maker did not fail for good."""
        tasks = []
        for item in list(self.english.values())[:limit]:
            if item.id in self._lines[language]:
                continue
            row = self._rows.get((language, item.id))
            if row is None or row.maker != maker or row.source != _digest(item):
                tasks.append(TranslationTask(item=item))
            elif row.problem in TEMPORARY or retry_failed:
                tasks.append(TranslationTask(item=item, variant=row.variant + (row.problem not in TEMPORARY)))
        return tasks

    def unscored(self, language: str, *, retry_failed: bool) -> list[Item]:
        """Return the translations made here that have no chrF yet."""
        wanted = {
            row.item
            for row in self.rows(language, "made")
            if row.chrf is None and (not row.unscored or row.unscored in TEMPORARY or retry_failed)
        }
        return [self._item(language, name) for name in self._lines[language] if name in wanted & self.english.keys()]

    def rows(self, language: str, status: str) -> list[ReportRow]:
        """Return the report's rows of a language, in the order of the English items."""
        rows = [self._rows.get((language, name)) for name in self.english]
        return [row for row in rows if row is not None and row.status == status]

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

    def add(self, language: str, outcome: TranslationOutcome, *, maker: Maker, variant: int) -> None:
        """Add a translation and its row, or the row of a failure."""
        item = outcome.item
        row = ReportRow(
            language=language, item=outcome.id, status="failed" if item is None else "made", problem=outcome.problem,
            reason=outcome.reason, warnings=outcome.warnings, maker=maker, variant=variant,
            source=_digest(self.english[outcome.id]),
        )  # fmt: skip
        if item is not None:
            fields = item.model_dump(mode="json", exclude_defaults=True)
            self._lines[language][item.id] = json.dumps(fields, ensure_ascii=False)
            self._dirty.add(language)
        self._set(row)

    def score(self, language: str, name: str, *, chrf: float | None, problem: str = "") -> None:
        """Record the score of a back-translation, or the problem with it."""
        row = self._rows[language, name]
        self._set(ReportRow.model_validate({**row.model_dump(), "chrf": chrf, "unscored": problem}))

    def _set(self, row: ReportRow) -> None:
        self._rows[row.language, row.item] = row
        if time.monotonic() - self._saved >= self._pause:
            self.save()

    def save(self) -> None:
        """Write changed files. The report comes first, so that every translation in a file has a row."""
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
            return  # nothing to note, so a person's formatting of the file stays
        self._meta["translations"] = notes
        scratch = self.path / _HIDDEN / "corpus.yaml"
        _yaml().dump(self._meta, scratch)
        scratch.replace(where)

    def _makers(self, language: str) -> list[dict[str, Any]]:
        counted: dict[str, int] = {}
        for (lang, _), row in self._rows.items():
            if lang == language and row.status == "made":
                maker = json.dumps(row.maker, sort_keys=True)
                counted[maker] = counted.get(maker, 0) + 1
        return [{**json.loads(maker), "items": counted[maker]} for maker in sorted(counted)]

    def _write(self, name: str, lines: Iterable[str]) -> None:
        scratch = self.path / _HIDDEN / name
        with scratch.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self.path / name)


def _follows(source: Path, out: Path) -> bool:
    """Whether the folder's grid is one that an import wrote, or is to be made of one in the source's folder."""
    folder = out if (out / GRID).exists() else source
    return (folder / GRID).exists() and grid_as_written(folder, languages=_listed(_meta(folder)))


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
    yaml = YAML()  # keeps comments
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
    """Return a language's lines by item id, unchanged; empty if there is no file."""
    path = language_path(folder, language)
    if path is None:
        return {}
    raw = [row for _, row in raw_items(path)]
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in raw]
    try:
        by_id = {str(json.loads(line)["id"]): line for line in lines}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read: {error!r}") from None
    if len(by_id) < len(lines):
        raise UserError(f"{path}: id: an id is used twice")
    return by_id


def _rows(path: Path) -> list[ReportRow]:
    if not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        return [ReportRow.model_validate_json(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {str(error).splitlines()[0]}; move it away to start again") from None
