"""The files of a model's folder that are read to load it, and the digest of their contents. No torch."""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from xlharm.errors import UserError
from xlharm.parallel import side_by_side
from xlharm.plan.digest import digest, file_digest
from xlharm.plan.families import family_of, kind_of
from xlharm.plan.sources import BaseSource

_LARGE = 64 << 20  # digests of files with at least so many bytes are cached
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_CONFIGURATION = ("config.json", "config.*.json", "generation_config.json")
# The files that transformers' tokenizers read; tests/plan/test_base_files.py compares it with their classes.
_TOKENIZER = (
    "tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json",
    "vocab*.json", "vocab*.txt", "merges.txt", "*.model", "tokenizer.model*", "*.tiktoken", "*.spm", "bpe.codes",
    "tekken.json", "dict.txt", "emoji.json", "normalizer.json", "byte_maps.json", "entity_vocab.json",
    "target_vocab.json", "word_shape.json", "word_pronunciation.json", "prophetnet.tokenizer",
)  # fmt: skip
_TEMPLATES = "additional_chat_templates/*.jinja"
# A base's own code may read any file of these kinds.
_READ_BY_CODE = (".json", ".safetensors", ".model", ".txt", ".tiktoken", ".jinja", ".py")
_IGNORED = {"info.json", "README.md", "LICENSE", ".gitattributes"}


def folder_base(folder: Path, *, trust_remote_code: bool = False, contents: bool = False) -> BaseSource:
    """Digest the files of a local model that loading reads: configuration, tokenizer, weights, and code if it may run.

    Args:
        folder: the model's folder.
        trust_remote_code: whether the code in it may run.
        contents: whether to read large files even if their digest is cached.

    Raises:
        UserError: a file is missing, cannot be read, or is outside of the folder.
    """
    try:
        names = loaded_names(folder, code=trust_remote_code)
        read = _digest if contents else _cached_digest
        digests = dict(zip(names, side_by_side([partial(read, folder / name) for name in names]), strict=True))
        size = sum((folder / name).stat().st_size for name in names if name.endswith(".safetensors"))
    except OSError as error:
        raise UserError(f"{folder}: base: cannot be read: {error}") from None
    config = _json(folder / "config.json")
    return BaseSource(
        location=str(folder), revision=None, digest=digest(digests), size=size, files=digests, code=trust_remote_code,
        family=family_of(config), kind=kind_of(config),
    )  # fmt: skip


def hub_base(name: str, revision: str, *, trust_remote_code: bool = False) -> BaseSource:
    """Digest a hub model's files in the hub's cache: the same files in a folder have the same digest.

    Args:
        name: hub id.
        revision: commit.
        trust_remote_code: whether its code may run.

    Raises:
        UserError: the commit is not in the cache, or one of its files is missing.
    """
    folder = cached_snapshot(name, revision)
    if folder is None:
        raise UserError(
            f"{name}: base: the hub's cache on this machine does not have commit {revision}; fetch it with "
            f"`hf download {name} --revision {revision}`, or make a folder with `xlharm base import`"
        )
    return replace(folder_base(folder, trust_remote_code=trust_remote_code), location=name, revision=revision)


def cached_snapshot(name: str, revision: str) -> Path | None:
    """Return the folder of a hub model's commit in the hub's cache; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(path).parent if isinstance(path, str) else None


def cached_commit(name: str) -> str | None:
    """Return the commit that the hub's cache knows as a hub model's `main`; None for a folder, or without one."""
    if "/" not in name or Path(name).expanduser().exists():
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(name, "config.json")
    except HFValidationError:  # it looks like no hub id: planning names the mistake
        return None
    return Path(path).parent.name if isinstance(path, str) else None


def local_folder(source: BaseSource) -> Path | None:
    """Return the folder of a model's files on this machine; None if they are not here."""
    if source.revision is None:
        return Path(source.location)
    return cached_snapshot(source.location, source.revision)


def check_files(source: BaseSource, *, called: str, contents: bool) -> None:
    """Check that a model's files still have the digest of the plan.

    Args:
        source: the model, as it was planned with.
        called: its name in messages.
        contents: whether to read all files, as before loading them: a damaged disk changes neither size nor times.

    Raises:
        UserError: this machine has other files, or they have changed since the command started.
    """
    if source.revision is not None and Path(source.location).exists():
        raise UserError(f"{called}: a file or folder of that name in {Path.cwd()} would be loaded instead")
    folder = local_folder(source)
    if folder is None or (source.revision is not None and not source.files):
        return  # it is fetched when it is loaded, or its commit is all that is known of it
    files = folder_base(folder, trust_remote_code=source.code, contents=contents).files
    if digest(files) != source.digest:
        raise UserError(
            f"{called}: {changed(source.files, files)}: it is not what was planned with. It was changed meanwhile, is "
            "damaged, or this machine has another copy; run the command again where all machines have the same"
        )


