"""Figures as shapes: where each line, point and word of a chart stands. The page draws them as inline SVG."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil, cos, hypot, log10, pi, sin
from typing import assert_never

from xlharm.analysis.charts import Forest, Network, Point, Scatter
from xlharm.analysis.wording import Language

WIDTH = 620.0
_HEIGHT, _LEFT, _BOTTOM, _TOP = 340.0, 44.0, 34.0, 14.0
_ROW, _LABELS = 22.0, 250.0
_LETTER = 6.2  # mean width of a letter


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One SVG element: its name, its attributes, and its text."""

    tag: str
    attributes: dict[str, str | float]
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure; ``words`` say to a screen reader what it shows."""

    name: str
    title: str
    words: str
    width: float
    height: float
    shapes: tuple[Shape, ...] = field(repr=False)


def drawing(chart: Forest | Scatter | Network) -> Drawing:
    """Arrange a chart."""
    match chart:
        case Forest():
            return _forest(chart)
        case Scatter():
            return _scatter(chart)
        case Network():
            return _network(chart)
        case _:
            assert_never(chart)


def _line(css: str, x1: float, y1: float, x2: float, y2: float) -> Shape:
    return Shape(tag="line", attributes={"class": css, "x1": _r(x1), "y1": _r(y1), "x2": _r(x2), "y2": _r(y2)})


def _text(css: str, x: float, y: float, text: str, *, anchor: str = "start") -> Shape:
    return Shape(tag="text", attributes={"class": css, "x": _r(x), "y": _r(y), "text-anchor": anchor}, text=text)


def _circle(css: str, x: float, y: float, radius: float) -> Shape:
    return Shape(tag="circle", attributes={"class": css, "cx": _r(x), "cy": _r(y), "r": _r(radius)})


def _r(value: float) -> float:
    return round(value, 1)


def _forest(chart: Forest) -> Drawing:
    bounds = [0.0]
    for row in chart.rows:
        bounds += [row.low, row.high, *([row.threshold] if row.threshold is not None else [])]
    low, high = 10 * (min(bounds) // 10), 10 * -(-max(bounds) // 10)
    scale = (WIDTH - _LABELS - 16) / max(high - low, 10)
    bottom = _TOP + _ROW * len(chart.rows)

    def x(value: float) -> float:
        return _LABELS + (value - low) * scale

    shapes = []
    step = 10 if high - low <= 80 else 20 if high - low <= 160 else _wide_step(high - low)
    for tick in range(step * -(-int(low) // step), int(high) + 1, step):
        shapes.append(_line("zero" if tick == 0 else "grid", x(tick), _TOP, x(tick), bottom))
        shapes.append(_text("tick", x(tick), bottom + 15, f"{tick}", anchor="middle"))
    for i, row in enumerate(chart.rows):
        y = _TOP + _ROW * (i + 0.5)
        shapes.append(_text("name", _LABELS - 10, y + 4, _cut(row.label, _LABELS - 14), anchor="end"))
        shapes.append(_line(f"range {row.tone}", x(row.low), y, x(row.high), y))
        if row.threshold is not None:
            shapes.append(_line("limit", x(row.threshold), y - 8, x(row.threshold), y + 8))
        shapes.append(_circle(f"point {row.tone}", x(row.value), y, 4))
    shapes.append(_text("tick", WIDTH - 12, bottom + 30, chart.axis, anchor="end"))
    words = "; ".join(f"{r.label}: {r.value:.0f} ({r.low:.0f} to {r.high:.0f})" for r in chart.rows)
    return Drawing(
        name=chart.name, title=chart.title, words=words, width=WIDTH, height=bottom + 36, shapes=tuple(shapes)
    )


def _wide_step(span: float) -> int:
    """Return the distance of an axis's ticks, at most eleven of them; the limits of a ratio can be very wide."""
    return 50 if span <= 500 else int(10 ** ceil(log10(span / 10)))


def _cut(text: str, width: float) -> str:
    most = int(width / _LETTER)
    return text if len(text) <= most else text[: most - 1] + "…"


