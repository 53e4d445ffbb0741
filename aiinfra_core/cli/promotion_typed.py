"""The options that say how a promotion becomes current: step by step, at once, or in spite of a rollout; for both doors that promote."""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from cyclopts import Parameter

from aiinfra_core.cli.rollout_typed import SpecFile, Weights, spec_typed
from aiinfra_core.domain.rollout_spec import WHOLE, RolloutSpec
from aiinfra_core.errors import BadInput

_AT_ONCE = RolloutSpec(weights=(WHOLE / 100,))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class WayOptions:
    """How it is to earn its traffic; nothing given means the environment's own way."""

    rollout: SpecFile = None
    weights: Weights = None
    at_once: Annotated[bool, Parameter(negative=(), help="Give it all traffic at once, where no rollout is required.")] = False
    override: Annotated[
        str | None, Parameter(metavar="ROLLOUT", help="The id of the rollout that sent these bytes back, to try them again.")
    ] = None

    def asked(self) -> dict[str, Any]:
        """Return what a promotion takes of it.

        Raises:
            BadInput: it says two things at once, or holds no spec.
        """
        if self.at_once and (self.rollout or self.weights):
            raise BadInput("--at-once leaves nothing to roll out; leave it out, or --rollout and --weights.")
        spec = _AT_ONCE if self.at_once else spec_typed(self.rollout, self.weights)
        return {"rollout": spec, "overrides": _rollout(self.override)}


def _rollout(typed: str | None) -> UUID | None:
    try:
        return None if typed is None else UUID(typed)
    except ValueError:
        raise BadInput(f"--override takes a rollout's id, not {typed!r}; see: aiinfra rollout list") from None


NOTHING = WayOptions()
