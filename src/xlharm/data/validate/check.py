"""All checks of a corpus folder, worst findings first."""

from pathlib import Path

from xlharm.data.validate.across import coverage, duplicates
from xlharm.data.validate.content import content
from xlharm.data.validate.encoding import findings_of
from xlharm.data.validate.findings import Finding, texts_of
from xlharm.data.validate.language import wrong_language
from xlharm.data.validate.reading import read


def validate(folder: Path) -> list[Finding]:
    """Check a corpus: schema, languages, details, leakage, duplicates, encoding.

    Args:
        folder: with a corpus.yaml and one JSONL file a language.

    Returns:
        Findings, errors first; a corpus without errors may be run.
    """
    languages, findings = read(folder)
    findings += coverage(languages)
    for language, items in languages.items():
        for item in items:
            findings += content(item, language=language)
            for text in texts_of(item):
                findings += findings_of(text.value, language=language, item=item.id, field=text.field)
        findings += duplicates(items, language=language)
        findings += wrong_language(items, language=language, among=tuple(languages))
    return sorted(findings, key=lambda finding: finding.severity != "error")
