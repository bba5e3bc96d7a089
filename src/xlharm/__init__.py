"""xlharm: grids that study how harm spreads across the languages of an LLM.

``xlharm.open("grid.yaml", store="store")`` returns a grid to plan, run and look at; see ``xlharm.api.Grid``.
``xlharm.compare(one, other)`` compares grids.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xlharm.api import Grid, compare
    from xlharm.api import open_grid as open  # noqa: A004 - only as xlharm.open

__all__ = ["Grid", "__version__", "compare", "open"]
__version__ = "0.1.0"

_LAZY = {"Grid": "Grid", "compare": "compare", "open": "open_grid"}


def __getattr__(name: str) -> Any:
    """Load the API on first use: `import xlharm` alone stays light."""
    if name not in _LAZY:
        raise AttributeError(f"module 'xlharm' has no attribute {name!r}")
    return getattr(importlib.import_module("xlharm.api"), _LAZY[name])
