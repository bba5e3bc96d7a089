"""Unlearning methods. Each has one file with its settings, the rows it reads, and its loss.

torch is imported only inside the functions that compute with it, so that planning a grid stays fast. The defaults of
learning rate and steps are xlharm's own: they depend on the base model, and no paper gives them for LoRA. The other
defaults are from the paper that each class names.
"""

from xlharm.config.kinds import Kinds
from xlharm.config.unlearning import Unlearning

METHODS: Kinds[Unlearning] = Kinds(base=Unlearning, tag="objective", room=__name__, word="method")
