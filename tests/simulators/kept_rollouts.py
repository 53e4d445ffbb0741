"""Rollouts of each kind on a platform that has two versions of `rainfall`, one of them current in staging: driven, judged and ordered."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from aiinfra_core import database, promoting, rolling_back, rolling_out
from aiinfra_core.domain.promotion import Promotion, PromotionRequest, PromotionStatus
from aiinfra_core.domain.rollout import Action, Arm, Look, RollbackRequest, Rollout, RolloutStatus, Verdict
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalKind, SignalSpec
from aiinfra_core.registry import observations, rollouts
from aiinfra_core.settings import Settings
from aiinfra_core.wire.observations import AskedObservations, ObservedCounts

UNITS = 10_000
"""So many requests are observed at once."""
_SIGNAL = SignalSpec(name="errors", kind=SignalKind.ERRORS, alpha=0.004)
SPEC = RolloutSpec(weights=(20, 50, 100), bake_minutes=0, advance_alpha=0.1, signals=(_SIGNAL,))


def roll_out(settings: Settings) -> None:
    """Complete a rollout, have one sent back by evidence, override that by an order, go back by hand, and leave one open."""
    completed(settings, "rainfall:2", "staging")
    bad = sent_back(settings, "rainfall:1", "staging")
    overriding(settings, "rainfall:1", "staging", bad.id)
    go_back(settings, "staging")
    left = begun(settings, "rainfall:1", "prod")
    look(settings, left)
    order(settings, left, Action.PAUSE)


def completed(settings: Settings, artifact: str, environment: str) -> Rollout:
    """Let a healthy challenger earn all traffic by evidence; somebody pauses it on the way."""
    rollout = begun(settings, artifact, environment)
    look(settings, rollout)  # nothing was observed yet
    order(settings, rollout, Action.PAUSE)
    observe(settings, rollout, champion=0.02, challenger=0.02)
    assert look(settings, rollout).verdict is Verdict.HOLD
    order(settings, rollout, Action.RESUME)
    assert look(settings, rollout).verdict is Verdict.ADVANCE
    observe(settings, rollout, champion=0.02, challenger=0.02)
    assert look(settings, rollout).verdict is Verdict.ADVANCE
    return _ended(settings, rollout, RolloutStatus.COMPLETED)


def sent_back(settings: Settings, artifact: str, environment: str, request_id: str | None = None) -> Rollout:
    """Have evidence send a challenger back."""
    rollout = begun(settings, artifact, environment, request_id=request_id)
    observe(settings, rollout, champion=0.01, challenger=0.1)
    assert look(settings, rollout).verdict is Verdict.ROLLBACK
    return _ended(settings, rollout, RolloutStatus.ROLLED_BACK)


def overriding(settings: Settings, artifact: str, environment: str, overrides: UUID) -> Rollout:
    """Try the same bytes again in the name of the rollout that sent them back, and have a person advance them to the end."""
    rollout = begun(settings, artifact, environment, overrides=overrides)
    for _ in SPEC.steps[:-1]:
        order(settings, rollout, Action.ADVANCE)
    return _ended(settings, rollout, RolloutStatus.COMPLETED)


def go_back(settings: Settings, environment: str, model: str = "rainfall") -> Promotion:
    """Go back to what was current before."""
    request = RollbackRequest(model=model, environment=environment, reason="too much rain", requested_by="rosa")
    promotion = rolling_back.roll_back(settings, request)
    assert promotion.status is PromotionStatus.APPLIED, promotion.reason
    return promotion


def begun(settings: Settings, artifact: str, environment: str, spec: RolloutSpec = SPEC, **asked: Any) -> Rollout:
    """Promote with a rollout, and return it, open; other arguments are fields of the request."""
    request = PromotionRequest(
        artifact=artifact, environment=environment, evaluation={"quality": 0.93}, requested_by="paul", rollout=spec, **asked
    )
    promotion = promoting.promote(settings, request)
    assert promotion.status is PromotionStatus.ROLLING_OUT, promotion.reason
    with database.autocommit(settings) as connection:
        rollout = rollouts.of_promotion(connection, promotion.id)
    assert rollout is not None
    return rollout


def observe(settings: Settings, rollout: Rollout, *, champion: float, challenger: float, at: datetime | None = None) -> None:
    """Post what was observed of the step a rollout is at: so many requests, split as they should be, of which these shares failed."""
    with database.transaction(settings) as tx:
        now = rollouts.get(tx, rollout.id)
        units = {Arm.CHALLENGER: UNITS * now.weight // 10_000, Arm.CHAMPION: UNITS - UNITS * now.weight // 10_000}
        bad = {Arm.CHALLENGER: challenger, Arm.CHAMPION: champion}
        counts = tuple(ObservedCounts(arm=arm, units=many, errors=round(many * bad[arm])) for arm, many in units.items())
        batch = AskedObservations(batch=uuid4(), reporter="server-1", step=now.step, counts=counts)
        assert observations.take(tx, now, batch, at or datetime.now(UTC))


def look(settings: Settings, rollout: Rollout, at: datetime | None = None) -> Look:
    """Look at a rollout, now or as if it were another time."""
    found = rolling_out.look_at(settings, rollout.id, at)
    assert found is not None
    return found


def order(settings: Settings, rollout: Rollout, action: Action) -> Rollout:
    """Order something about a rollout, at the step it is at."""
    with database.autocommit(settings) as connection:
        step = rollouts.get(connection, rollout.id).step
    return rolling_out.order(settings, rollout.id, action, reason=f"to {action} it", ordered_by="olga", step=step)


def _ended(settings: Settings, rollout: Rollout, status: RolloutStatus) -> Rollout:
    with database.autocommit(settings) as connection:
        ended = rollouts.get(connection, rollout.id)
    assert ended.status is status, ended.reason
    return ended
