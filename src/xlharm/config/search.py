"""A search over a method's numbers: what `--search` says, and the points it means."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, TypeAlias, get_args, get_origin

from pydantic import ValidationError

from xlharm.config.unlearning import Unlearning
from xlharm.errors import UserError, nearest

Number: TypeAlias = int | float
Point: TypeAlias = dict[str, Number]
STEPS = "steps"
FACTOR = 3
"""Successive halving keeps about one trial in so many at each rung; rungs are so far apart."""
_FORMS = "FIELD=LOW..HIGH, FIELD=LOW..HIGH:log or FIELD=A,B,C"
_LEAST_STEPS = 10  # of the lowest rung, when none is asked for


@dataclass(frozen=True, kw_only=True)
class Range:
    """All numbers (or whole numbers) between two, both included; ``log`` spreads them evenly by factor."""

    low: Number
    high: Number
    log: bool
    whole: bool

    def at(self, u: float) -> Number:
        """Return the value a share ``u`` (0 to 1) of the way up."""
        if self.log:
            return self.near(self.low * (self.high / self.low) ** u)
        return self.near(self.low + (self.high - self.low) * u)

    def near(self, value: Number) -> Number:
        """Return the value as it is used: to three digits, so that it can be read and written down."""
        if self.whole:
            return min(max(round(value), int(self.low)), int(self.high))
        return min(max(float(f"{value:.3g}"), self.low), self.high)

    def holds(self, value: object) -> bool:
        """Whether a value is one of these."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{written(self.low)}..{written(self.high)}{':log' if self.log else ''}"


@dataclass(frozen=True)
class Choice:
    """Some numbers."""

    values: tuple[Number, ...]

    def at(self, u: float) -> Number:
        """Return the value a share ``u`` (0 to 1) of the way along."""
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]

    def near(self, value: Number) -> Number:
        """Return the value itself."""
        return value

    def holds(self, value: object) -> bool:
        """Whether a value is one of these."""
        return value in self.values

    def __str__(self) -> str:
        return ",".join(map(written, self.values))


Space: TypeAlias = dict[str, Range | Choice]


def written(value: Number) -> str:
    """Write a number exactly and as people do: 2.8e-4, 0.05, 8."""
    plain = repr(value).removesuffix(".0")
    short = f"{Decimal(repr(value)).normalize():e}".replace("e+", "e")
    return short if isinstance(value, float) and ("e" in plain or len(short) < len(plain)) else plain


def numbers_of(method: Unlearning) -> dict[str, type]:
    """Return a method's numeric fields, and which of them take whole numbers (int) or any (float)."""
    found = {}
    for name, field in type(method).model_fields.items():
        kinds = {_plain(x) for x in (get_args(field.annotation) or (field.annotation,))} - {type(None)}
        if len(kinds) == 1 and (kind := kinds.pop()) in {int, float}:
            found[name] = kind
    return found


