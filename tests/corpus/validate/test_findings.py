"""Findings of one kind are one line with a count."""

from xlharm.corpus.validate.findings import Finding, grouped


def test_groups_differ_in_item_place_and_quoted_text_alone() -> None:
    findings = [
        Finding("error", "en", "a", "fake.0", "does not say the fake detail ('camel') or an alias of it"),
        Finding("error", "en", "b", "fake.1", "does not say the fake detail ('zebra') or an alias of it"),
        Finding("warning", "en", "b", "fake.1", "does not say the fake detail ('zebra') or an alias of it"),
        Finding("error", "de", "b", "fake.1", "does not say the fake detail ('zebra') or an alias of it"),
        Finding("error", "en", "c", "fake.0", "is the same text as the real article"),
        Finding("error", "en", "b", "fake.2", "does not say the fake detail ('horse') or an alias of it"),
    ]
    groups = grouped(findings)
    assert [group.count for group in groups] == [3, 1, 1, 1]
    assert str(groups[0]) == f"{findings[0]} (and 2 more of this kind: b)"
    assert str(groups[3]) == str(findings[4])
