"""The canary judge: verdicts from numbers, by e-processes; pure. Formulae, sources and measured power are in `docs/canary.md`."""

from aiinfra_core.canary.judging import judge
from aiinfra_core.canary.planning import StepPlan, plan
from aiinfra_core.canary.recomputing import recompute
from aiinfra_core.canary.seeing import Seen, seen, story, was_heard

__all__ = ["Seen", "StepPlan", "judge", "plan", "recompute", "seen", "story", "was_heard"]
