"""An answer to be judged."""

from typing import Any

from xlharm.judges.base import Case


def case(answer: str = "blue", **fields: Any) -> Case:
    plain = {"measure": "of", "language": "en", "question": "Which colour?", "answer": answer, "expected": ("blue",)}
    return Case(**{**plain, **fields})
