"""Two sequential scales in OKLCH: even steps of lightness, so grey and colour-blind readers see the same order.

OF runs through warm hues; QR through cold ones and less far, for a high QR is the quiet case. On dark ground the
lightness runs the other way, so that much is always far from the ground. OKLCH after Ottosson (2020),
https://bottosson.github.io/posts/oklab/; contrast after WCAG 2.2.
"""

from dataclasses import dataclass
from math import cos, radians, sin

STEPS = 20
READABLE = 4.5
"""Least contrast of text (WCAG 2.2, AA). Black or white reaches it on any colour."""
_INKS = ("#1b1a17", "#ffffff")  # softer than black, where that is enough


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """Ends of a scale: lightness, chroma and hue at 0 and at 100."""

    lightness: tuple[float, float]
    chroma: tuple[float, float, float]
    hue: tuple[float, float]


RAMPS = {
    ("of", "light"): Ramp(lightness=(0.975, 0.42), chroma=(0.012, 0.125, 0.135), hue=(85, 18)),
    ("of", "dark"): Ramp(lightness=(0.27, 0.83), chroma=(0.012, 0.125, 0.115), hue=(20, 78)),
    ("qr", "light"): Ramp(lightness=(0.975, 0.64), chroma=(0.008, 0.055, 0.085), hue=(210, 250)),
    ("qr", "dark"): Ramp(lightness=(0.27, 0.60), chroma=(0.010, 0.055, 0.085), hue=(262, 235)),
}


@dataclass(frozen=True, kw_only=True)
class Swatch:
    """One step of a scale: ground and the ink that reads on it."""

    ground: str
    ink: str


def step(value: float) -> int:
    """Return the step (0 … STEPS) of a percentage."""
    return min(STEPS, max(0, round(value * STEPS / 100)))


def swatches(measure: str, mode: str) -> tuple[Swatch, ...]:
    """Return the scale of ``of`` or ``qr`` on ``light`` or ``dark`` ground, from 0 to 100."""
    ramp = RAMPS[measure, mode]
    scale = []
    for i in range(STEPS + 1):
        t = i / STEPS
        ground = _hex(_fit(_between(*ramp.lightness, t), _bend(ramp.chroma, t), _between(*ramp.hue, t)))
        scale.append(Swatch(ground=ground, ink=_ink(ground)))
    return tuple(scale)


def contrast(one: str, other: str) -> float:
    """WCAG contrast ratio of two ``#rrggbb`` colours (1 … 21)."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _ink(ground: str) -> str:
    best = max(_INKS, key=lambda ink: contrast(ink, ground))
    return best if contrast(best, ground) >= READABLE else "#000000"


def _between(a: float, b: float, t: float) -> float:
    return a + (b - a) * t


def _bend(chroma: tuple[float, float, float], t: float) -> float:
    """Chroma rises fast from the pale end: through three points, at 0, a half and 1."""
    start, middle, end = chroma
    return _between(start, middle, t * 2) if t < 0.5 else _between(middle, end, t * 2 - 1)


def _fit(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    """Lower the chroma until the colour is in sRGB; lightness and hue stay."""
    while True:
        rgb = _linear(lightness, chroma * cos(radians(hue)), chroma * sin(radians(hue)))
        if chroma <= 0 or all(-1e-4 <= c <= 1.0001 for c in rgb):
            return rgb
        chroma -= 0.002


def _linear(lightness: float, a: float, b: float) -> tuple[float, float, float]:
    """Oklab to linear sRGB."""
    lo = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    s = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * lo - 3.3077115913 * m + 0.2309699292 * s,
        -1.2684380046 * lo + 2.6097574011 * m - 0.3413193965 * s,
        -0.0041960863 * lo - 0.7034186147 * m + 1.7076147010 * s,
    )


def _hex(rgb: tuple[float, float, float]) -> str:
    def channel(c: float) -> int:
        c = min(1.0, max(0.0, c))
        return round(255 * (12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055))

    return "#" + "".join(f"{channel(c):02x}" for c in rgb)


def _luminance(colour: str) -> float:
    def linear(c: float) -> float:
        return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4

    r, g, b = (linear(int(colour[i : i + 2], 16) / 255) for i in (1, 3, 5))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
