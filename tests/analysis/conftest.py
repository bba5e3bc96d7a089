"""One full grid and one half-done grid, committed once."""

import pytest

from tests.analysis.worlds import fill, plan_of
from xlharm.plan.build import Plan
from xlharm.store.store import Store


@pytest.fixture(scope="session")
def plan() -> Plan:
    return plan_of()


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Store:
    store = Store(str(tmp_path_factory.mktemp("full")))
    fill(plan, store, hostile=True)
    return store


@pytest.fixture(scope="session")
def partial(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Store:
    store = Store(str(tmp_path_factory.mktemp("partial")))
    fill(plan, store, skip=("ur/", "de/en+de/npo/0/hy"))
    return store


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("empty")))
