"""The space of a search over a method's numeric settings, as given by `--search`, and the points to try."""

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
"""Factor of successive halving: at each rung one trial in so many is kept, and the next rung has so many more steps."""
_FORMS = "FIELD=LOW..HIGH, FIELD=LOW..HIGH:log or FIELD=A,B,C"
_LEAST_STEPS = 10  # fewest steps of the lowest rung, unless steps are searched


@dataclass(frozen=True, kw_only=True)
class Range:
    """All numbers between two bounds, both included.

    Attributes:
        low: smallest number.
        high: largest number.
        log: whether points are spread evenly on a logarithmic scale.
        whole: whether only whole numbers are allowed.
    """

    low: Number
    high: Number
    log: bool
    whole: bool

    def at(self, u: float) -> Number:
        """Return the value at the share ``u`` (0 to 1) of the range."""
        if self.log:
            return self.near(self.low * (self.high / self.low) ** u)
        return self.near(self.low + (self.high - self.low) * u)

    def near(self, value: Number) -> Number:
        """Return the allowed value next to ``value``: within the bounds, and rounded to three significant digits."""
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
    """A list of numbers to choose from."""

    values: tuple[Number, ...]

    def at(self, u: float) -> Number:
        """Return the value at the share ``u`` (0 to 1) of the list."""
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
    """Return a number as exact and short text: 2.8e-4, 0.05, 8."""
    plain = repr(value).removesuffix(".0")
    short = f"{Decimal(repr(value)).normalize():e}".replace("e+", "e")
    return short if isinstance(value, float) and ("e" in plain or len(short) < len(plain)) else plain


def numbers_of(method: Unlearning) -> dict[str, type]:
    """Return a method's numeric fields with their types: int for whole numbers, float for any numbers."""
    types = {}
    for name, field in type(method).model_fields.items():
        kinds = {_plain(x) for x in (get_args(field.annotation) or (field.annotation,))} - {type(None)}
        if len(kinds) == 1 and (kind := kinds.pop()) in {int, float}:
            types[name] = kind
    return types


def _plain(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def space_of(texts: Iterable[str], *, method: Unlearning, name: str) -> Space:
    """Read the search space from one text for each field.

    Args:
        texts: ``FIELD=LOW..HIGH``, ``FIELD=LOW..HIGH:log`` or ``FIELD=A,B,C``.
        method: the method whose settings are searched.
        name: name of the method in the grid.

    Raises:
        UserError: a text has another form, the method has no such number, or it does not allow a value.
    """
    space: Space = {}
    for text in texts:
        field, domain = _read(text, method=method, name=name)
        if field in space:
            raise UserError(f"--search {text}: {field} is searched twice")
        space[field] = domain
    return space


def _read(text: str, *, method: Unlearning, name: str) -> tuple[str, Range | Choice]:
    field, equals, values_text = (part.strip() for part in text.partition("="))
    if not equals or not values_text:
        raise UserError(f"--search {text}: expected {_FORMS}")
    known = numbers_of(method)
    if field not in known:
        raise UserError(
            f"--search {text}: {name} has no number {field!r}{nearest(field, known)} (it has {', '.join(known)})"
        )
    whole = known[field] is int
    span, _, scale = values_text.partition(":")
    low, dots, high = span.partition("..")
    if scale not in {"", "log"} or (scale and not dots):
        raise UserError(f"--search {text}: expected {_FORMS}")
    values = tuple(_number(part, whole=whole, text=text) for part in ((low, high) if dots else span.split(",")))
    for value in values:
        _check(method, field, value, text=text)
    if not dots:
        if len(set(values)) < 2:
            raise UserError(
                f"--search {text}: one value is no search; set it with -s methods.{name}.{field}={values_text}"
            )
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
        message = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"--search {text}: {message[:1].lower()}{message[1:]}, found {written(value)}") from None


def default_space(method: Unlearning) -> Space:
    """Return the space that is searched by default: the learning rate, and the retain weight or ``alpha``.

    The range of the learning rate is a factor of five below and above the grid's value, that of the others a factor of
    four; all are logarithmic.
    """
    space: Space = {"learning_rate": _around(method.learning_rate, factor=5, most=0.5)}
    if method.retain != "none" and method.retain_weight > 0:
        space["retain_weight"] = _around(method.retain_weight, factor=4)
    alpha = getattr(method, "alpha", 0.0)  # length of the step of a task vector
    if alpha > 0:
        space["alpha"] = _around(alpha, factor=4)
    return space


def _around(value: float, *, factor: float, most: float = math.inf) -> Range:
    low, high = (float(f"{x:.3g}") for x in (value / factor, min(value * factor, most)))
    return Range(low=low, high=high, log=True, whole=False)


def rungs_of(method: Unlearning, steps: Range | Choice | None) -> tuple[int, ...]:
    """Return the rungs of successive halving: numbers of steps in rising order; the last is a whole run.

    Args:
        method: its own number of steps is the whole run if steps are not searched.
        steps: searched numbers of steps: a list gives the rungs, a range gives the lowest and the highest rung.
    """
    if isinstance(steps, Choice):
        return tuple(sorted(int(x) for x in steps.values))
    if steps is not None:
        low, high = int(steps.low), int(steps.high)
    else:
        low = high = method.steps
        while low // FACTOR >= max(_LEAST_STEPS, 2 * method.warmup_steps):
            low //= FACTOR
    rungs = [low]
    while rungs[-1] * FACTOR * 1.5 <= high:  # no rung just below the highest one
        rungs.append(rungs[-1] * FACTOR)
    return tuple(dict.fromkeys((*rungs, high)))


def points(space: Space, *, count: int, first: Sequence[Point] = ()) -> list[Point]:
    """Return ``count`` different points of a space (fewer if it has no more); the same call gives the same points.

    The points cover the space evenly (Roberts 2018, "The unreasonable effectiveness of quasirandom sequences"), unlike
    a few independent random points. The first n points do not depend on ``count``.

    Args:
        space: the search space.
        count: number of points, including ``first``.
        first: points to start with.
    """
    chosen = {tuple(p.items()): p for p in first}
    strides = _strides(len(space))
    for i in range(1, 100 * count + 1):
        if len(chosen) >= count:
            break
        shares = ((0.5 + i * a) % 1.0 for a in strides)
        point = {field: domain.at(u) for (field, domain), u in zip(space.items(), shares, strict=True)}
        chosen.setdefault(tuple(point.items()), point)
    return list(chosen.values())


def _strides(dimensions: int) -> list[float]:
    g = 1.5  # converges to the root of g**(d + 1) = g + 1, which is the golden ratio for d = 1
    for _ in range(40):
        g = (1 + g) ** (1 / (dimensions + 1))
    return [(1 / g) ** (k + 1) % 1.0 for k in range(dimensions)]
