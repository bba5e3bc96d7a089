"""Unlearning methods, one file each: settings, which rows it reads, and its loss.

torch is imported only inside the functions that compute with it, so planning a grid stays light. Rates and steps
depend on the base and are not published for packs of LoRA; the other defaults are from the paper that each class names.
"""

from xlharm.config.kinds import Kinds
from xlharm.config.unlearning import Unlearning

METHODS: Kinds[Unlearning] = Kinds(base=Unlearning, tag="objective", room=__name__, word="method")
