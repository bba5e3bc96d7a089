from dataclasses import replace
from pathlib import Path

from xlharm.tracking.mirror import Run
from xlharm.tracking.sent import NAME, Sent
from xlharm.tracking.tables import Sheet

RUN = Run(id="a1", name="ur/en/npo/0", kind="cell", config={"seed": 0}, summary={"of/en": 5.0})
TO = ("https://host", None, "xlharm")


def test_a_run_is_sent_as_it_was(tmp_path: Path) -> None:
    Sent.read(tmp_path / "wandb", to=TO).add(RUN)
    again = Sent.read(tmp_path / "wandb", to=TO)
    assert again.has(RUN)
    assert not again.has(replace(RUN, summary={"of/en": 6.0}))
    assert not again.has(replace(RUN, id="a2"))
    assert not Sent.read(tmp_path / "wandb", to=("https://other", None, "xlharm")).has(RUN)


def test_lines_that_cannot_be_read_count_for_nothing(tmp_path: Path) -> None:
    Sent.read(tmp_path, to=TO).add(RUN)
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'\xff\n3\n{"to": 5}\n{"to": ["https://host", null, "xl')
    assert Sent.read(tmp_path, to=TO).has(RUN)


def test_answers_are_known_by_the_stages_they_follow_from(tmp_path: Path) -> None:
    def answers() -> Sheet:
        raise AssertionError("nothing is read to tell what was sent")

    run = replace(RUN, measured=("k1",), answers=answers)
    Sent.read(tmp_path, to=TO).add(run)
    again = Sent.read(tmp_path, to=TO)
    assert again.has(replace(run, answers=lambda: Sheet(columns=[], rows=[])))
    assert not again.has(replace(run, measured=("k1", "k2")))
