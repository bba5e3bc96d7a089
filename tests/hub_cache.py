"""A hub cache written by hand: what `hf download` leaves, without a hub."""

import hashlib
import os
from pathlib import Path

import pytest
from huggingface_hub import constants

COMMIT = "c" * 40


def offline_hub(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make ``root`` the hub's cache, and the hub unreachable."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return root


def downloaded(root: Path, folder: Path, *, name: str, commit: str = COMMIT) -> Path:
    """Put a folder's files into the cache as a commit of a hub model; return its snapshot, which links to blobs."""
    model = root / f"models--{name.replace('/', '--')}"
    snapshot = model / "snapshots" / commit
    (model / "blobs").mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        blob = model / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot
