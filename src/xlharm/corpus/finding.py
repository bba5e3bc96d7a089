"""Finds a grid's base model, judges and corpus, and computes the digests that enter keys. Imports no torch."""

import json
import os
import re
from importlib.resources import files
from pathlib import Path

from xlharm.config.grid import GridSpec
from xlharm.corpus.folder import corpus_info, language_digest, language_path
from xlharm.errors import UserError, nearest
from xlharm.judges.base import ModelJudge
from xlharm.plain_files import expanded
from xlharm.plan.digest import digest, file_digest
from xlharm.plan.sources import WEIGHTS, BaseSource, CorpusSource, Sources

DEV = "-dev"
_IGNORED = {"info.json", "README.md", "LICENSE", ".gitattributes"}


def assets() -> Path:
    """Return the folder of the base models and corpora that are part of xlharm."""
    return Path(str(files("xlharm") / "assets"))


def corpus_folder(name: str) -> Path:
    """Return the folder of a corpus, given as a folder or as the name of a shipped corpus.

    Raises:
        UserError: there is no such corpus.
    """
    for path in (expanded(name), assets() / name):
        if (path / "corpus.yaml").is_file():
            return path
    shipped = sorted(p.parent.name for p in assets().glob("*/corpus.yaml"))
    raise UserError(
        f"corpus: {name!r} is neither a folder with a corpus.yaml nor a shipped corpus ({', '.join(shipped)})"
        f"{nearest(name, shipped)}"
    )


def resolve(spec: GridSpec, *, grid_path: Path | None = None) -> Sources:
    """Find a grid's base model, judges and corpus, and compute their digests.

    Relative paths are tried from the working directory, then from the grid file's folder; those that begin with ``./``
    or ``../`` the other way round.

    Raises:
        UserError: the base model, a judge's model, the corpus or one of the grid's languages is missing.
    """
    root = grid_path.parent if grid_path else Path()
    corpus = _corpus(spec, root=root)
    for where, language in _languages(spec):
        if language not in corpus.digests:
            have = ", ".join(corpus.digests)
            raise UserError(
                f"{grid_path or spec.name}: {where}: corpus {spec.corpus!r} has no language {language!r}"
                f"{nearest(language, corpus.digests)} (it has {have})"
            )
    judges = {
        name: _model(judge.base, judge.revision, root=root, field=f"{spec.name}: judges.{name}")
        for name, judge in spec.judges.items()
        if isinstance(judge, ModelJudge)
    }
    base = _model(spec.base, spec.revision, root=root, field=spec.name)
    return Sources(base=base, corpus=corpus, judges=judges)


def corpus_to_tune_on(spec: GridSpec, *, named: str | None, grid_path: Path) -> tuple[str, bool]:
    """Return the corpus to choose settings on, and whether results are reported on another one.

    Args:
        spec: the grid.
        named: the corpus that the user named; None takes the grid's corpus with ``-dev`` added to its name
            (``tinyworld-dev`` for ``tinyworld``), or the grid's own corpus if there is no such corpus.
        grid_path: the grid file.
    """
    if named is not None:
        return named, named != spec.corpus
    if spec.corpus.endswith(DEV):
        return spec.corpus, True
    sister = _sister(spec.corpus, suffix=DEV, root=grid_path.parent)
    return (sister, True) if sister else (spec.corpus, False)


def _sister(corpus: str, *, suffix: str, root: Path) -> str | None:
    """Return the name of a corpus with a suffix added, or None if there is no corpus of that name."""
    name = corpus.rstrip("/") + suffix
    path = _locate(name, root=root)
    return name if path is not None and (path / "corpus.yaml").is_file() else None


def _languages(spec: GridSpec) -> list[tuple[str, str]]:
    named = [("languages", lang) for lang in spec.languages]
    named += [("contaminate", lang) for lang in spec.contaminate if lang != "none"]
    named += [(f"unlearn.{name}", x) for name, langs in spec.unlearn.items() for x in langs]
    named += [("stages.contaminate.real_languages", x) for x in spec.stages.contaminate.real_languages]
    named += [("stages.sft.languages", x) for x in (spec.stages.sft.languages if spec.stages.sft else ())]
    return [(field, lang) for field, lang in named if lang != "source"]


def _locate(name: str, *, root: Path) -> Path | None:
    candidates = [assets() / name] if "/" not in name else []
    near = [expanded(name), root / name]
    candidates += near[::-1] if name.startswith(("./", "../")) else near
    return next((p.resolve() for p in candidates if p.is_dir()), None)


def _corpus(spec: GridSpec, *, root: Path) -> CorpusSource:
    path = _locate(spec.corpus, root=root)
    if path is None or not (path / "corpus.yaml").is_file():
        shipped = sorted(p.parent.name for p in assets().glob("*/corpus.yaml"))
        raise UserError(
            f"{spec.name}: corpus: {spec.corpus!r} is neither a shipped corpus ({', '.join(shipped)}) "
            f"nor a folder with a corpus.yaml{nearest(spec.corpus, shipped)}"
        )
    digests = {}
    for language in corpus_info(path)["languages"]:
        file = language_path(path, language)
        if file is None:
            raise UserError(f"{path / 'corpus.yaml'}: languages: {language} is listed but {language}.jsonl is missing")
        digests[language] = language_digest(file)
    return CorpusSource(name=spec.corpus, path=path, digests=digests)


def _model(base: str, revision: str | None, *, root: Path, field: str) -> BaseSource:
    path = _locate(base, root=root)
    if path is not None and (path / "config.json").is_file():
        return folder_base(path)
    shipped = sorted(p.parent.name for p in assets().glob("*/config.json"))
    if "/" not in base or base.startswith((".", "/", "~")):
        raise UserError(
            f"{field}: base: {base!r} is neither a shipped base ({', '.join(shipped)}), a folder with a "
            f"config.json, nor a hub id such as org/model{nearest(base, shipped)}"
        )
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise UserError(
            f"{field}: revision: a base from the hub needs a fixed commit (40 hex digits): "
            "its results would change if the repository changed"
        )
    return BaseSource(
        location=base,
        revision=revision,
        digest=digest({"hub": base, "revision": revision}),
        size=0,
    )


_KEPT = (".json", ".safetensors", ".model", ".txt", ".tiktoken", ".jinja", ".py")


def folder_base(path: Path) -> BaseSource:
    """Describe a base model in a folder by a digest of its configuration, tokenizer, weights and code.

    Raises:
        UserError: the folder holds no safetensors weights (pickled weights are never loaded).
    """
    if not any(path.glob(WEIGHTS)):
        raise UserError(f"{path}: base: no *.safetensors weights (pickled weights are never loaded)")
    names = sorted(p.name for p in path.iterdir() if p.is_file() and p.name not in _IGNORED)
    counted = [n for n in names if n.endswith(_KEPT)]
    digests = {name: _cached_digest(path / name) for name in counted}
    size = sum((path / n).stat().st_size for n in counted if n.endswith(".safetensors"))
    return BaseSource(location=str(path), revision=None, digest=digest(digests), size=size)


def _cached_digest(path: Path) -> str:
    """Return a file's digest; digests of files above 64 MiB are cached by path, size and modification time."""
    stat = path.stat()
    if stat.st_size < 64 << 20:
        return file_digest(path)
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "xlharm" / "digests.json"
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):
        known = {}
    ident = f"{path}|{stat.st_size}|{stat.st_mtime_ns}"
    if ident not in known:
        known[ident] = file_digest(path)
        cache.parent.mkdir(parents=True, exist_ok=True)
        scratch = cache.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps(known))
        scratch.replace(cache)
    return str(known[ident])
