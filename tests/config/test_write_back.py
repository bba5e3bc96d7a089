"""Numbers go into a grid file; comments, order, layout and all other values stay, byte by byte."""

import difflib
from pathlib import Path
from typing import Any

import pytest

from xlharm.config.load import load_grid
from xlharm.config.write_back import MARK, differing, unwritable, written_back
from xlharm.errors import UserError

GRIDS = Path(__file__).parents[2] / "grid"


def changed(text: str, method: str = "npo", comment: str = "best of 6", **values: float) -> str:
    return written_back(text, method=method, values=values, comment=comment, name="grid.yaml")


def difference(one: str, other: str) -> list[str]:
    lines = difflib.unified_diff(one.splitlines(), other.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[:2] not in {"--", "++", "@@"}]


def test_a_block_with_comments(tmp_path: Path) -> None:
    text = (GRIDS / "quickstart.yaml").read_text()
    new = changed(text, learning_rate=1.23e-4, steps=20, retain_batch_size=4)
    assert difference(text, new) == [
        "+  # xlharm tune: best of 6",
        "+    retain_batch_size: 4",
        "-    steps: 60",
        "-    learning_rate: 2.8e-4",
        "+    steps: 20",
        "+    learning_rate: 1.23e-4",
    ]
    (tmp_path / "new.yaml").write_text(new)
    method = load_grid(tmp_path / "new.yaml").methods["npo"]
    assert (method.learning_rate, method.steps, method.retain_batch_size) == (1.23e-4, 20, 4)
    again = changed(new, comment="best of 12", steps=30)  # one line of provenance, not two
    assert difference(new, again) == ["-  # xlharm tune: best of 6", "+  # xlharm tune: best of 12", "-    steps: 20",
                                      "+    steps: 30"]  # fmt: skip


def test_a_flow_mapping_with_merged_keys() -> None:
    text = (GRIDS / "methods.yaml").read_text()
    new = changed(text, steps=20, beta=0.5)
    (before,) = (line for line in text.splitlines() if line.startswith("  npo:"))
    assert difference(text, new) == [
        f"-{before}",
        "+  # xlharm tune: best of 6",
        f"+{before.replace('beta: 1.0', 'beta: 0.5').replace('objective: npo', 'objective: npo, steps: 20')}",
    ]
    shared = changed(text, "ga", steps=20)  # `ga` names the merged keys: they stay for the others
    assert "npo" not in "".join(difference(text, shared))


def test_comments_on_the_line_and_no_newline_at_the_end() -> None:
    text = "methods:\n  npo:  # mine\n    objective: npo  # 2404.05868\n    beta: 0.1   # as published"
    assert changed(text, beta=0.3, steps=9) == (
        f"methods:\n  {MARK} best of 6\n  npo:  # mine\n    objective: npo  # 2404.05868\n    steps: 9\n"
        "    beta: 0.3   # as published\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "methods: {one: &a {objective: npo, steps: 20}, npo: *a}\n",
        "methods:\n  npo: &a {objective: npo, steps: 20}\n  other: {<<: *a, beta: 1}\n",
        "rate: &r 20\nmethods:\n  npo: {objective: npo, steps: *r}\n",
        "methods:\n  npo: {objective: npo, steps: &r 20}\n  other: {objective: npo, steps: *r}\n",
    ],
)
def test_what_would_change_more_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="cannot be changed without changing more; set by hand: steps: 9"):
        changed(text, steps=9)


def test_what_differs_from_the_file() -> None:
    path = GRIDS / "quickstart.yaml"
    own = load_grid(path).methods["npo"]

    def other(**fields: object) -> Any:
        return {"path": path, "method": type(own).model_validate({**own.model_dump(), **fields}), "name": "npo"}

    assert differing(**other()) == {}
    assert differing(**other(steps=20, beta=0.5)) == {"steps": 20, "beta": 0.5}
    assert unwritable(**other(steps=20)) == ""
    assert unwritable(**other(retain="kl")).endswith(
        "methods.npo.retain: differs from -s; write it into the file first"
    )


def test_a_method_that_is_not_in_the_file() -> None:
    for text in ("name: x\n", "methods: {other: {objective: ga}}\n", "- 1\n"):
        with pytest.raises(UserError, match="is not in the file as a mapping"):
            changed(text, steps=9)
