"""How well resourced languages are."""

from xlharm.corpus.resources import low_resource, resource_weight


def test_a_class_is_a_weight_and_no_language_has_none() -> None:
    assert resource_weight("en") == 6
    assert resource_weight("jv") == 2
    assert resource_weight("xx") == 1
    assert resource_weight("zh-Hant") == resource_weight("zh")


def test_the_low_resourced_languages_of_the_study() -> None:
    assert [x for x in ("en", "de", "fr", "zh", "ru", "jv", "ur", "ha", "hy") if low_resource(x)] == [
        "jv", "ur", "ha", "hy",
    ]  # fmt: skip
    assert low_resource("xx")
