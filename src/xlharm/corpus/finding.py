"""Finds a grid's base model, judges and corpus, and computes the digests that enter keys. Imports no torch."""

import logging
import re
from functools import cache
from importlib.resources import files
from pathlib import Path

from xlharm.config.grid import GridSpec
from xlharm.corpus.folder import corpus_info, language_digest, language_path
from xlharm.errors import UserError, nearest
from xlharm.judges.base import ModelJudge
from xlharm.plain_files import expanded
from xlharm.plan.base_files import folder_base, hub_base
from xlharm.plan.families import kind_on
from xlharm.plan.sources import BaseSource, CorpusSource, Sources

logger = logging.getLogger(__name__)

DEV = "-dev"


def assets() -> Path:
    """Return the folder of the base models and corpora that are part of xlharm."""
    return Path(str(files("xlharm") / "assets"))


def corpus_folder(name: str) -> Path:
    """Return the folder of a corpus, given as a folder or as the name of a shipped corpus.

    Raises:
        UserError: there is no such corpus.
    """
    path = _corpus_path(name, root=Path())
    if path is None:
        raise _no_corpus(name, field="corpus")
    return path


def base_folder(name: str) -> Path | None:
    """Find a base by folder or shipped name; None where there is none, so that it is a hub id."""
    return _locate(name, root=Path(), holds="config.json", what="base")


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
    base = _model(spec.base, spec.revision, root=root, field=spec.name, code=spec.trust_remote_code)
    return Sources(base=_of_kind(base, spec), corpus=corpus, judges=judges)


def _of_kind(base: BaseSource, spec: GridSpec) -> BaseSource:
    """Return the base model, after a check that the grid's path is for its kind.

    Raises:
        UserError: it is for another kind.
    """
    if spec.path != "auto" and kind_on(spec.path) != base.kind:
        raise UserError(
            f"{spec.name}: path: `{spec.path}` is for {kind_on(spec.path)} models, and the base's config.json says "
            f"that it is {base.kind}: leave `path` out"
        )
    return base


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
    return name if _corpus_path(name, root=root) is not None else None


def _languages(spec: GridSpec) -> list[tuple[str, str]]:
    named = [("languages", lang) for lang in spec.languages]
    named += [("contaminate", lang) for lang in spec.contaminate if lang != "none"]
    named += [(f"unlearn.{name}", x) for name, langs in spec.unlearn.items() for x in langs]
    named += [("stages.contaminate.real_languages", x) for x in spec.stages.contaminate.real_languages]
    named += [("stages.sft.languages", x) for x in (spec.stages.sft.languages if spec.stages.sft else ())]
    return [(field, lang) for field, lang in named if lang != "source"]


def _locate(name: str, *, root: Path, holds: str, what: str) -> Path | None:
    """Find a folder with a certain file: the shipped one, then below the working directory, then beside the grid.

    A name alone means the shipped one, so that a grid reads the same wherever it is run.
    """
    candidates = [assets() / name] if "/" not in name else []
    near = [expanded(name), root / name]
    candidates += near[::-1] if name.startswith(("./", "../")) else near
    paths = list(dict.fromkeys(p.resolve() for p in candidates if (p / holds).is_file()))
    for hidden in paths[1:]:
        _say_hidden(f"{what} {name!r}: {paths[0]} is read, not {hidden}; to read that, give its whole path")
    return paths[0] if paths else None


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
    digests, info = {}, corpus_info(path)
    for language in info["languages"]:
        file = language_path(path, language)
        if file is None:
            raise UserError(f"{path / 'corpus.yaml'}: languages: {language} is listed but {language}.jsonl is missing")
        digests[language] = language_digest(file)
    return CorpusSource(name=spec.corpus, path=path, digests=digests, harm=info["harm"])


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
            f"{field}: revision: a base from the hub needs a fixed commit (40 hex digits): "
            "its results would change if the repository changed"
        )
    try:
        return hub_base(base, revision, trust_remote_code=code)
    except UserError as error:
        raise UserError(f"{field}: {error}") from None
