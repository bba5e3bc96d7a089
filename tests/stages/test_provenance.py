"""What a result says of its origin, and what it keeps to itself."""

import json

import pytest
import torch

from xlharm.stages import provenance as module
from xlharm.stages.provenance import provenance


def test_versions_and_hardware_but_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_KEY", "hunter2-hunter2")
    origin = provenance(device=torch.device("cpu"), dtype="float32", engine=None, pack=3)
    assert origin["versions"]["torch"] == torch.__version__
    assert (origin["device"], origin["dtype"], origin["pack_size"]) == ("cpu", "float32", 3)
    assert origin["threads"] == torch.get_num_threads()
    assert "hunter2" not in json.dumps(origin)


def test_outside_a_repository_the_commit_may_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> str:
        raise FileNotFoundError("git")

    monkeypatch.setattr(module, "_git", absent)
    monkeypatch.setenv("XLHARM_GIT_SHA", "abc")
    module._code.cache_clear()
    try:
        assert module._code() == {"git_sha": "abc", "dirty": None}
    finally:
        module._code.cache_clear()
