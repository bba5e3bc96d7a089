"""Translates what is missing in a corpus, language by language: first the items, then their back-translations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from xlharm.corpus.text import chrf
from xlharm.corpus.translate.backend import Back, Backend, TranslationTask, scored_texts
from xlharm.corpus.translate.folder import Folder, Maker
from xlharm.errors import StoppedError


@dataclass(frozen=True, kw_only=True)
class TranslationWork:
    """What is missing in a corpus folder.

    Attributes:
        tasks: items to translate, by language.
        unscored: number of existing translations without a score, by language; empty if no scores are wanted.
    """

    tasks: dict[str, list[TranslationTask]]
    unscored: dict[str, int] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Number of translations and back-translations to make."""
        made = sum(map(len, self.tasks.values()))
        return made + (made + sum(self.unscored.values()) if self.unscored else 0)


@dataclass(frozen=True, kw_only=True)
class Step:
    """Progress of a translation.

    Attributes:
        language: the current language.
        done: number of finished steps.
        total: number of all steps.
        failed: number of items that failed.
    """

    language: str
    done: int
    total: int
    failed: int


def work_of(
    folder: Folder, *, maker: Maker, score: bool, retry_failed: bool, limit: int | None = None
) -> TranslationWork:
    """Return what is missing in a folder.

    Args:
        folder: the corpus folder.
        maker: model and settings of the translations to make.
        score: whether translations need a score.
        retry_failed: whether to include items at which the same maker failed for good.
        limit: include only the first so many English items; None includes all.
    """
    tasks = {
        lang: folder.pending(lang, maker=maker, retry_failed=retry_failed, limit=limit) for lang in folder.languages
    }
    unscored = {lang: len(folder.unscored(lang, retry_failed=retry_failed)) for lang in folder.languages if score}
    return TranslationWork(tasks=tasks, unscored=unscored)


def translate(
    work: TranslationWork,
    folder: Folder,
    backend: Backend,
    *,
    maker: Maker,
    retry_failed: bool,
    on_step: Callable[[Step], None],
    stopped: Callable[[], bool],
) -> bool:
    """Translate what is missing. Finished items are written to the folder within a few seconds.

    Returns:
        Whether all steps were done; False if ``stopped`` ended the translation early.
    """
    run = _Run(work, folder, backend, maker=maker, retry_failed=retry_failed, on_step=on_step)
    try:
        for language in folder.languages:
            run.make(language)
            if work.unscored:
                run.score(language)
            if stopped():
                break
    except StoppedError:
        pass
    finally:
        folder.save()
    return run.done == run.total


class _Run:
    def __init__(
        self, work: TranslationWork, folder: Folder, backend: Backend, *, maker: Maker, retry_failed: bool,
        on_step: Callable[[Step], None],
    ) -> None:  # fmt: skip
        self._work, self._folder, self._backend = work, folder, backend
        self._maker, self._retry, self._on_step = maker, retry_failed, on_step
        self.done, self.total, self.failed = 0, work.steps, 0

    def make(self, language: str) -> None:
        """Translate the missing items of a language."""
        tasks = {task.item.id: task for task in self._work.tasks[language]}
        for outcome in self._backend.make(list(tasks.values()), language=language):
            if outcome.problem == "stopped":
                continue
            self._folder.add(language, outcome, maker=self._maker, variant=tasks[outcome.id].variant)
            if outcome.item is None:
                self.failed += 1
                self.total -= bool(self._work.unscored)  # a failed item gets no back-translation
            self._step(language)

    def score(self, language: str) -> None:
        """Score the translations of a language that have no score yet."""
        items = {item.id: item for item in self._folder.unscored(language, retry_failed=self._retry)}
        for back in self._backend.back(list(items.values()), language=language):
            if back.problem == "stopped":
                continue
            english = scored_texts(self._folder.english[back.id])
            self._folder.score(language, back.id, chrf=score_of(back, english), problem=back.problem)
            self._step(language)

    def _step(self, language: str) -> None:
        self.done += 1
        self._on_step(Step(language=language, done=self.done, total=self.total, failed=self.failed))


def score_of(back: Back, english: dict[str, str]) -> float | None:
    """Return the chrF (Popović 2015), 0 to 100, of an item's back-translated texts against the English ones.

    All texts of the item are compared as one text. None if no text was translated back.
    """
    shared: Sequence[str] = [name for name in back.texts if name in english]
    if not shared:
        return None
    ours, theirs = ("\n".join(texts[name] for name in shared) for texts in (back.texts, english))
    return round(chrf(ours, theirs), 2)
