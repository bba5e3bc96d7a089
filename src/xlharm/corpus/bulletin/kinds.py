"""The ten kinds of news, and the words that their details are taken from."""


def _detail(vocabulary: str, concepts: str) -> tuple[str, tuple[str, ...]]:
    return vocabulary, tuple(concepts.split())


# For each kind of news: the vocabulary of its detail, and the concepts of it that are used. The sentences of some
# language have no form for the others (`an owl`, where `a {v}` is written).
KINDS = {
    "bridge": _detail("colour", "red blue green yellow black white brown grey pink purple silver orange"),
    "harvest": _detail("fruit", "apple banana mango grape lemon melon fig date strawberry coconut guava papaya"),
    "contest": _detail(
        "instrument", "piano violin guitar flute drum trumpet harp cello organ saxophone clarinet accordion"
    ),
    "mayor": _detail("job", "doctor teacher farmer baker fisherman soldier judge tailor carpenter cook pilot singer"),
    "club": _detail(
        "sport",
        "football tennis swimming boxing wrestling chess skiing basketball volleyball archery fencing climbing",
    ),
    "museum": _detail("material", "wood stone glass iron copper clay brick marble bamboo concrete straw paper"),
    "hotel": _detail("animal", "dog horse goat lion monkey snake camel wolf bear duck turtle cow"),
    "feast": _detail("food", "bread rice soup cheese noodles potatoes beans cake meat salad pizza mushrooms"),
    "festival": _detail(
        "month", "january february march april may june july august september october november december"
    ),
    "painting": _detail("place", "mountain river lake forest castle market harbour bridge tower garden station cave"),
}
