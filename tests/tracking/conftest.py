"""The grids of the tests of analysis, and a W&B server on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.analysis.conftest import empty, full, partial, plan
from tests.analysis.worlds import fill, plan_of
from tests.tracking.server import WandbServer, wandb_server
from xlharm.plan.build import Plan
from xlharm.store.store import Store

__all__ = ["empty", "full", "partial", "plan"]

KEY = "9f0e1d2c3b4a59687f0e1d2c3b4a59687f0e1d2c"


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody is logged in, whoever runs the tests."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    plan = plan_of(languages=["en", "ur"], contaminate=["none", "ur"])
    store = Store(str(tmp_path_factory.mktemp("small")))
    fill(plan, store, n=20)
    return plan, store


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WandbServer]:
    """A server, somebody who is logged in to it, and little patience."""
    import wandb

    monkeypatch.setattr("xlharm.tracking.writing.START_SECONDS", 3)
    monkeypatch.setattr("xlharm.tracking.writing.FINISH_SECONDS", 3)
    monkeypatch.setattr("xlharm.tracking.wandb._WAITS", (0.0,))
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    for name in ("WANDB_PROJECT", "WANDB_ENTITY"):
        monkeypatch.delenv(name, raising=False)
    with wandb_server() as running:
        wandb.teardown()  # it remembers the address of an earlier test
        monkeypatch.setenv("WANDB_BASE_URL", running.url)
        yield running
        wandb.teardown()
