"""Restored shares and erasure ratios by hand."""

import numpy as np
import pyarrow as pa
import pytest

from xlharm.analysis.patched import erasure, rows_of

AFTER, BEFORE, CONTROL = [-8.0, -6.0, -4.0], [-2.0, -1.0, -1.5], [-9.0, -9.0, -9.0]
"""Log-probabilities of three answers of two tokens each."""


def patched_table(*, control: bool = True) -> pa.Table:
    """Two layers; the first of the model before brings a quarter back, and the control's costs two nats."""
    first = [a + (b - a) / 4 for a, b in zip(AFTER, BEFORE, strict=True)]
    values = {
        ("after", None, None): AFTER, ("after", "before", 0): first, ("after", "before", 1): BEFORE,
        ("before", None, None): BEFORE, ("before", "after", 0): [b - 0.5 for b in BEFORE],
        ("before", "after", 1): AFTER,
    }  # fmt: skip
    if control:
        values |= {("before", "control", 0): [b - 2 for b in BEFORE], ("before", "control", 1): CONTROL}
    rows = [
        {"into": into, "source": source, "layer": layer, "item": f"i{i}", "tokens": 2, "logp": logp}
        for (into, source, layer), of_items in values.items()
        for i, logp in enumerate(of_items)
    ]
    return pa.Table.from_pylist(rows)


def test_restored_is_the_share_that_comes_back() -> None:
    found = {(r["by"], r["part"], r["measure"]): r for r in rows_of(patched_table())}
    assert found["layer", "0", "restored"]["value"] == pytest.approx(25)
    last = found["layer", "1", "restored"]
    assert (last["value"], last["low"], last["high"], last["items"]) == pytest.approx((100, 100, 100, 3))


def test_erased_is_what_unlearning_takes_of_what_the_control_lacks() -> None:
    found = {(r["by"], r["part"]): r["value"] for r in rows_of(patched_table()) if r["measure"] == "erased"}
    # layer 0: 0.25 of 1 nat; layer 1: 3 of 3.5, 2.5 of 4, 1.25 of 3.75 nats
    assert found["layer", "0"] == pytest.approx(25)
    assert found["layer", "1"] == pytest.approx(100 * np.mean([3 / 3.5, 2.5 / 4, 1.25 / 3.75]))
    assert found["depth", ""] == pytest.approx(100 * np.mean([3.25 / 4.5, 2.75 / 5, 1.5 / 4.75]))


def test_without_a_control_nothing_is_said_of_erasure() -> None:
    assert {r["measure"] for r in rows_of(patched_table(control=False))} == {"restored"}


def test_a_layer_that_holds_nothing_counts_for_nothing() -> None:
    held, taken = np.array([[0.04, 2.0], [1.0, -3.0]]), np.array([[9.0, 3.0], [0.5, 0.0]])
    ratio, score = erasure(held, taken)
    assert np.isnan(ratio[0, 0])
    assert np.isnan(ratio[1, 1])
    assert (ratio[0, 1], ratio[1, 0]) == (1.0, 0.5)  # 3 of 2 is cut to 1
    assert score.tolist() == [0.5, 1.0]
    assert np.isnan(erasure(np.zeros((2, 1)), np.ones((2, 1)))[1]).all()


def test_what_was_not_forgotten_cannot_come_back() -> None:
    rows = patched_table().to_pylist()
    same = [{**row, "logp": -3.0} for row in rows]
    assert list(rows_of(pa.Table.from_pylist(same))) == []
