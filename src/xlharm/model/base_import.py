"""Make a base folder from a GGUF file, a folder of other files, or a model on the Hugging Face hub."""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from xlharm.errors import UserError
from xlharm.plain_files import expanded
from xlharm.plan.base_files import folder_base, loaded_names
from xlharm.plan.sources import BaseSource

Dtype = Literal["bfloat16", "float32"]
NOTE = "BASE.md"
_LICENSES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "USE_POLICY.md")
_FROM_HUB = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken", *_LICENSES, "README.md")


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A base folder that was written.

    Attributes:
        base: the folder, with its digest.
        license: what the source says of its licence; empty when it says nothing.
    """

    base: BaseSource
    license: str


def import_base(source: str, out: Path, *, revision: str | None = None, dtype: Dtype = "bfloat16") -> Imported:
    """Write a base folder: safetensors, configuration, tokenizer, and a note on where it comes from.

    The folder appears whole or not at all.

    Args:
        source: a GGUF file, a folder, or a hub id such as ``org/model``.
        out: folder to write; it must not exist, or be empty.
        revision: hub commit, branch or tag; the newest commit where None.
        dtype: number type of the weights of a GGUF file, which are dequantised. Other weights are copied.

    Raises:
        UserError: the source is missing, cannot be loaded, has no safetensors, or ``out`` is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists and is not an empty folder")
    path = expanded(source)
    if revision is not None and path.exists():
        raise UserError(f"--revision {revision}: only hub models have revisions")
    with _whole(out) as scratch:
        if path.is_dir():
            license_ = _copied(path, scratch)
            origin = f"the folder {path.name}"
        elif path.is_file():
            license_ = _from_gguf(path, scratch, dtype=dtype)
            origin = f"{path.name} (sha256 {_sha256(path)}), dequantised to {dtype}"
        elif re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not source.startswith("."):
            folder, commit = _snapshot(source, revision)
            license_ = _copied(folder, scratch)
            origin = f"{source} on the Hugging Face hub, commit {commit}"
        else:
            raise UserError(f"{source}: neither a GGUF file, nor a folder, nor a hub id such as org/model")
        base = folder_base(scratch)
        terms = license_ or "the source does not say; look for the model's terms before you use or share it"
        note = f"# Base model\n\nMade from {origin}.\n\nLicence: {terms}\n\nDigest: {base.digest}\n"
        (scratch / NOTE).write_text(note, encoding="utf-8")
    return Imported(base=folder_base(out), license=license_)


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """Give a scratch folder beside ``out``, and rename it to ``out`` when all went well."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as outer:
            scratch = Path(outer) / "base"
            scratch.mkdir()
            yield scratch
            for written in scratch.iterdir():
                written.chmod(0o644)
            if out.exists():
                out.rmdir()
            scratch.rename(out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from None


def _copied(folder: Path, out: Path) -> str:
    """Copy the files that loading reads, and those about the licence."""
    for name in loaded_names(folder):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, out / name)
    for name in _LICENSES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    return _license_of_card(folder / "README.md")


def _license_of_card(card: Path) -> str:
    """Return the licence that a model card's front matter names; empty when it names none."""
    if not card.is_file():
        return ""
    found = re.search(r"^license(?:_name)?:\s*['\"]?([^\s'\"]+)", card.read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1) if found else ""


def _snapshot(name: str, revision: str | None) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(_FROM_HUB)))
    except Exception as error:  # noqa: BLE001 - the hub's client also raises the errors of its HTTP client
        raise UserError(
            f"{name}: cannot be fetched from the hub: {' '.join(str(error).split())[:300]}. A gated model needs its "
            "terms accepted on its page, and a token in HF_TOKEN"
        ) from None
    return folder, folder.name


def _from_gguf(path: Path, out: Path, *, dtype: Dtype) -> str:
    """Dequantise a GGUF file; return the licence that it names."""
    from xlharm.model.base import DTYPES

    reader = _gguf(path)
    with _quiet():
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer

            AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(out)
            model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype="float32")
        except Exception as error:  # noqa: BLE001 - transformers' GGUF readers raise errors of many classes
            raise UserError(f"{path}: transformers cannot read it: {' '.join(str(error).split())[:300]}") from None
        config = model.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain: Any = type(model)(config)
        plain.load_state_dict(model.state_dict())
        plain.tie_weights()
        plain.to(DTYPES[dtype]).save_pretrained(out)
    field: Callable[[str], Any] = reader.get_field
    named = field("general.license") or field("general.license.name")
    return str(named.contents()) if named is not None else ""


def _gguf(path: Path) -> Any:
    """Open a GGUF file.

    Raises:
        UserError: it is none, or the package that reads it is not installed.
    """
    try:
        from gguf import GGUFReader
    except ImportError:
        raise UserError(f"{path}: reading GGUF files needs a package: pip install 'xlharm[gguf]'") from None
    try:
        return GGUFReader(path)
    except (ValueError, OSError, IndexError) as error:
        raise UserError(f"{path}: is no GGUF file: {' '.join(str(error).split())[:200]}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
