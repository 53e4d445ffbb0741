"""Rollouts as they are shown, made of counts that are drawn by a seed and judged by the judge itself; nothing is stored."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from aiinfra_core import canary
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.rollout import Action, Counts, Heard, Look, Reading, Rollout, RolloutOrder, RolloutStatus, Verdict
from aiinfra_core.domain.rollout_spec import WHOLE, RolloutSpec
from aiinfra_core.wire.rollouts import SentRolloutDetails, sent_details, sent_look

BEGAN = datetime(2026, 11, 23, 14, 55, tzinfo=UTC)
BASE = {"errors": 0.01, "latency": 0.05}
_ENDS = {Verdict.ROLLBACK: RolloutStatus.ROLLED_BACK, Verdict.INCONCLUSIVE: RolloutStatus.INCONCLUSIVE}


@dataclass(frozen=True)
class Traffic:
    """Requests a minute, the champion's share of bad ones by signal, and how many times worse the challenger is."""

    per_minute: int = 600
    base: Mapping[str, float] = field(default_factory=lambda: BASE)
    worse: float = 1.0
    seed: int = 7


def artifact(version: int) -> Artifact:
    return Artifact(
        id=UUID(int=version),
        training_job_id=None,
        artifact_uri=f"file:///models/rainfall-{version}",
        checksum=f"{version:064x}",
        metadata={},
        signer_id="test",
        signature="c2ln",
        manifest_signature_id=None,
        created_at=BEGAN,
        model="rainfall",
        version=version,
        digest_kind="sha256",
        size_bytes=10,
        attestation="a" * 64,
        registered_by="rita",
    )


def begun(spec: RolloutSpec) -> Rollout:
    return Rollout(
        id=UUID(int=9),
        promotion_id=UUID(int=22),
        environment="prod",
        model="rainfall",
        champion=UUID(int=11),
        sequence=1,
        spec=spec,
        spec_digest=spec.digest(),
        salt="a-salt-of-tests",
        status=RolloutStatus.RUNNING,
        step=0,
        weight=spec.steps[0],
        looks=0,
        frozen=None,
        reason=None,
        created_at=BEGAN,
        step_started_at=BEGAN,
        heard_at=BEGAN,
        looked_at=None,
        updated_at=BEGAN,
        ended_at=None,
    )


def shown(
    spec: RolloutSpec, traffic: Traffic, *, minutes: int = 400, silent: range = range(0), orders: Mapping[int, Action] | None = None
) -> SentRolloutDetails:
    """Return a rollout that is looked at once a minute until it ends, or so many minutes; `silent` looks hear nothing."""
    drawn, rollout, looks, given = random.Random(traffic.seed), begun(spec), list[Look](), list[RolloutOrder]()  # noqa: S311 - traffic that is drawn, no secret
    counted: dict[tuple[str, str], Counts] = {}
    for number in range(1, minutes + 1):
        at = BEGAN + timedelta(minutes=number)
        if action := (orders or {}).get(number):
            given.append(_order(rollout, action, at - timedelta(seconds=20)))
            rollout = _steered(rollout, action)
        readings = [_heard(drawn, traffic, rollout, signal.name, counted, silent=number in silent) for signal in spec.signals]
        look = canary.judge(spec, canary.seen(rollout, at), looks[-1] if looks else None, readings)
        looks.append(look)
        rollout = _after(rollout.model_copy(update={"looks": number, "looked_at": at, "updated_at": at}), look, counted)
        if rollout.ended_at:
            break
    return sent_details(rollout, artifact(2), artifact(1), map(sent_look, looks), given)


def _heard(
    drawn: random.Random, traffic: Traffic, rollout: Rollout, signal: str, counted: dict[tuple[str, str], Counts], *, silent: bool
) -> Reading:
    if silent:
        return Reading(signal=signal, heard=Heard.UNREACHABLE, reason="Prometheus did not answer within 5 s.")
    for arm, share, times in (("champion", 1 - rollout.weight / WHOLE, 1.0), ("challenger", rollout.weight / WHOLE, traffic.worse)):
        before = counted.get((signal, arm), Counts(units=0, bad=0))
        units = sum(drawn.random() < share for _ in range(traffic.per_minute))
        bad = sum(drawn.random() < traffic.base[signal] * times for _ in range(units))
        counted[signal, arm] = Counts(units=before.units + units, bad=before.bad + bad)
    arms = {arm: counted[signal, arm] for arm in ("champion", "challenger")}
    return Reading(signal=signal, heard=Heard.OK, **arms, query=f"sum(increase({signal}_total[5m]))")


def _after(rollout: Rollout, look: Look, counted: dict[tuple[str, str], Counts]) -> Rollout:
    at = look.created_at
    heard = {"heard_at": at} if canary.was_heard(look) else {}
    if look.verdict is Verdict.HOLD:
        return rollout.model_copy(update=heard)
    if look.verdict is not Verdict.ADVANCE:
        return rollout.model_copy(update={"status": _ENDS[look.verdict], "weight": 0, "reason": look.reason, "ended_at": at})
    counted.clear()
    step = rollout.step + 1
    weight = rollout.spec.steps[step]
    done = {"status": RolloutStatus.COMPLETED, "reason": look.reason, "ended_at": at} if weight == WHOLE else {}
    return rollout.model_copy(update={"step": step, "weight": weight, "step_started_at": at, **heard, **done})


def _order(rollout: Rollout, action: Action, at: datetime) -> RolloutOrder:
    about = {"rollout_id": rollout.id, "action": action, "step": rollout.step, "reason": "to look at it", "ordered_by": "ops"}
    return RolloutOrder(id=UUID(int=at.minute), **about, request_id=f"order-{at.minute}", attestation="b" * 64, created_at=at)


def _steered(rollout: Rollout, action: Action) -> Rollout:
    status = {Action.PAUSE: RolloutStatus.PAUSED, Action.RESUME: RolloutStatus.RUNNING}[action]
    return rollout.model_copy(update={"status": status})
