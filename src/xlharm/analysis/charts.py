"""Figures as data: what a view shows beside its table. The page and the paper's files draw the same ones."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Tone = Literal["good", "bad", "open"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One estimate with its limits, and the threshold that it is read against; all in points."""

    label: str
    value: float
    low: float
    high: float
    threshold: float | None = None
    tone: Tone = "open"


@dataclass(frozen=True, kw_only=True)
class Forest:
    """Estimates one below the other."""

    name: str
    title: str
    axis: str
    rows: tuple[Estimate, ...]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point with its limits in both directions."""

    label: str
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float
    good: bool
    front: bool = False


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """Points of which the lower right is best; ``limit`` is the least x that counts as good."""

    name: str
    title: str
    x_axis: str
    y_axis: str
    points: tuple[Point, ...]
    limit: float


@dataclass(frozen=True, kw_only=True)
class Square:
    """One square of a heatmap, in percent; ``value`` is None where there is no result."""

    value: float | None
    low: float | None = None
    high: float | None = None
    mark: str = ""
    framed: bool = False


@dataclass(frozen=True, kw_only=True)
class Heatmap:
    """Rates 0 to 100 by row and column."""

    name: str
    title: str
    measure: Literal["of", "qr"]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Square, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Network:
    """Rates 0 to 100 that lead from one language to another; weaker ones than ``least`` are not drawn."""

    name: str
    title: str
    nodes: tuple[str, ...]
    edges: tuple[tuple[str, str, float], ...]
    least: float


Chart = Forest | Scatter | Heatmap | Network


def with_front(points: Iterable[Point]) -> tuple[Point, ...]:
    """Mark the Pareto front: points than which no other is as far right and lower, or as low and farther right."""
    some = tuple(points)
    fronts = [not any((o.x >= p.x and o.y <= p.y) and (o.x > p.x or o.y < p.y) for o in some) for p in some]
    return tuple(replace(p, front=front) for p, front in zip(some, fronts, strict=True))
