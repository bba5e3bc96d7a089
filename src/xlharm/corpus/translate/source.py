"""Finds a translation model and its version: the digest of a folder, or the commit of a hub model."""

import re
from dataclasses import dataclass

from xlharm.errors import UserError
from xlharm.plain_files import expanded
from xlharm.plan.base_files import folder_base
from xlharm.plan.sources import BaseSource

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A translation model.

    Attributes:
        name: name that corpus.yaml records.
        version: version that corpus.yaml records: the commit, or a digest of the folder.
        base: the model's location and digest; workers compare their files with it.
    """

    name: str
    version: str
    base: BaseSource


def source_of(model: str, *, revision: str | None) -> ModelSource:
    """Find a model.

    Raises:
        UserError: there is no such model, it has no safetensors weights, or the hub does not return its commit.
    """
    path = expanded(model)
    if (path / "config.json").is_file():
        if revision is not None:
            raise UserError(f"--revision {revision}: only hub models have revisions")
        if not any(path.glob("*.safetensors")):
            raise UserError(f"--model {model}: no *.safetensors weights in it (pickled weights are never loaded)")
        found = folder_base(path.resolve())
        return ModelSource(name=path.resolve().name, version=found.digest[:16], base=found)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model) or model.startswith(".") or path.exists():
        raise UserError(
            f"--model {model}: neither a folder with a config.json nor a hub id such as "
            "facebook/nllb-200-distilled-600M (the name of a model at an endpoint needs --endpoint)"
        )
    commit = revision if revision and _COMMIT.fullmatch(revision) else _commit_of(model, revision)
    base = BaseSource(location=model, revision=commit, digest=commit, size=0)
    return ModelSource(name=model, version=commit, base=base)


def _commit_of(model: str, revision: str | None) -> str:
    """Ask the hub which commit is meant."""
    from huggingface_hub import HfApi

    try:
        return str(HfApi().model_info(model, revision=revision).sha)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"--model {model}: the hub did not return its commit ({reason}); give it with --revision (40 hex digits)"
        ) from None
