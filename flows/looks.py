"""How a round of looks at rollouts ends: what each said, and when the next is due; what was recorded is the truth."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from aiinfra_core.domain.record import Name, Record
from aiinfra_core.domain.rollout import RolloutStatus, Verdict
from aiinfra_core.domain.rollout_spec import WHOLE
from aiinfra_core.errors import Unavailable
from aiinfra_core.rolling_out import Looked


class LookOutcome(Record):
    """What a look said, and how its rollout stands after it; `weight` is of 10,000."""

    rollout_id: UUID
    model: Name
    environment: Name
    status: RolloutStatus
    weight: int
    look: int
    verdict: Verdict
    reason: str

    def __str__(self) -> str:
        """Say it in a line."""
        stands = f"{self.status.replace('_', ' ')} at {100 * self.weight / WHOLE:g} %"
        return f"{self.model} in {self.environment}, look {self.look}: {self.verdict}, {stands}: {self.reason}"


class RoundOutcome(Record):
    """Each look of a round; `next_due` is None where no rollout is open any more."""

    looks: tuple[LookOutcome, ...]
    next_due: datetime | None

    def __str__(self) -> str:
        """Say it in a line for each look."""
        nothing = "no rollout is open" if self.next_due is None else "no rollout is due"
        return "\n".join(map(str, self.looks)) or nothing


def looked_at(looked: Sequence[Looked], next_due: datetime | None) -> RoundOutcome:
    """Return what a round of looks said.

    Raises:
        Unavailable: a rollout could not be looked at, and goes on as it is; the others were.
    """
    if problems := [f"{one.rollout.model} in {one.rollout.environment}: {one.problem}" for one in looked if one.problem]:
        raise Unavailable("rollouts", " ".join(problems))
    return RoundOutcome(looks=tuple(_outcome(one) for one in looked if one.look), next_due=next_due)


def _outcome(one: Looked) -> LookOutcome:
    assert one.look is not None  # noqa: S101 - the caller left those out
    look, rollout = one.look, one.rollout
    stands = rollout.model_dump(include={"model", "environment", "status", "weight"})
    return LookOutcome(rollout_id=rollout.id, look=look.number, verdict=look.verdict, reason=look.reason, **stands)
