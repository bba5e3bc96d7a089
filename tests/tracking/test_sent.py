from dataclasses import replace
from pathlib import Path

from xlharm.tracking.mirror import Run
from xlharm.tracking.sent import NAME, Sent

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
