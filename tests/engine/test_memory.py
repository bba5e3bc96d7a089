"""What packs need of memory: estimated, corrected by peaks and by failures."""

from tests.engine.worlds import PLAN
from xlharm.engine.memory import MemoryNeeds
from xlharm.plan.memory import BaseSizes, estimate_bytes
from xlharm.plan.packs import packs

SIZES = BaseSizes(parameters=1000, widths={"q_proj": 30, "down_proj": 70}, linears={"q_proj": 30, "down_proj": 70})
UNLEARN = [pack for pack in packs(PLAN, size=2) if pack.kind == "unlearn"]


def test_an_estimate_until_something_is_measured() -> None:
    pack = UNLEARN[0]
    memory = MemoryNeeds(plan=PLAN, sizes=SIZES)
    estimated = estimate_bytes(SIZES, PLAN.stages[pack.keys[0]], slots=len(pack.keys))
    assert memory.bytes_needed(pack) == estimated > 0
    memory.record_peak(pack, estimated // 2)
    assert memory.bytes_needed(pack) == estimated // 2
    memory.record_peak(pack, estimated // 4)  # the highest peak counts
    assert memory.bytes_needed(pack) == estimated // 2


def test_packs_of_one_shape_and_size_share_what_is_known() -> None:
    one = next(p for p in UNLEARN if len(p.keys) == 2)
    same = [p for p in UNLEARN if len(p.keys) == 2 and p.id != one.id]
    single = packs(PLAN, size=1)
    memory = MemoryNeeds(plan=PLAN, sizes=None)
    memory.record_peak(one, 100)
    assert [memory.bytes_needed(p) for p in same] == [100] * len(same)
    assert {memory.bytes_needed(p) for p in single} == {0}


def test_a_pack_that_did_not_fit_needs_more_than_there_was() -> None:
    pack = UNLEARN[0]
    memory = MemoryNeeds(plan=PLAN, sizes=None)
    memory.record_peak(pack, 100)
    memory.record_overflow(pack, 500)
    assert memory.bytes_needed(pack) == 501
