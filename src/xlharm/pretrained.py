"""Load a model only when its files hold every weight: transformers would fill missing ones with random numbers."""

from typing import Any

from safetensors import SafetensorError

from xlharm.errors import UserError


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
