"""Reads a corpus folder to the end, however damaged: every mistake is a finding."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from xlharm.data.corpus import REPORT, Item
from xlharm.data.validate.findings import Finding

Languages = dict[str, tuple[Item, ...]]


def read(folder: Path) -> tuple[Languages, list[Finding]]:
    """Return the items that can be read by language, and what is wrong with the rest."""
    listed, findings = _listed(folder)
    found: Languages = {}
    for language in listed:
        found[language], more = _language(folder / f"{language}.jsonl", language=language)
        findings += more
    for path in sorted(folder.glob("*.jsonl")):
        if path.stem not in listed and path.name != REPORT:
            findings.append(Finding("warning", path.stem, "", "", "this language is not listed in corpus.yaml"))
    return found, findings


def _listed(folder: Path) -> tuple[list[str], list[Finding]]:
    try:
        meta: Any = YAML(typ="safe", pure=True).load((folder / "corpus.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        return [], [Finding("error", "", "", "", f"cannot be read: {str(error).splitlines()[0]}")]
    listed = meta.get("languages") if isinstance(meta, dict) else None
    if not isinstance(listed, list) or not listed or not all(isinstance(lang, str) for lang in listed):
        return [], [Finding("error", "", "", "languages", "expected a list of language codes")]
    missing = [key for key in ("name", "version", "licence") if key not in meta]
    return listed, [Finding("warning", "", "", key, "missing") for key in missing]


def _language(path: Path, *, language: str) -> tuple[tuple[Item, ...], list[Finding]]:
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except FileNotFoundError:
        return (), [Finding("error", language, "", "", "corpus.yaml lists this language but the file is missing")]
    except UnicodeDecodeError as error:
        return (), [Finding("error", language, "", "", f"not UTF-8: {error.reason} at byte {error.start}")]
    items: dict[str, Item] = {}
    findings: list[Finding] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        item, more = _item(line, language=language, number=number)
        findings += more
        if item is not None and item.id in items:
            findings.append(Finding("error", language, item.id, "id", f"used twice (again in line {number})"))
        elif item is not None:
            items[item.id] = item
    if not items and not findings:
        findings.append(Finding("error", language, "", "", "no items"))
    return tuple(items.values()), findings


def _item(line: str, *, language: str, number: int) -> tuple[Item | None, list[Finding]]:
    where = f"line {number}"
    try:
        raw = json.loads(line)
    except ValueError as error:
        return None, [Finding("error", language, where, "", f"not valid JSON: {error}")]
    name = str(raw.get("id", where)) if isinstance(raw, dict) else where
    try:
        return Item.model_validate(raw), []
    except ValidationError as error:
        return None, [
            Finding("error", language, name, ".".join(map(str, e["loc"])) or "role", e["msg"])
            for e in error.errors(include_url=False)
        ]
