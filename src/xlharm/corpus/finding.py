"""Where a grid's base, judges and corpus lie, and the digests by which they enter keys. No torch."""

import logging
import re
from functools import cache
from importlib.resources import files
from pathlib import Path

from xlharm.config.grid import GridSpec
from xlharm.corpus.folder import corpus_info, language_digest, language_path
from xlharm.errors import UserError, nearest
from xlharm.judges.base import ModelJudge
from xlharm.plan.base_files import folder_base
from xlharm.plan.digest import digest
from xlharm.plan.sources import BaseSource, CorpusSource, Sources

logger = logging.getLogger(__name__)

DEV = "-dev"


def assets() -> Path:
    """Return the folder of bases and corpora that come with xlharm."""
    return Path(str(files("xlharm") / "assets"))


def corpus_folder(name: str) -> Path:
    """Find a corpus by folder or shipped name.

    Raises:
        UserError: there is none.
    """
    path = _corpus_path(name, root=Path())
    if path is None:
        raise _no_corpus(name, field="corpus")
    return path


def base_folder(name: str) -> Path | None:
    """Find a base by folder or shipped name; None where there is none, so that it is a hub id."""
    return _locate(name, root=Path(), holds="config.json", what="base")


def resolve(spec: GridSpec, *, grid_path: Path | None = None) -> Sources:
    """Find a grid's base and corpus and digest them.

    Relative paths are tried from the working directory, then from the grid file's folder.

    Raises:
        UserError: base, corpus or one of the grid's languages is missing.
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
    base = _model(spec.base, spec.revision, root=root, field=spec.name, code=spec.trust_remote_code)
    return Sources(base=base, corpus=corpus, judges=judges)


def corpus_to_tune_on(spec: GridSpec, *, asked: str | None, grid_path: Path) -> tuple[str, bool]:
    """Return the corpus that settings are chosen on, and whether it is another than results are reported on.

    Unless one is asked for: the sister of the grid's own corpus (``tinyworld-dev`` of ``tinyworld``), if it has one.
    """
    if asked is not None:
        return asked, asked != spec.corpus
    if spec.corpus.endswith(DEV):
        return spec.corpus, True
    found = _sister(spec.corpus, suffix=DEV, root=grid_path.parent)
    return (found, True) if found else (spec.corpus, False)


def _sister(corpus: str, *, suffix: str, root: Path) -> str | None:
    """Return the corpus that is called as this one with a suffix, or None when there is none."""
    name = corpus.rstrip("/") + suffix
    return name if _corpus_path(name, root=root) is not None else None


def _languages(spec: GridSpec) -> list[tuple[str, str]]:
    found = [("languages", lang) for lang in spec.languages]
    found += [("contaminate", lang) for lang in spec.contaminate if lang != "none"]
    found += [(f"unlearn.{name}", x) for name, langs in spec.unlearn.items() for x in langs]
    found += [("stages.contaminate.real_languages", x) for x in spec.stages.contaminate.real_languages]
    found += [("stages.sft.languages", x) for x in (spec.stages.sft.languages if spec.stages.sft else ())]
    return [(field, lang) for field, lang in found if lang != "source"]


def _locate(name: str, *, root: Path, holds: str, what: str) -> Path | None:
    """Find a folder with a certain file: the shipped one, then below the working directory, then beside the grid.

    A name alone means the shipped one, so that a grid reads the same wherever it is run.
    """
    candidates = [assets() / name] if "/" not in name else []
    candidates += [Path(name).expanduser(), root / name]
    paths = list(dict.fromkeys(p.resolve() for p in candidates if (p / holds).is_file()))
    for hidden in paths[1:]:
        path = _path_of(hidden)
        _say_hidden(f"{what} {name!r}: {paths[0]} is read, not {hidden}: to read that, give its path: {path}")
    return paths[0] if paths else None


def _path_of(folder: Path) -> str:
    """Return a folder's path from the working directory where it lies below, such that it is no shipped name."""
    return f"./{folder.relative_to(Path.cwd())}" if folder.is_relative_to(Path.cwd()) else str(folder)


@cache
def _say_hidden(line: str) -> None:
    logger.warning(line)


def _corpus_path(name: str, *, root: Path) -> Path | None:
    return _locate(name, root=root, holds="corpus.yaml", what="corpus")


def _no_corpus(name: str, *, field: str) -> UserError:
    shipped = sorted(p.parent.name for p in assets().glob("*/corpus.yaml"))
    return UserError(
        f"{field}: {name!r} is neither a shipped corpus ({', '.join(shipped)}) "
        f"nor a folder with a corpus.yaml{nearest(name, shipped)}"
    )


def _corpus(spec: GridSpec, *, root: Path) -> CorpusSource:
    path = _corpus_path(spec.corpus, root=root)
    if path is None:
        raise _no_corpus(spec.corpus, field=f"{spec.name}: corpus")
    digests = {}
    for language in corpus_info(path)["languages"]:
        found = language_path(path, language)
        if found is None:
            raise UserError(f"{path / 'corpus.yaml'}: languages: {language} is listed but {language}.jsonl is missing")
        digests[language] = language_digest(found)
    return CorpusSource(name=spec.corpus, path=path, digests=digests)


def _model(base: str, revision: str | None, *, root: Path, field: str, code: bool = False) -> BaseSource:
    path = _locate(base, root=root, holds="config.json", what="base")
    if path is not None:
        return folder_base(path, trust_remote_code=code)
    shipped = sorted(p.parent.name for p in assets().glob("*/config.json"))
    if "/" not in base or base.startswith((".", "/", "~")):
        raise UserError(
            f"{field}: base: {base!r} is neither a shipped base ({', '.join(shipped)}), a folder with a "
            f"config.json, nor a hub id such as org/model{nearest(base, shipped)}"
        )
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise UserError(
            f"{field}: revision: a base from the hub needs a fixed commit (40 hex digits), "
            "or its numbers would change when the repository does"
        )
    return BaseSource(
        location=base,
        revision=revision,
        digest=digest({"hub": base, "revision": revision}),
        size=0,
        code=code,
    )