def changed(old: dict[str, str], new: dict[str, str]) -> str:
    """Name the files in which two sets of digests differ."""
    parts = [f"{name} is missing" for name in sorted(old.keys() - new.keys())]
    parts += [f"{name} is new" for name in sorted(new.keys() - old.keys())]
    parts += [f"{name} differs" for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]
    more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""
    return ", ".join(parts[:3]) + more if parts else "its files differ"


def weight_files(folder: Path) -> list[str]:
    """List the weight files that loading reads, the index before its parts; empty when there are none.

    Raises:
        UserError: the index names a file that is missing or outside of the folder.
    """
    named = _json(folder / "config.json").get("transformers_weights")
    first = named if isinstance(named, str) else _WEIGHTS if (folder / _WEIGHTS).is_file() else _INDEX
    _inside(folder, first, by="config.json")
    if not (folder / first).is_file():
        return []
    if not first.endswith(".index.json"):
        return [first]
    parts = _json(folder / first).get("weight_map")
    if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
        raise UserError(f"{folder}: base: {first} does not say which file holds which weight")
    for part in sorted(set(parts.values())):
        _inside(folder, part, by=first)
        if not (folder / part).is_file():
            raise UserError(f"{folder}: base: {first} names {part}, which is not there")
    return [first, *sorted(set(parts.values()))]


def loaded_names(folder: Path, *, code: bool = False) -> list[str]:
    """List the files that loading reads, by path within the folder: configuration, tokenizer, weights.

    Args:
        folder: of the model.
        code: whether its code may run, and so is listed, too.

    Raises:
        UserError: weights are missing or outside of the folder.
    """
    return sorted(set(_names(folder, code=code)))


def _names(folder: Path, *, code: bool) -> Iterator[str]:
    weights = weight_files(folder)
    if not any(name.endswith(".safetensors") for name in weights):
        raise UserError(f"{folder}: base: no *.safetensors weights (pickled weights are never loaded)")
    if (folder / "adapter_config.json").is_file():
        raise UserError(f"{folder}: base: adapter_config.json: it is an adapter on another base; merge it first")
    yield from weights
    files = [path.name for path in folder.iterdir() if path.is_file()]
    patterns = (*_CONFIGURATION, *_TOKENIZER)
    yield from (name for name in files if any(fnmatchcase(name, pattern) for pattern in patterns))
    yield from (path.relative_to(folder).as_posix() for path in folder.glob(_TEMPLATES))
    if code:
        _check_code(folder)
        yield from (name for name in files if name.endswith(_READ_BY_CODE) and name not in _IGNORED)
        yield from (path.relative_to(folder).as_posix() for path in folder.rglob("*.py") if path.is_file())


def _check_code(folder: Path) -> None:
    """Refuse code of another repository (``owner/name--module.Class``): the digest does not cover its changes."""
    for name in ("config.json", "tokenizer_config.json"):
        if "--" in json.dumps(_json(folder / name).get("auto_map")):
            raise UserError(f"{folder}: base: {name}: auto_map: its code is in another repository; copy it here")


def _inside(folder: Path, name: str, *, by: str) -> None:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"{folder}: base: {by} names {name!r}, outside of the folder")


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty when the file holds none, because loading reports that error itself."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


_remembered: dict[str, str] = {}
_cache_lock = threading.Lock()


def _cached_digest(path: Path) -> str:
    """Digest a file; the digest of a large file is cached until its inode, size or times change."""
    before = _stamp(path)
    if path.stat().st_size < _LARGE:
        return file_digest(path)
    if before not in _remembered:
        _remembered.update(_read_cache())
    if before not in _remembered:
        _remembered[before] = _digest(path)
        with _cache_lock:
            _write_cache(before, _remembered[before])
    return _remembered[before]


def _digest(path: Path) -> str:
    before = _stamp(path)
    sha256 = file_digest(path)
    if _stamp(path) != before:
        raise UserError(f"{path}: was changed while it was read")
    return sha256


def _stamp(path: Path) -> str:
    """Return a text that changes when the file is written or replaced; ctime changes even when mtime is set back."""
    stat = path.stat()
    return f"{path}|{stat.st_ino}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ctime_ns}"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "xlharm" / "digests.json"


def _read_cache() -> dict[str, str]:
    try:
        content = json.loads(_cache().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home
        return {}
    return {k: v for k, v in content.items() if isinstance(v, str)} if isinstance(content, dict) else {}


def _write_cache(stamp: str, sha256: str) -> None:
    """Cache a digest; when the cache cannot be written, the file is read again the next time."""
    try:
        path = _cache()
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps({**_read_cache(), stamp: sha256}), encoding="utf-8")
        scratch.replace(path)
    except (OSError, RuntimeError):
        return
