import pytest

from xlharm.report.colours import RAMPS, READABLE, STEPS, contrast, step, swatches


@pytest.mark.parametrize(("measure", "mode"), list(RAMPS))
def test_every_number_is_readable(measure: str, mode: str) -> None:
    assert all(contrast(s.ground, s.ink) >= READABLE for s in swatches(measure, mode))


@pytest.mark.parametrize(("measure", "mode"), list(RAMPS))
def test_the_order_survives_without_colour(measure: str, mode: str) -> None:
    light = [contrast(s.ground, "#000000") for s in swatches(measure, mode)]
    assert light == sorted(light, reverse=mode == "light")
    assert len(set(light)) == STEPS + 1


def test_steps_cover_the_scale() -> None:
    assert [step(v) for v in (-1, 0, 2.4, 50, 97.6, 100, 120)] == [0, 0, 0, 10, 20, 20, 20]


def test_contrast_is_wcags() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
