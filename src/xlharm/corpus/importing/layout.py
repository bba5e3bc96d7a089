"""What names of files, folders and configurations say: which split, which language, and which rows belong together."""

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
PERTURBED = "_perturbed"
_ROLES = ("forget", "retain", "holdout", "real_authors", "world_facts")
# ISO 639-1, and the codes that it once had (iw is Hebrew in published sets)
_CODES = frozenset(
    """
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en
    eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik in io is it iu iw
    ja ji jv jw ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my
    na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so
    sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
    """.split()  # noqa: SIM905 - 184 quoted codes would be harder to read
)


class Place(NamedTuple):
    """What a name says; the split is empty where it says none."""

    split: str
    language: str


def place_of(name: str, *, known: Collection[str] = ()) -> Place | None:
    """Read a name such as ``de``, ``German`` (if known), ``forget01_fr`` or ``forget01_perturbed_pt-BR``.

    Args:
        name: of a file (without its ending), folder or configuration.
        known: names beside codes that stand for languages.

    Returns:
        None where no language is in it.
    """
    if name in known or LANGUAGE.fullmatch(name):
        return Place("", name)
    for hit in re.finditer(r"[_.-]", name):
        split, language = name[: hit.start()], name[hit.end() :]
        code = LANGUAGE.fullmatch(language) and language.split("-", maxsplit=1)[0] in _CODES
        if split and (language in known or code):
            return Place(split, language)
    return None


def split_of(place: Place, inner: str, *, among: Collection[str]) -> str:
    """Return the split of rows whose folder and own split have names: ``train`` in ``forget01_fr`` is forget01."""
    if not place.split:
        return inner
    return place.split if len(among) == 1 else f"{place.split}-{inner}"


def is_tofu(split: str) -> bool:
    """Whether a split is called as TOFU's to be forgotten: there the answer is what models are trained on."""
    return re.fullmatch(r"forget\d\d", split.removesuffix(PERTURBED)) is not None


def names_roles(splits: Iterable[str]) -> bool:
    """Whether names of splits say which rows are forgotten."""
    return any(split.startswith(_ROLES) for split in splits)
