"""Load a model only as it was planned and whole: transformers would fill missing weights with random numbers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from xlharm.errors import UserError
from xlharm.parallel import side_by_side
from xlharm.plan.base_files import check_files, weight_files
from xlharm.plan.digest import file_digest
from xlharm.plan.sources import BaseSource


@contextmanager
def as_planned(source: BaseSource, *, called: str) -> Iterator[None]:
    """Load a model's files within: they must be those that the plan digested, before and after.

    Raises:
        UserError: they are others.
    """
    check_files(source, called=called, contents=True)
    yield
    check_files(source, called=called, contents=False)
    _check_snapshot(source, called=called)


def _check_snapshot(source: BaseSource, *, called: str) -> None:
    """Make sure, after loading, that a hub model's files are of the commit that was asked for.

    Raises:
        UserError: they are of another one.
    """
    if source.revision is None:
        return
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(source.location, "config.json", revision=source.revision)
    if not isinstance(path, str) or Path(path).parent.name != source.revision:
        raise UserError(f"{called}: the hub gave another commit than {source.revision}")
    folder = Path(path).parent
    side_by_side([partial(_check_blob, folder / name, called=called) for name in weight_files(folder)])


def _check_blob(path: Path, *, called: str) -> None:
    """Compare a weight file of the hub's cache with its name there, which is its SHA-256.

    Raises:
        UserError: its content is another one.
    """
    sha256 = path.resolve().name
    if re.fullmatch("[0-9a-f]{64}", sha256) and file_digest(path) != sha256:
        raise UserError(f"{called}: {path.resolve()}: damaged; delete it, so that it is downloaded again")


def copy_from_files(model: Any) -> None:
    """Copy what lies in main memory: it is the files themselves until then, and would change when they are written."""
    for tensor in chain(model.parameters(), model.buffers()):
        if tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def load_whole(auto: Any, location: str, *, called: str, **how: Any) -> Any:
    """Load a model by one of transformers' auto classes, from safetensors only.

    Args:
        auto: the auto class.
        location: folder or hub id.
        called: the model's name in error messages.
        how: further arguments of ``from_pretrained``.

    Raises:
        UserError: the model cannot be loaded, or its files lack weights or hold them in other shapes.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # instead of its table of missing weights, we raise an error of one line
    try:
        model, loading_info = auto.from_pretrained(
            location, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True, **how
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise UserError(f"{called}: cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    finally:
        logging.set_verbosity(verbosity)
    lacking = sorted([*loading_info["missing_keys"], *(str(key[0]) for key in loading_info["mismatched_keys"])])
    if lacking:
        more = f" and {len(lacking) - 1} more weights" if len(lacking) > 1 else ""
        raise UserError(f"{called}: its files lack {lacking[0]}{more}, or have them in other shapes")
    return model
