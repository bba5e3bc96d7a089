"""Loading a model whole: what its files lack would be random numbers, other ones each time."""

from typing import Any

from safetensors import SafetensorError

from xlharm.errors import UserError


def load_whole(auto: Any, location: str, *, called: str, **how: Any) -> Any:
    """Load a model by one of transformers' auto classes, from safetensors only.

    Args:
        auto: the class.
        location: folder or hub id.
        called: what errors call it.
        how: more for ``from_pretrained``.

    Raises:
        UserError: it cannot be loaded, or its files lack weights, or have them in other shapes.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # what its report would tell in a table is one line here
    try:
        model, told = auto.from_pretrained(
            location, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True, **how
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise UserError(f"{called}: cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    finally:
        logging.set_verbosity(before)
    lacking = sorted([*told["missing_keys"], *(str(key[0]) for key in told["mismatched_keys"])])
    if lacking:
        more = f" and {len(lacking) - 1} more weights" if len(lacking) > 1 else ""
        raise UserError(f"{called}: its files lack {lacking[0]}{more}, or have them in other shapes")
    return model
