"""All checks of a corpus folder, worst findings first."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xlharm.corpus.validate.across import coverage, duplicates
from xlharm.corpus.validate.content import content
from xlharm.corpus.validate.encoding import findings_of
from xlharm.corpus.validate.findings import Finding, texts_of
from xlharm.corpus.validate.language import wrong_language
from xlharm.corpus.validate.reading import accepted, read
from xlharm.corpus.validate.unfilled import unfilled


def validate(folder: Path, *, wanted: Sequence[str] = ()) -> list[Finding]:
    """Check a corpus: schema, languages, details, leakage, duplicates, encoding.

    Args:
        folder: with a corpus.yaml and a JSONL file (or saved folder) a language.
        wanted: languages to check; all where empty.

    Returns:
        Findings, errors first; a corpus without errors may be run. What corpus.yaml accepts is a warning.
    """
    languages, unreadable = read(folder, wanted=wanted)
    findings = coverage(languages)
    for language, read_items in languages.items():
        left = {item.id: unfilled(item, language=language) for item in read_items}
        findings += [finding for item in read_items for finding in left[item.id]]
        items = tuple(item for item in read_items if not left[item.id])  # of the others nothing else can be said yet
        for item in items:
            findings += content(item, language=language)
            for text in texts_of(item):
                findings += findings_of(text.value, language=language, item=item.id, field=text.field)
        findings += duplicates(items, language=language)
        findings += wrong_language(items, language=language, among=tuple(languages))
    known = accepted(folder)
    findings = [replace(f, severity="warning") if str(f).startswith(known) else f for f in findings]
    return sorted(unreadable + findings, key=lambda finding: finding.severity != "error")
