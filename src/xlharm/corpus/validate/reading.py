"""Reads a corpus folder to the end, however damaged: every mistake is a finding."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from xlharm.corpus.folder import corpus_info, language_path
from xlharm.corpus.format import REPORT, Item, parse, raw_items
from xlharm.corpus.validate.findings import Finding
from xlharm.corpus.validate.unfilled import unfilled_info
from xlharm.errors import UserError
from xlharm.plain_files import parse_json

Languages = dict[str, tuple[Item, ...]]


def read(folder: Path, *, wanted: Sequence[str] = ()) -> tuple[Languages, list[Finding]]:
    """Return the items that can be read by language, and what is wrong with the rest.

    Args:
        folder: the corpus.
        wanted: only these of the languages that it lists; all where empty.
    """
    listed, findings = _listed(folder)
    found: Languages = {}
    for language in listed:
        if not wanted or language in wanted:
            found[language], more = _language(folder, language=language)
            findings += more
    if listed and not wanted:
        names = (path for path in folder.glob("*.jsonl") if path.name != REPORT)
        beside = sorted(path.stem for path in names if path.stem not in listed)
        findings += [Finding("warning", x, "", "", "this language is not listed in corpus.yaml") for x in beside]
    return found, findings


def accepted(folder: Path) -> tuple[str, ...]:
    """Return beginnings of findings that somebody looked at and found right (`accept` in corpus.yaml)."""
    try:
        return tuple(corpus_info(folder).get("accept", ()))
    except UserError:
        return ()


def _listed(folder: Path) -> tuple[list[str], list[Finding]]:
    try:
        info = corpus_info(folder)
    except UserError as error:
        return [], [Finding("error", "", "", "", _told(error, folder / "corpus.yaml"))]
    missing = [key for key in ("name", "version", "licence") if key not in info]
    return info["languages"], [
        *(Finding("warning", "", "", key, "missing") for key in missing),
        *unfilled_info(info),
    ]


def _told(error: UserError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


def _language(folder: Path, *, language: str) -> tuple[tuple[Item, ...], list[Finding]]:
    try:
        path = language_path(folder, language)
        if path is None:
            return (), [Finding("error", language, "", "", "corpus.yaml lists this language but the file is missing")]
        raws = raw_items(path)
    except UserError as error:
        return (), [Finding("error", language, "", "", _told(error, folder / f"{language}.jsonl"))]
    items: dict[str, Item] = {}
    findings: list[Finding] = []
    for number, raw in raws:
        item, more = _item(raw, language=language, number=number)
        findings += more
        if item is not None and item.id in items:
            findings.append(Finding("error", language, item.id, "id", f"used twice (again in line {number})"))
        elif item is not None:
            items[item.id] = item
    if not items and not findings:
        findings.append(Finding("error", language, "", "", "no items"))
    return tuple(items.values()), findings


def _item(raw: Any, *, language: str, number: int) -> tuple[Item | None, list[Finding]]:
    where = f"line {number}"
    try:
        return parse(raw), []
    except ValidationError as error:
        name = _name(raw) or where
        return None, [
            Finding("error", language, name, ".".join(map(str, e["loc"])) or "role", e["msg"])
            for e in error.errors(include_url=False)
        ]
    except ValueError as error:
        return None, [Finding("error", language, where, "", f"not valid JSON: {error}")]


def _name(raw: Any) -> str:
    data = parse_json(raw) if isinstance(raw, str) else raw
    return str(data.get("id", "")) if isinstance(data, dict) else ""
