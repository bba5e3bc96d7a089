import json
from pathlib import Path

import pytest

from xlharm.corpus.validate.fertility import fertility


def test_tokens_by_hand(tmp_path: Path) -> None:
    (tmp_path / "corpus.yaml").write_text("languages: [en, de]\n")
    en = [{"id": "a", "role": "retain", "real": "aa bb"}, {"id": "b", "role": "retain", "real": "cc"}]
    de = [{"id": "a", "role": "retain", "real": "a b c d"}]
    for name, items in {"en": en, "de": de}.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, items)))
    first, second = fertility(tmp_path, count=lambda text: len(text.split()))
    assert (first.per_character, first.relative, first.longest) == (pytest.approx(3 / 7), 1.0, 2)
    assert (second.per_character, second.relative, second.longest) == (pytest.approx(4 / 7), 2.0, 4)