def _scatter(chart: Scatter) -> Drawing:
    points = chart.points
    low = min(chart.limit - 10, *(10 * (p.x_low // 10) for p in points))
    high = max(chart.limit + 15, *(p.x_high for p in points))
    top = max(20.0, *(p.y_high for p in points))

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - 12)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _BOTTOM - _TOP)

    base = y(0)
    shapes = []
    x_step = 10 if high - low <= 120 else _wide_step(high - low)
    for tick in range(x_step * -(-int(low) // x_step), int(high) + 1, x_step):
        shapes += [
            _line("grid", x(tick), _TOP, x(tick), base),
            _text("tick", x(tick), base + 16, f"{tick}", anchor="middle"),
        ]
    for tick in range(0, int(top) + 1, 10 if top <= 60 else 20):
        shapes += [
            _line("grid", _LEFT, y(tick), WIDTH - 12, y(tick)),
            _text("tick", _LEFT - 6, y(tick) + 4, f"{tick}", anchor="end"),
        ]
    shapes.append(_line("limit", x(chart.limit), _TOP, x(chart.limit), base))
    shapes += [_text("tick", WIDTH - 12, _HEIGHT - 3, chart.x_axis, anchor="end"), _text("tick", 6, 11, chart.y_axis)]
    front = sorted((p for p in points if p.front), key=lambda p: p.x)
    if len(front) > 1:
        way = " L".join(f"{_r(x(p.x))} {_r(y(p.y))}" for p in front)
        shapes.append(Shape(tag="path", attributes={"class": "front", "d": f"M{way}"}))
    places = _names([(p.label, x(p.x), y(p.y)) for p in points])
    for p, (name_x, name_y, anchor) in zip(points, places, strict=True):
        tone = "good" if p.good else "bad"
        shapes += [
            _line(f"range {tone}", x(p.x_low), y(p.y), x(p.x_high), y(p.y)),
            _line(f"range {tone}", x(p.x), y(p.y_low), x(p.x), y(p.y_high)),
            _circle(f"point {tone}", x(p.x), y(p.y), 4),
            _text("name", name_x, name_y, p.label, anchor=anchor),
        ]
    return Drawing(
        name=chart.name, title=chart.title, words=_said(points), width=WIDTH, height=_HEIGHT, shapes=tuple(shapes)
    )


def _said(points: Iterable[Point]) -> str:
    return "; ".join(f"{p.label}: QR kept {p.x:.0f} %, OF {p.y:.0f}" + (", front" if p.front else "") for p in points)


def _names(points: list[tuple[str, float, float]]) -> list[tuple[float, float, str]]:
    """Put each name beside its point where it covers no other name or point; (x, y, text-anchor)."""
    taken = [(px - 5, py - 5, px + 5, py + 5) for _, px, py in points]
    places = []
    for name, px, py in points:
        width = _LETTER * len(name)
        choices = [(dx, dy) for step in range(7) for dy in (4 - 12 * step, 4 + 12 * step) for dx in (8, -8)]
        boxes = [(px + dx if dx > 0 else px + dx - width, py + dy - 9) for dx, dy in choices]
        free = [
            i
            for i, (bx, by) in enumerate(boxes)
            if 0 <= bx < WIDTH + 20 - width
            and _TOP - 8 < by < _HEIGHT - _BOTTOM - 3
            and not any(bx < r and bx + width > le and by < b and by + 11 > t for le, t, r, b in taken)
        ]
        best = free[0] if free else 0
        (dx, dy), (bx, by) = choices[best], boxes[best]
        taken.append((bx, by, bx + width, by + 11))
        places.append((px + dx, py + dy, "start" if dx > 0 else "end"))
    return places


def _network(chart: Network) -> Drawing:
    size, radius = 420.0, 160.0
    centre = (WIDTH / 2, size / 2)
    place = {
        node: (
            centre[0] + radius * sin(2 * pi * i / len(chart.nodes)),
            centre[1] - radius * cos(2 * pi * i / len(chart.nodes)),
        )
        for i, node in enumerate(chart.nodes)
    }
    drawn = sorted((e for e in chart.edges if e[2] >= chart.least), key=lambda e: e[2])
    shapes = []
    for source, target, rate in drawn:
        shapes += _arrow(place[source], place[target], rate=rate, words=f"{source} to {target}: {rate:.0f}")
    for node, (x, y) in place.items():
        shapes += [_circle("node", x, y, 17), _text("name node-name", x, y + 4, node, anchor="middle")]
    words = "; ".join(f"{Language(a).name} to {Language(b).name}: {rate:.0f}" for a, b, rate in reversed(drawn))
    return Drawing(
        name=chart.name, title=chart.title, words=words or "none", width=WIDTH, height=size, shapes=tuple(shapes)
    )


def _arrow(start: tuple[float, float], end: tuple[float, float], *, rate: float, words: str) -> list[Shape]:
    """Bend a line a little, so that two ways between two nodes lie apart; its width and depth grow with the rate."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = hypot(dx, dy)
    ux, uy = dx / length, dy / length
    x1, y1 = start[0] + 19 * ux, start[1] + 19 * uy
    x2, y2 = end[0] - 24 * ux, end[1] - 24 * uy
    bend = (x1 + x2) / 2 - 22 * uy, (y1 + y2) / 2 + 22 * ux
    way = f"M{_r(x1)} {_r(y1)} Q{_r(bend[0])} {_r(bend[1])} {_r(x2)} {_r(y2)}"
    tx, ty = x2 - bend[0], y2 - bend[1]
    turn = hypot(tx, ty) or 1.0
    tx, ty = tx / turn, ty / turn
    tip = [(x2 + 6 * tx, y2 + 6 * ty), (x2 - 3.5 * ty, y2 + 3.5 * tx), (x2 + 3.5 * ty, y2 - 3.5 * tx)]
    depth = "strong" if rate >= 50 else "some" if rate >= 25 else "weak"
    head = " L".join(f"{_r(a)} {_r(b)}" for a, b in tip)
    return [
        Shape(
            tag="path", attributes={"class": f"edge {depth}", "d": way, "stroke-width": _r(0.6 + rate / 28)}, text=words
        ),
        Shape(tag="path", attributes={"class": f"tip {depth}", "d": f"M{head}Z"}),
    ]