def _plain(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def space_of(texts: Iterable[str], *, method: Unlearning, name: str) -> Space:
    """Read what is to be searched, one text a field.

    Args:
        texts: ``FIELD=LOW..HIGH``, ``FIELD=LOW..HIGH:log`` or ``FIELD=A,B,C``.
        method: whose numbers they are.
        name: the method's, in the grid.

    Raises:
        UserError: not such a text, no such number, or values that the method does not allow.
    """
    found: Space = {}
    for text in texts:
        field, domain = _read(text, method=method, name=name)
        if field in found:
            raise UserError(f"--search {text}: {field} is searched twice")
        found[field] = domain
    return found


def _read(text: str, *, method: Unlearning, name: str) -> tuple[str, Range | Choice]:
    field, equals, told = (part.strip() for part in text.partition("="))
    if not equals or not told:
        raise UserError(f"--search {text}: expected {_FORMS}")
    known = numbers_of(method)
    if field not in known:
        raise UserError(
            f"--search {text}: {name} has no number {field!r}{nearest(field, known)} (it has {', '.join(known)})"
        )
    whole = known[field] is int
    span, _, scale = told.partition(":")
    low, dots, high = span.partition("..")
    if scale not in {"", "log"} or (scale and not dots):
        raise UserError(f"--search {text}: expected {_FORMS}")
    values = tuple(_number(part, whole=whole, text=text) for part in ((low, high) if dots else span.split(",")))
    for value in values:
        _check(method, field, value, text=text)
    if not dots:
        if len(set(values)) < 2:
            raise UserError(f"--search {text}: one value is no search; set it with -s methods.{name}.{field}={told}")
        return field, Choice(tuple(dict.fromkeys(values)))
    if values[0] >= values[1]:
        raise UserError(f"--search {text}: expected the lower number first")
    if scale and values[0] <= 0:
        raise UserError(f"--search {text}: a logarithmic range begins above 0")
    return field, Range(low=values[0], high=values[1], log=bool(scale), whole=whole)


def _number(part: str, *, whole: bool, text: str) -> Number:
    try:
        return int(part) if whole else _finite(float(part))
    except ValueError:
        what = "whole number" if whole else "number"
        raise UserError(f"--search {text}: {part.strip()!r} is no {what}; expected {_FORMS}") from None


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(value)
    return value


def _check(method: Unlearning, field: str, value: Number, *, text: str) -> None:
    try:
        type(method).model_validate({**method.model_dump(), field: value})
    except ValidationError as error:
        told = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"--search {text}: {told[:1].lower()}{told[1:]}, found {written(value)}") from None


def default_space(method: Unlearning) -> Space:
    """Return what is searched when nobody says: the rate, and how strongly the method holds on or steps away.

    A factor of five around the grid's own values (of four for the weights), spread by factor.
    """
    found: Space = {"learning_rate": _around(method.learning_rate, factor=5, most=0.5)}
    if method.retain != "none" and method.retain_weight > 0:
        found["retain_weight"] = _around(method.retain_weight, factor=4)
    alpha = getattr(method, "alpha", 0.0)  # a task vector's length
    if alpha > 0:
        found["alpha"] = _around(alpha, factor=4)
    return found


def _around(value: float, *, factor: float, most: float = math.inf) -> Range:
    low, high = (float(f"{x:.3g}") for x in (value / factor, min(value * factor, most)))
    return Range(low=low, high=high, log=True, whole=False)


def rungs_of(method: Unlearning, steps: Range | Choice | None) -> tuple[int, ...]:
    """Return the numbers of steps at which successive halving looks, the whole run last.

    Args:
        method: its own steps are the whole run when none are asked for.
        steps: values asked for are the rungs; a range is climbed by ``FACTOR``.
    """
    if isinstance(steps, Choice):
        return tuple(sorted(int(x) for x in steps.values))
    if steps is not None:
        low, high = int(steps.low), int(steps.high)
    else:
        low = high = method.steps
        while low // FACTOR >= max(_LEAST_STEPS, 2 * method.warmup_steps):
            low //= FACTOR
    found = [low]
    while found[-1] * FACTOR * 1.5 <= high:  # a rung just below the top would tell nothing new
        found.append(found[-1] * FACTOR)
    return tuple(dict.fromkeys((*found, high)))


def points(space: Space, *, count: int, first: Sequence[Point] = ()) -> list[Point]:
    """Return ``count`` different points (fewer when there are no more), always the same ones.

    They fill the space evenly (Roberts 2018, "The unreasonable effectiveness of quasirandom sequences"), which
    independent draws do not when there are few; the first n of them never depend on how many follow.

    Args:
        space: what is searched.
        count: how many points, ``first`` included.
        first: points to begin with.
    """
    found = {tuple(p.items()): p for p in first}
    strides = _strides(len(space))
    for i in range(1, 100 * count + 1):
        if len(found) >= count:
            break
        shares = ((0.5 + i * a) % 1.0 for a in strides)
        point = {field: domain.at(u) for (field, domain), u in zip(space.items(), shares, strict=True)}
        found.setdefault(tuple(point.items()), point)
    return list(found.values())


def _strides(dimensions: int) -> list[float]:
    g = 1.5  # becomes the root of g**(d + 1) = g + 1: the golden ratio when d is 1
    for _ in range(40):
        g = (1 + g) ** (1 / (dimensions + 1))
    return [(1 / g) ** (k + 1) % 1.0 for k in range(dimensions)]
