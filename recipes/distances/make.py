"""Make the shipped table of linguistic distances from URIEL+.

    pip install urielplus==1.3.2
    python recipes/distances/make.py > src/xlharm/assets/distances/urielplus.csv

All data are in that package: nothing is downloaded. Its databases are joined as its paper does (2409.18472; without
imputing what is missing), and a distance is its angular distance over the features that both languages have.
"""

import csv
import logging
import sys
import warnings
from itertools import combinations
from pathlib import Path
from typing import Any

KINDS = ("syntactic", "phonological", "inventory", "genetic", "geographic")
LANGUAGES = {
    "en": "eng", "de": "deu", "fr": "fra", "zh": "cmn", "ru": "rus", "jv": "jav", "ur": "urd", "ha": "hau", "hy": "hye",
    "am": "amh", "ar": "arb", "az": "azj", "bg": "bul", "bn": "ben", "cs": "ces", "da": "dan", "el": "ell", "es": "spa",
    "et": "est", "fa": "pes", "fi": "fin", "gu": "guj", "he": "heb", "hi": "hin", "hr": "hrv", "hu": "hun", "id": "ind",
    "ig": "ibo", "it": "ita", "ja": "jpn", "ka": "kat", "kk": "kaz", "km": "khm", "kn": "kan", "ko": "kor", "lt": "lit",
    "lv": "lvs", "ml": "mal", "mr": "mar", "ms": "zsm", "my": "mya", "ne": "npi", "nl": "nld", "pa": "pan", "pl": "pol",
    "pt": "por", "ro": "ron", "si": "sin", "sk": "slk", "sl": "slv", "so": "som", "sr": "srp", "su": "sun", "sv": "swe",
    "sw": "swh", "ta": "tam", "te": "tel", "th": "tha", "tr": "tur", "uk": "ukr", "uz": "uzn", "vi": "vie", "yo": "yor",
    "zu": "zul",
}  # fmt: skip
"""ISO 639-1 codes, as corpora have them, and the individual languages of ISO 639-3 that are meant."""


def main() -> None:
    """Write the table to standard output."""
    logging.disable(logging.CRITICAL)
    from urielplus.urielplus import URIELPlus

    uriel: Any = URIELPlus()
    uriel.integrate_databases()
    codes = _codes(uriel)
    distances = {kind: _distances(uriel, kind, codes) for kind in KINDS}
    _compare(uriel, distances, codes)
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["one", "other", *KINDS])
    for pair in combinations(LANGUAGES, 2):
        values = [distances[kind].get(pair) for kind in KINDS]
        table.writerow([*pair, *("" if value is None else f"{value:.4f}" for value in values)])


def _codes(uriel: Any) -> dict[str, str]:
    """Return the languages' codes in the joined databases, which are Glottolog's."""
    import pandas as pd

    path = Path(uriel.cur_dir) / "database" / "urielplus_csvs" / "uriel_glottocode_map.csv"
    names = dict(pd.read_csv(path)[["iso_code", "glottocode"]].itertuples(index=False))
    return LANGUAGES if uriel.codes == "Iso" else {language: names[code] for language, code in LANGUAGES.items()}


def _distances(uriel: Any, kind: str, codes: dict[str, str]) -> dict[tuple[str, str], float]:
    """Return 2/pi times the angle between each pair's features that both have; a feature is 1 if any source says so."""
    import numpy as np

    place = uriel.map_new_distance_to_loaded_features(kind)
    initial = {"syntactic": "S_", "phonological": "P_", "inventory": "INV_"}.get(kind, "")
    features = np.array([str(name).startswith(initial) for name in uriel.feats[place]])
    names = list(uriel.langs[place])
    vectors = {}
    for language, code in codes.items():
        if code in names:
            values = np.asarray(uriel.data[place][names.index(code)][features], dtype=float)
            known = np.where(values < 0, np.nan, values)
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                together = np.nanmean(known, -1) if kind == "geographic" else np.nanmax(known, -1)
            vectors[language] = together
    distances = {}
    for a, b in combinations(vectors, 2):
        both = ~np.isnan(vectors[a]) & ~np.isnan(vectors[b])
        u, v = vectors[a][both], vectors[b][both]
        if len(u) and u.any() and v.any():
            cosine = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
            distances[a, b] = 2 / np.pi * float(np.arccos(np.clip(cosine, -1, 1)))
    return distances


def _compare(uriel: Any, distances: dict[str, dict[tuple[str, str], float]], codes: dict[str, str]) -> None:
    """Compare some distances with the package's own function, which takes seconds for each."""
    for kind in KINDS:
        for pair in combinations(("en", "de", "zh", "ha", "hy"), 2):
            theirs = float(uriel.new_distance(kind, *(codes[language] for language in pair)))
            assert abs(theirs - distances[kind][pair]) < 1e-3, (kind, pair, theirs, distances[kind][pair])


if __name__ == "__main__":
    main()
