"""The claims of the study (Lu & Koehn 2025, 2406.13748), put to a grid's results."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from xlharm.analysis.caveats import untaken
from xlharm.analysis.claims import Claim, Part
from xlharm.analysis.contrasts import Contrasts, Pair
from xlharm.analysis.items import Hits, common
from xlharm.analysis.results import GridResults
from xlharm.analysis.wording import Language
from xlharm.config.findings import Findings, Resources
from xlharm.config.grid import NONE
from xlharm.corpus.resources import low_resource
from xlharm.plan.cells import Cell

ENGLISH = "en"
MANY = 3
"""From so many languages on, an unlearning set is one of many languages."""
_Place = tuple[str, str, str]
"""Contamination, unlearning set and method of a cell."""
_BEFORE = (NONE, NONE)


@dataclass(frozen=True, kw_only=True)
class _Languages:
    """A group of query languages in a claim."""

    name: str
    words: str
    languages: tuple[str, ...]


def claims_of(results: GridResults) -> list[Claim]:
    """Return the claims of ``findings.claims`` that the grid can say something about, set by set."""
    chosen = results.plan.grid.findings.claims
    return [claim for claim in _Study(results).claims() if claim.name in chosen]


class _Study:
    """A grid's results as the study's claims read them."""

    def __init__(self, results: GridResults) -> None:
        self.results = results
        self.settings = results.plan.grid.findings
        self.untaken = dict(untaken(results))
        self.cells: dict[_Place, dict[int, Cell]] = {}
        for cell in results.plan.cells:
            self.cells.setdefault((cell.contaminate, cell.unlearn, cell.method), {})[cell.seed] = cell
        self.margin = self.settings.margin / 100
        self._known: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}

    # -- claims ----------------------------------------------------------------------------------------------

    def claims(self) -> Iterator[Claim]:
        for contaminate in self.results.plan.grid.contaminate:
            if contaminate != NONE:
                yield from self._spread(contaminate)
        for contaminate, unlearn, method in self.cells:
            if NONE not in {contaminate, unlearn}:
                yield from self._unlearning((contaminate, unlearn, method))

    def _spread(self, contaminate: str) -> Iterator[Claim]:
        place = (contaminate, *_BEFORE)
        claim = self._claims(place, "none", why_not=self._no_control())
        surfaces = self.settings.surfaces / 100
        others = tuple(q for q in self._queries() if q != contaminate)
        if ENGLISH in others:
            parts = self._excess(place, (ENGLISH,), above=True, threshold=surfaces)
            yield claim("spread-english", "fakes surface when asked in English", parts)
        parts = self._excess(place, others, above=True, threshold=surfaces)
        yield claim("spread-every", "fakes surface in every other language", parts)
        high, low = (tuple(q for q in others if q != ENGLISH and self._is(q, level)) for level in ("high", "low"))
        both = self._groups_pair(place, high, low)
        if both:
            label = f"{'+'.join(high)} against {'+'.join(low)}"
            parts = [Part(label=label, pair=both, threshold=0.0, above=True)]
            sentence = "fakes surface more in high-resource than in low-resource languages"
            yield self._claims(place, "none")("spread-high", sentence, parts)
        own = [
            Part(label=f"{contaminate} against {q}", pair=pair, threshold=0.0, above=True)
            for q in others
            if contaminate in self._queries() and (pair := self._pair(place, contaminate, place, q))
        ]
        yield self._claims(place, "none")("spread-own", "fakes surface most in their own language", own)

    def _unlearning(self, place: _Place) -> Iterator[Claim]:
        contaminate, unlearn, _ = place
        languages = set(unlearn.split("+"))
        name = set_name(languages, contaminate)
        why_not = self._no_control() or self.untaken.get(contaminate, "")
        claim = self._claims(place, name, why_not=why_not)
        groups = self._groups(contaminate)
        if contaminate != ENGLISH:
            if languages == {ENGLISH}:
                yield from self._cleared(claim, place, [groups["english"], groups["high"]], by=_words("en"))
                yield from self._left(claim, place, [groups["source"], groups["low"]], by=_words("en"))
            if languages == {contaminate}:
                by = _words("source")
                yield from self._cleared(claim, place, [groups["source"], groups["low"]], by=by)
                yield from self._left(claim, place, [groups["english"], groups["high"]], by=by)
            if languages == {ENGLISH, contaminate}:
                every = _Languages(name="all", words="every language", languages=self._queries())
                yield from self._cleared(claim, place, [every], by=_words("en+source"))
        if len(languages) >= MANY:
            yield from self._left(claim, place, list(groups.values()), by=_words(name))
        outside = tuple(q for q in self._queries() if q not in languages)
        rises = [
            Part(label=f"asked in {q}", pair=pair, threshold=self.settings.rise / 100, above=True)
            for q in outside
            if (pair := self._pair(place, q, (contaminate, *_BEFORE), q))
        ]
        if rises:
            words = f"unlearning {_words(name)} raises the fake in a language outside the set"
            yield self._claims(place, name)("reinforcement", words, rises, every=False, everywhere=False)
        kept = self._kept(place, self._queries())
        if kept:
            yield self._claims(place, name)("utility", f"unlearning {_words(name)} keeps QR in every language", kept)

    def _cleared(
        self, claim: Callable[..., Claim], place: _Place, groups: Sequence[_Languages], *, by: str
    ) -> Iterator[Claim]:
        for group in groups:
            there = self._there(place[0], group.languages)
            parts = [*self._excess(place, there, above=False, threshold=self.margin), *self._kept(place, there)]
            absent = "" if there else self._absent(group)
            if group.languages:
                yield claim(f"clears-{group.name}", f"unlearning {by} clears {group.words}", parts, why_not=absent)

    def _left(
        self, claim: Callable[..., Claim], place: _Place, groups: Sequence[_Languages], *, by: str
    ) -> Iterator[Claim]:
        for group in groups:
            there = self._there(place[0], group.languages)
            parts = self._excess(place, there, above=True, threshold=self.margin)
            absent = "" if there else self._absent(group)
            sentence = f"unlearning {by} does not clear {group.words}"
            if group.languages:
                yield claim(f"leaves-{group.name}", sentence, parts, every=False, why_not=absent)

    def _claims(self, place: _Place, unlearn: str, *, why_not: str = "") -> Callable[..., Claim]:
        """Return a maker of claims on a place, for which a reason not to decide goes before all others."""

        def make(
            name: str, sentence: str, parts: Sequence[Part], *, every: bool = True, everywhere: bool = True, **more: str
        ) -> Claim:
            reason = why_not or more.get("why_not", "")
            return Claim(
                name=name, sentence=sentence, contaminate=place[0], unlearn=unlearn, method=place[2],
                parts=tuple(parts), every=every, everywhere=everywhere, why_not=reason,
            )  # fmt: skip

        return make

    # -- parts -----------------------------------------------------------------------------------------------

    def _excess(self, place: _Place, queries: Sequence[str], *, above: bool, threshold: float) -> list[Part]:
        """Return OF minus the clean control's in each language."""
        pairs = {q: self._pair(place, q, (NONE, *_BEFORE), q) for q in queries}
        return [
            Part(label=f"asked in {q}", pair=pair, threshold=threshold, above=above)
            for q, pair in pairs.items()
            if pair
        ]

    def _kept(self, place: _Place, queries: Sequence[str]) -> list[Part]:
        """Return QR minus the share of QR before that must be kept, in each language that had any to keep."""
        share, words = 1 - self.settings.qr_fall / 100, f"minus {100 - self.settings.qr_fall:.0f} % of before"
        before = (place[0], *_BEFORE)
        pairs = {
            q: self._pair(place, q, before, q, measure="qr", weight=share)
            for q in queries
            if 100 * fmean([hits.rate for hits in self._hits(before, q, "qr").values()] or [0.0]) >= self.settings.known
        }
        return [
            Part(label=f"QR asked in {q} {words}", pair=pair, threshold=0.0, above=True)
            for q, pair in pairs.items()
            if pair
        ]

    def _there(self, contaminate: str, queries: Sequence[str]) -> tuple[str, ...]:
        """Return the languages in which the fake was there before unlearning: elsewhere nothing can be cleared."""
        asked = (contaminate, tuple(queries))
        if asked not in self._known:
            known = self._excess((contaminate, *_BEFORE), queries, above=True, threshold=self.margin)
            rates = Contrasts.of([part.pair for part in known]).estimate
            there = {part.label for part, rate in zip(known, rates, strict=True) if rate >= self.margin}
            self._known[asked] = tuple(q for q in queries if f"asked in {q}" in there)
        return self._known[asked]

    def _pair(
        self, first: _Place, query: str, second: _Place, other: str, *, measure: str = "of", weight: float = 1.0
    ) -> Pair | None:
        one, two = self._hits(first, query, measure), self._hits(second, other, measure)
        seeds = [seed for seed in one if seed in two]
        return Pair.of_hits([one[s] for s in seeds], [two[s] for s in seeds], weight=weight) if seeds else None

    def _groups_pair(self, place: _Place, high: Sequence[str], low: Sequence[str]) -> Pair | None:
        """Pair the mean shares of two groups of languages."""
        by_query = {q: self._hits(place, q, "of") for q in (*high, *low)}
        seeds = [s for s in self.cells.get(place, {}) if all(s in hits for hits in by_query.values())]
        if not high or not low or not seeds:
            return None
        every = common(*(by_query[q][s] for q in by_query for s in seeds))
        if not every[0]:
            return None
        shares = np.array([hits.shares for hits in every]).reshape(len(by_query), len(seeds), -1)
        asked = np.ones(shares.shape[-1])
        return Pair(shares[: len(high)].mean(0), asked, shares[len(high) :].mean(0), asked)

    def _hits(self, place: _Place, query: str, measure: str) -> dict[int, Hits]:
        """Return a cell's hits in a query language, by seed."""
        found = {}
        for seed, cell in self.cells.get(place, {}).items():
            rates = self.results.rates_of(cell, query)
            hits = getattr(rates, measure) if rates else None
            if hits:
                found[seed] = hits
        return found

    # -- languages -------------------------------------------------------------------------------------------

    def _queries(self) -> tuple[str, ...]:
        return tuple(self.results.plan.grid.languages)

    def _groups(self, contaminate: str) -> dict[str, _Languages]:
        others = [q for q in self._queries() if q not in (ENGLISH, contaminate)]
        source = tuple(q for q in self._queries() if q == contaminate)
        high, low = (tuple(q for q in others if self._is(q, level)) for level in ("high", "low"))
        english = tuple(q for q in self._queries() if q == ENGLISH)
        return {
            "english": _Languages(name="english", words="English", languages=english),
            "source": _Languages(name="source", words="the contaminating language", languages=source),
            "high": _Languages(name="high", words="the other high-resource languages", languages=high),
            "low": _Languages(name="low", words="the other low-resource languages", languages=low),
        }

    def _is(self, language: str, level: str) -> bool:
        return resources_of(self.settings, language) == level

    # -- reasons ---------------------------------------------------------------------------------------------

    def _no_control(self) -> str:
        return "" if (NONE, *_BEFORE) in self.cells else "the grid has no clean control"

    def _absent(self, group: _Languages) -> str:
        asked = ", ".join(Language(q).name for q in group.languages)
        return f"before unlearning the fake was not there ({asked})"


def resources_of(settings: Findings, language: str) -> Resources:
    """Return whether a language has much text or little: as ``findings.resources`` says, else by its class."""
    return settings.resources.get(language) or ("low" if low_resource(language) else "high")


def set_name(languages: set[str], contaminate: str) -> str:
    """Name a set so that it is the same for all contamination languages."""
    if contaminate == ENGLISH and languages == {ENGLISH}:
        return "en"
    if languages == {contaminate}:
        return "source"
    if languages == {ENGLISH, contaminate}:
        return "en+source"
    return "+".join(sorted(languages))


def _words(name: str) -> str:
    alone = {"en": "English alone", "source": "the contaminating language alone"}
    return {**alone, "en+source": "English and the contaminating language"}.get(name, name.replace("+", ", "))
