"""What people order about a rollout: whether it is still to be done, and its signed statement. The moves themselves are in the registry."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection

from aiinfra_core import database
from aiinfra_core.domain.actor import checked_actor
from aiinfra_core.domain.record import RequestId
from aiinfra_core.domain.rollout import OPEN, Action, Rollout, RolloutOrder, RolloutStatus
from aiinfra_core.domain.rollout_spec import WHOLE
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput, Conflict, Outdated
from aiinfra_core.evidence import rollouts as claims
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.evidence.statement import Subject
from aiinfra_core.keys import configured_signer
from aiinfra_core.registry import dossier, requests, rollout_moves
from aiinfra_core.registry.rollout_moves import Ordered
from aiinfra_core.registry.rollouts import Row
from aiinfra_core.settings import Settings

OPERATION = "rollout-order"
ENDED_BY = {Action.ABORT: RolloutStatus.ABORTED, Action.ROLLBACK: RolloutStatus.ROLLED_BACK}
MOST_REASON = 1000
_STANDS = {Action.PAUSE: RolloutStatus.PAUSED, Action.RESUME: RolloutStatus.RUNNING, **ENDED_BY}
_REQUEST_ID: TypeAdapter[str] = TypeAdapter(RequestId)


@dataclass(frozen=True)
class Asked:
    """What somebody orders about a rollout; without a request id of its own it is done each time it is ordered."""

    rollout_id: UUID
    action: Action
    reason: str
    ordered_by: str
    request_id: str | None

    @property
    def body(self) -> dict[str, str]:
        """What the same request id stands for."""
        return {"rollout": str(self.rollout_id), "action": self.action, "reason": self.reason, "orderedBy": self.ordered_by}


def checked_reason(reason: str) -> str:
    """Return a reason as it is signed and kept.

    Raises:
        BadInput: it is none, or too long a one, or holds what cannot be printed.
    """
    if not reason.strip() or len(reason) > MOST_REASON or not reason.replace("\n", " ").isprintable():
        raise BadInput(f"An order needs a reason of at most {MOST_REASON} printable letters; it is signed and kept.")
    return reason.strip()


def checked(rollout_id: UUID, action: Action, reason: str, ordered_by: str, request_id: str | None) -> Asked:
    """Return an order as it can be recorded.

    Raises:
        BadInput: it has no reason, or too long a one, or who orders it, or its request id, cannot be recorded.
    """
    why = checked_reason(reason)
    if request_id is not None:
        try:
            _REQUEST_ID.validate_python(request_id)
        except ValidationError:
            raise BadInput("A request id has at most 200 printable ASCII letters without spaces.") from None
    return Asked(rollout_id, Action(action), why, checked_actor(ordered_by), request_id)


def is_done(connection: Connection, asked: Asked, rollout: Rollout) -> bool:
    """Say whether an order was given before under its request id, or the rollout stands as it wants.

    Raises:
        RequestIdReused: the request id was used for another order.
        Conflict: the rollout is over otherwise.
    """
    if asked.request_id and requests.earlier(connection, OPERATION, asked.request_id, asked.body):
        return True
    if rollout.status is _STANDS.get(asked.action):
        return True
    if rollout.status not in OPEN:
        raise Conflict(f"Rollout {rollout.id} is over: {rollout.status.replace('_', ' ')} ({rollout.reason}); nothing more can be ordered.")
    return False


def check_same_step(rollout: Rollout, step: int) -> None:
    """Check that a rollout still is at the step which somebody wants to end.

    Raises:
        Outdated: it advanced by itself.
    """
    if rollout.step != step:
        raise Outdated(f"Rollout {rollout.id} came to step {rollout.step + 1} by itself meanwhile; look at it and order again.")


def signed(settings: Settings, asked: Asked, rollout: Rollout) -> Ordered:
    """Return an order with its signed statement.

    Raises:
        Unavailable: the signer, or the database, cannot be reached.
        Misconfigured: the signer's key would not be accepted.
    """
    with database.autocommit(settings) as connection:
        known = dossier.of_promotion(connection, rollout.promotion_id)
    at, own = max(datetime.now(UTC), rollout.updated_at), uuid4()  # after the looks before it, whatever this clock says
    payload = claims.order(
        rollout_id=rollout.id,
        model=rollout.model,
        environment=rollout.environment,
        subject=Subject(known.artifact.model, known.artifact.digest_kind, known.artifact.checksum),
        manifest=known.row["manifest"],
        action=asked.action,
        reason=asked.reason,
        ordered_by=asked.ordered_by,
        ordered_at=at,
    )
    attestation = attest(payload, configured_signer(settings, Purpose.PROMOTION, rollout.environment))
    kept = RolloutOrder(
        id=own,
        rollout_id=rollout.id,
        action=asked.action,
        reason=asked.reason,
        request_id=asked.request_id or f"order:{own}",
        ordered_by=asked.ordered_by,
        attestation=attestation.digest,
        created_at=at,
    )
    return Ordered(kept, attestation)


def completes(rollout: Rollout, action: Action) -> bool:
    """Say whether an order gives the challenger all traffic."""
    return action is Action.ADVANCE and rollout.spec.steps[rollout.step + 1] == WHOLE


def carry_out(settings: Settings, asked: Asked, row: Row, ordered: Ordered, *, completes: bool) -> Row | None:
    """Make the move that was ordered and claim its request id with it; None where somebody was quicker, with either."""
    with database.transaction(settings) as tx:
        if asked.request_id and requests.claim(tx, OPERATION, asked.request_id, asked.body, ordered.order.id, ordered.order.created_at) != (
            ordered.order.id
        ):
            return None
        after = _move(tx, row, ordered, completes)
        if after is None:
            tx.rollback()
        return after


def _move(tx: Connection, row: Row, ordered: Ordered, completes: bool) -> Row | None:
    action, at = ordered.order.action, ordered.order.created_at
    if action in ENDED_BY:
        how = "rolled back" if action is Action.ROLLBACK else "aborted"
        reason = f"{how} by {ordered.order.ordered_by}: {ordered.order.reason}"
        return rollout_moves.end(tx, row, ENDED_BY[action], reason, order=ordered, at=at)
    if action is Action.ADVANCE:
        return (rollout_moves.complete if completes else rollout_moves.advance)(tx, row, order=ordered, at=at)
    return rollout_moves.steer(tx, row, ordered, at=at)
