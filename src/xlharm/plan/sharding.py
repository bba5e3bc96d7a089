"""How a base and its optimiser are spread over the ranks of a worker and its machine's memory."""

from typing import Literal

from xlharm.errors import UserError

Offload = Literal["optimizer", "params", "both"]
"""What lies in the machine's memory between uses."""


def zero_stage(asked: int | None, *, ranks: int, offload: Offload | None) -> int:
    """Return the ZeRO stage (1910.02054) of a worker: as asked, or the lowest that serves.

    Args:
        asked: 0, 2 or 3; None chooses.
        ranks: processes of the worker.
        offload: what is to lie in the machine's memory.

    Raises:
        UserError: there is no such stage, or it cannot offload that.
    """
    if asked not in {None, 0, 2, 3}:
        raise UserError(f"--zero {asked}: expected 0, 2 or 3")
    needed = {None: 0, "optimizer": 2, "params": 3, "both": 3}[offload]
    if asked is None:
        return max(needed, 2 if ranks > 1 else 0)
    if asked < needed:
        raise UserError(f"--zero {asked}: --offload {offload} needs --zero {needed}")
    return asked
