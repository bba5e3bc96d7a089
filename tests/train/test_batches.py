"""Only answer tokens are loss tokens, whatever the prompt, the padding and the order of rows."""

import random

import torch

from xlharm.corpus.rows import Row
from xlharm.corpus.sampling import StepRows
from xlharm.train.batches import Batch, LossTokens

CPU = torch.device("cpu")


def rows(count: int, *, prompt: int, answer: int, first: int) -> list[Row]:
    """Make rows whose prompt tokens are below 100 and whose answer tokens are not."""
    return [Row((*range(1, prompt + 1), *range(first + 10 * i, first + 10 * i + answer)), prompt) for i in range(count)]


def batch() -> Batch:
    return Batch.of(
        StepRows(
            target=rows(3, prompt=4, answer=2, first=100),
            preferred=rows(3, prompt=4, answer=3, first=500),
            retain=rows(2, prompt=1, answer=5, first=900),
        )
    )


def test_labels_are_the_answers_tokens_and_positions_the_ones_before() -> None:
    whole = batch()
    view = LossTokens.of(whole, device=CPU)
    assert view.labels.tolist() == [t for row in whole.all_rows() for t in row.ids[row.start :]]
    ids = torch.tensor([t for row in whole.all_rows() for t in row.ids])
    assert ids[view.positions + 1].tolist() == view.labels.tolist()
    assert [(n, s.start, s.stop, s.rows) for n, s in view.spans.items()] == [
        ("target", 0, 6, 3), ("preferred", 6, 15, 3), ("retain", 15, 25, 2),
    ]  # fmt: skip
    assert view.owner.tolist() == [0, 0, 1, 1, 2, 2, *[0] * 3, *[1] * 3, *[2] * 3, *[0] * 5, *[1] * 5]


def test_shuffled_prompts_leave_labels_and_owners_alone() -> None:
    whole = batch()
    shuffler = random.Random(0)

    def shuffled(row: Row) -> Row:
        prompt = list(row.ids[: row.start])
        shuffler.shuffle(prompt)
        return Row((*prompt, *row.ids[row.start :]), row.start)

    other = Batch(**{part: tuple(map(shuffled, whole.part(part))) for part in ("target", "preferred", "retain")})
    one, two = LossTokens.of(whole, device=CPU), LossTokens.of(other, device=CPU)
    assert one.labels.tolist() == two.labels.tolist()
    assert one.owner.tolist() == two.owner.tolist()
    assert one.spans == two.spans


def test_a_preferred_row_goes_with_its_target_row() -> None:
    some = batch().select([1, 4])
    assert [r.ids[-1] for r in some.target] == [111]
    assert [r.ids[-1] for r in some.preferred] == [512]
    assert [r.ids[-1] for r in some.retain] == [914]
    assert batch().select([3]).target == ()


def test_parts_of_a_batch_make_the_whole() -> None:
    whole = batch()
    pieces = [whole.select([p]) for p in range(whole.places)]
    for part in ("target", "preferred", "retain"):
        assert sum(piece.tokens_of(part) for piece in pieces) == whole.tokens_of(part)
    assert sum(piece.tokens for piece in pieces) == whole.tokens
