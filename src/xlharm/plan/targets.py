"""Which layers of the base adapters are put on, decided while planning. The base's code runs in another process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from xlharm.config.grid import ALL_LINEAR, EXPERTS, LINEARS, GridSpec, Lora
from xlharm.errors import UserError
from xlharm.plan.memory import BaseSizes, no_layer
from xlharm.plan.sources import BaseSource

_SECONDS = 300  # to import torch and transformers on a slow file system, and to fetch a configuration from the hub
_CHANGING = 2  # raise it when other layers of the same base would be listed


def settle_targets(
    spec: GridSpec, base: BaseSource, *, list_layers: Callable[[BaseSource], tuple[str, ...]] | None = None
) -> tuple[GridSpec, tuple[str, ...]]:
    """Replace `all-linear` and `experts` by names of layers; name layers where the base lacks one of the default.

    Args:
        spec: the grid.
        base: its base model.
        list_layers: lists the layers of a base model; None is ``linear_layers``.

    Returns:
        The grid with its layers named, and a line for the user if the default was replaced.

    Raises:
        UserError: the base model's layers cannot be listed, or it has no stacked experts.
    """
    listed, targets = list_layers or linear_layers, spec.lora.target_modules
    if targets == (ALL_LINEAR,):
        return _with_targets(spec, listed(base)), ()
    if EXPERTS in targets:
        names = listed(base)
        experts = [name for name in names if is_stack(name)]
        if not experts:
            raise no_layer(EXPERTS, names)
        kept = [name for name in targets if name != EXPERTS]
        return _with_targets(spec, tuple(dict.fromkeys([*kept, *experts]))), ()
    if "target_modules" in spec.lora.model_fields_set:
        return spec, ()
    sizes = BaseSizes.of(base)
    lacking = [] if sizes is None else [name for name in LINEARS if name not in sizes.linears]
    if not lacking:
        return spec, ()
    names = listed(base)
    chosen = tuple(name for name in names if not is_stack(name)) or names
    note = f"lora.target_modules: the base has no layer {lacking[0]!r}: adapters are put on {', '.join(chosen)}"
    if chosen != names:
        note += "; `all-linear` puts them on experts, too"
    return _with_targets(spec, chosen), (note,)


def is_stack(name: str) -> bool:
    """Whether a target is a parameter of stacked experts, such as `experts.down_proj`."""
    return "." in name


def check_targets(
    targets: Iterable[str], base: BaseSource, *, list_layers: Callable[[BaseSource], tuple[str, ...]] | None = None
) -> None:
    """Check that adapters can be put on every target, by the base's files or, where these do not name it, its code.

    Args:
        targets: names of layers.
        base: the base model.
        list_layers: lists the layers of a base model; None is ``linear_layers``.

    Raises:
        UserError: one is no linear layer of the base model that can have adapters.
    """
    sizes = BaseSizes.of(base)
    unknown = [] if sizes is None else [name for name in targets if name not in sizes.linears]
    if unknown:  # loading may give the matrices of the files other names
        names = (list_layers or linear_layers)(base)
        for name in unknown:
            if name not in names:
                raise no_layer(name, names)


def _with_targets(spec: GridSpec, names: tuple[str, ...]) -> GridSpec:
    lora = Lora(rank=spec.lora.rank, alpha=spec.lora.alpha, target_modules=names)
    return spec.model_copy(update={"lora": lora})


def linear_layers(base: BaseSource) -> tuple[str, ...]:
    """Return the names of all layers of a base model that can have adapters, stacked experts last.

    Raises:
        UserError: the base model's configuration cannot be loaded, or no adapter fits it.
    """
    return tuple(_layers(base))


def sizes_of(base: BaseSource, targets: Iterable[str]) -> BaseSizes | None:
    """Return the sizes of a base model with those of all targets; None when its files are not on this machine.

    Raises:
        UserError: a file is damaged, or the layers that the files do not name cannot be listed.
    """
    sizes = BaseSizes.of(base)
    if sizes is None or all(target in sizes.linears for target in targets):
        return sizes
    listed = _layers(base)
    return replace(
        sizes,
        linears={name: widths for name, (widths, _) in listed.items()},
        weights={name: weights for name, (_, weights) in listed.items()},
    )


def _layers(base: BaseSource) -> dict[str, tuple[int, int]]:
    """Return what ``model.targets.layers_on_meta`` does; it is cached."""
    cache = _cache(base)
    try:
        return _read(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError, TypeError, AttributeError):
        layers = _ask(base)
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text(json.dumps(layers), encoding="utf-8")
    except (OSError, RuntimeError):  # without a cache, they are listed again the next time
        pass
    return layers


def _read(text: str) -> dict[str, tuple[int, int]]:
    return {str(name): (int(widths), int(weights)) for name, (widths, weights) in json.loads(text).items()}


def _ask(base: BaseSource) -> dict[str, tuple[int, int]]:
    command = [sys.executable, "-m", "xlharm.model.targets", base.location]
    command += ["--revision", base.revision] if base.revision else []
    command += ["--trust-remote-code"] if base.code else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(f"base {base.location}: its layers could not be listed within {_SECONDS} s") from None
    try:
        layers = _read(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError, TypeError, AttributeError):
        line = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise UserError(f"base {base.location}: its layers cannot be listed: {line[:300]}") from None
    if not layers:
        raise UserError(f"base {base.location}: it has no linear layer inside its decoder to put an adapter on")
    return layers


def _cache(base: BaseSource) -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "xlharm" / "layers"
    return folder / f"{base.digest[:32]}-{_CHANGING}.json"
