"""What is left of the fake detail after unlearning, under attack or in another form of the question: one file a probe.

A file holds a probe's settings, the stages it plans, and what it changes when a pack of models answers. Importing the
room is light: torch is imported when a pack answers.
"""

from xlharm.config.kinds import Kinds
from xlharm.probes.base import Probe

PROBES: Kinds[Probe] = Kinds(base=Probe, tag="kind", room=__name__, word="probe")  # type: ignore[type-abstract] # not instantiated
