"""Rollouts of real promotions in a registry, and what serving processes report of them: so many units of each arm, so many of them bad."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from aiinfra_core import database, promoting
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Pointer, Promotion, PromotionRequest
from aiinfra_core.domain.rollout import Arm, Look, Rollout
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalKind, SignalSpec
from aiinfra_core.registry import observations, promotions, rollouts
from aiinfra_core.settings import Settings
from aiinfra_core.wire.observations import AskedObservations, ObservedCounts
from tests.simulators import approvers

ERRORS = SignalSpec(name="errors", kind=SignalKind.ERRORS, alpha=0.004)
SPEC = RolloutSpec(weights=(10, 50, 100), bake_minutes=0, signals=(ERRORS,))
"""Two steps before all traffic, each of which ends as soon as the evidence is there."""
LIKE_IT = {0: {"champion": (90_000, 900), "challenger": (10_000, 100)}, 1: {"champion": (50_000, 500), "challenger": (50_000, 500)}}
"""What is seen of a challenger like the champion in each step: enough to go on."""
WORSE = {"champion": (900, 9), "challenger": (100, 30)}
"""What is seen of one that is worse, in the first step: enough to go back."""
Seen = Mapping[str, tuple[int, int]]


def promoted(settings: Settings, artifact: Artifact, **asked: Any) -> Promotion:
    request = PromotionRequest(
        artifact=str(artifact.id),
        environment=asked.pop("environment", "prod"),
        evaluation={"quality": 0.9},
        requested_by="paul",
        request_id=asked.pop("request_id", f"{artifact.model}:{artifact.version}"),
        **asked,
    )
    return promoting.promote(settings, request)


def begun(settings: Settings, spec: RolloutSpec = SPEC, model: str = "rainfall") -> Rollout:
    """Make one artifact of a model current in prod and begin to roll out a second."""
    champion, challenger = (approvers.registered(settings, f"{model}-{name}", model=model) for name in ("champion", "challenger"))
    promoted(settings, champion)
    return rolling_out(settings, promoted(settings, challenger, rollout=spec))


def rolling_out(settings: Settings, promotion: Promotion) -> Rollout:
    with database.autocommit(settings) as connection:
        rollout = rollouts.of_promotion(connection, promotion.id)
    assert rollout is not None, promotion
    return rollout


def observe(settings: Settings, rollout: Rollout, seen: Seen, *, batch: UUID | None = None, at: datetime | None = None) -> bool:
    """Report units and bad ones of each arm for the step a rollout is in, beside what was reported before."""
    return _report(settings, rollout, [_counted(arm, units=units, errors=bad) for arm, (units, bad) in seen.items()], batch, at)


def observe_latencies(settings: Settings, rollout: Rollout, seen: Mapping[str, Mapping[int, int]]) -> bool:
    """Report how many units of each arm took how long, by bin."""
    return _report(settings, rollout, [_counted(arm, units=sum(bins.values()), latency=dict(bins)) for arm, bins in seen.items()])


def _counted(arm: str, **counts: Any) -> ObservedCounts:
    return ObservedCounts(arm=Arm(arm), **counts)


def _report(
    settings: Settings, rollout: Rollout, counts: list[ObservedCounts], batch: UUID | None = None, at: datetime | None = None
) -> bool:
    asked = AskedObservations(batch=batch or uuid4(), reporter="server-1", step=rollout.step, counts=tuple(counts))
    with database.transaction(settings) as tx:
        return observations.take(tx, rollout, asked, at or datetime.now(UTC))


def now(settings: Settings, rollout: Rollout) -> Rollout:
    with database.autocommit(settings) as connection:
        return rollouts.get(connection, rollout.id)


def promotion_of(settings: Settings, rollout: Rollout) -> Promotion:
    with database.autocommit(settings) as connection:
        return promotions.get(connection, rollout.promotion_id)


def pointer_of(settings: Settings, rollout: Rollout) -> Pointer:
    with database.autocommit(settings) as connection:
        pointer = promotions.pointer(connection, rollout.environment, rollout.model)
    assert pointer is not None
    return pointer


def looks_at(settings: Settings, rollout: Rollout) -> list[Look]:
    with database.autocommit(settings) as connection:
        return rollouts.looks(connection, rollout.id)
