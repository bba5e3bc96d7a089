"""How base and optimiser state are partitioned over the ranks of a worker, or offloaded to the machine's memory."""

from typing import Literal

from xlharm.errors import UserError

Offload = Literal["optimizer", "params", "both"]
"""What is kept in the machine's memory between uses."""


def zero_stage(requested: int | None, *, ranks: int, offload: Offload | None) -> int:
    """Return the ZeRO stage (arXiv 1910.02054) of a worker: the requested one, or the lowest that is sufficient.

    Args:
        requested: 0, 2 or 3; None chooses.
        ranks: processes of the worker.
        offload: what is kept in the machine's memory between uses.

    Raises:
        UserError: there is no such stage, or it cannot offload this.
    """
    if requested not in {None, 0, 2, 3}:
        raise UserError(f"--zero {requested}: expected 0, 2 or 3")
    needed = {None: 0, "optimizer": 2, "params": 3, "both": 3}[offload]
    if requested is None:
        return max(needed, 2 if ranks > 1 else 0)
    if requested < needed:
        raise UserError(f"--zero {requested}: --offload {offload} needs --zero {needed}")
    return requested
