"""Where a grid's base, judges and corpus lie, and the digests by which they enter keys. No torch."""

import re
from importlib.resources import files
from pathlib import Path

from xlharm.config.grid import GridSpec
from xlharm.corpus.folder import corpus_info, language_digest, language_path
from xlharm.errors import UserError, nearest
from xlharm.judges.base import ModelJudge
from xlharm.plan.base_files import folder_base
from xlharm.plan.digest import digest
from xlharm.plan.sources import BaseSource, CorpusSource, Sources

DEV = "-dev"


def assets() -> Path:
    """Return the folder of bases and corpora that come with xlharm."""
    return Path(str(files("xlharm") / "assets"))


def corpus_folder(name: str) -> Path:
    """Find a corpus by folder or shipped name.

    Raises:
        UserError: there is none.
    """
    for path in (Path(name).expanduser(), assets() / name):
        if (path / "corpus.yaml").is_file():
            return path
    shipped = sorted(p.parent.name for p in assets().glob("*/corpus.yaml"))
    raise UserError(
        f"corpus: {name!r} is neither a folder with a corpus.yaml nor a shipped corpus ({', '.join(shipped)})"
        f"{nearest(name, shipped)}"
    )


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
    path = _locate(name, root=root)
    return name if path is not None and (path / "corpus.yaml").is_file() else None


def _languages(spec: GridSpec) -> list[tuple[str, str]]:
    found = [("languages", lang) for lang in spec.languages]
    found += [("contaminate", lang) for lang in spec.contaminate if lang != "none"]
    found += [(f"unlearn.{name}", x) for name, langs in spec.unlearn.items() for x in langs]
    found += [("stages.contaminate.real_languages", x) for x in spec.stages.contaminate.real_languages]
    found += [("stages.sft.languages", x) for x in (spec.stages.sft.languages if spec.stages.sft else ())]
    return [(field, lang) for field, lang in found if lang != "source"]


def _locate(name: str, *, root: Path) -> Path | None:
    candidates = [assets() / name] if "/" not in name else []
    candidates += [Path(name).expanduser(), root / name]
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
        found = language_path(path, language)
        if found is None:
            raise UserError(f"{path / 'corpus.yaml'}: languages: {language} is listed but {language}.jsonl is missing")
        digests[language] = language_digest(found)
    return CorpusSource(name=spec.corpus, path=path, digests=digests)


def _model(base: str, revision: str | None, *, root: Path, field: str, code: bool = False) -> BaseSource:
    path = _locate(base, root=root)
    if path is not None and (path / "config.json").is_file():
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
