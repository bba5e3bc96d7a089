"""What of a grid applies to which kind of base; families/test_other_grids.py has the lines of masked ones."""

from typing import Any, get_args

import pytest

from tests.plan.worlds import grid_of
from xlharm.config.load import parse_grid
from xlharm.errors import UserError
from xlharm.plan.applies import check_applies
from xlharm.plan.families import Kind
from xlharm.probes import PROBES


def check(kind: Kind, **fields: Any) -> None:
    check_applies(parse_grid(grid_of(**fields), name="grid.yaml"), kind=kind)


def test_all_of_a_grid_applies_to_a_causal_base() -> None:
    check("causal", prompt="chat", probes={"s": {"kind": "steer"}}, evaluate={"scores": True})


def test_an_encoder_decoder_is_scored_and_sampled_but_not_looked_into() -> None:
    check("encoder-decoder", evaluate={"scores": True}, probes={"s": {"kind": "sample"}})
    for kind in ("steer", "cka"):
        with pytest.raises(UserError, match=r"probes.p: the base is encoder-decoder: this probe is for causal models"):
            check("encoder-decoder", probes={"p": {"kind": kind}})


@pytest.mark.parametrize("kind", ["encoder-decoder", "masked"])
def test_whole_rows_are_read_by_causal_models_alone(kind: Kind) -> None:
    rmu = {"rmu": {"objective": "rmu", "positions": "all"}}
    check("causal", methods=rmu)
    check(kind, methods={"rmu": {"objective": "rmu"}})
    with pytest.raises(UserError, match=rf"methods.rmu.positions: the base is {kind}: a question's tokens"):
        check(kind, methods=rmu)


def test_probes_name_kinds_of_bases() -> None:
    assert all(probe.kinds <= set(get_args(Kind)) and "causal" in probe.kinds for probe in PROBES.all().values())
