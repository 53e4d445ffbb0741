"""What people order about a rollout: whether it may be and is still to be done, and its signed statement; its moves are in the registry."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection

from aiinfra_core import agreeing, database
from aiinfra_core.domain.actor import checked_actor, same_person_key
from aiinfra_core.domain.approval import UNPROVEN
from aiinfra_core.domain.record import RequestId
from aiinfra_core.domain.rollout import OPEN, Action, Rollout, RolloutOrder, RolloutStatus
from aiinfra_core.domain.rollout_spec import WHOLE
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput, Conflict, Forbidden, Outdated
from aiinfra_core.evidence import rollouts as claims
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.evidence.statement import Subject
from aiinfra_core.keys import configured_signer
from aiinfra_core.registry import dossier, requests, rollout_moves, rollouts
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
    """What somebody orders about a rollout; without a request id of its own it is done each time it is ordered.

    `step` is the one that was seen, and that an advance is to end; `issuer` is who says that `ordered_by` orders it.
    """

    rollout_id: UUID
    action: Action
    reason: str
    ordered_by: str
    request_id: str | None
    step: int | None = None
    issuer: str = ""

    @property
    def body(self) -> dict[str, Any]:
        """What the same request id stands for."""
        said = {"rollout": str(self.rollout_id), "action": self.action, "reason": self.reason, "orderedBy": self.ordered_by}
        return said | ({} if self.step is None else {"step": self.step})


def checked_reason(reason: str) -> str:
    """Return a reason as it is signed and kept.

    Raises:
        BadInput: it is none, or too long a one, or holds what cannot be printed.
    """
    if not reason.strip() or len(reason) > MOST_REASON or not reason.replace("\n", " ").isprintable():
        raise BadInput(f"An order needs a reason of at most {MOST_REASON} printable letters; it is signed and kept.")
    return reason.strip()


def checked(asked: Asked) -> Asked:
    """Return an order as it can be recorded.

    Raises:
        BadInput: it has no reason, or too long a one, or who orders it, or its request id, cannot be recorded; or it is to advance and says
            no step.
    """
    why = checked_reason(asked.reason)
    if asked.request_id is not None:
        try:
            _REQUEST_ID.validate_python(asked.request_id)
        except ValidationError:
            raise BadInput("A request id has at most 200 printable ASCII letters without spaces.") from None
    if asked.action is Action.ADVANCE and asked.step is None:
        raise BadInput("An order to advance names the step that was seen, from 0; look at the rollout and send its step.")
    return replace(asked, reason=why, ordered_by=checked_actor(asked.ordered_by))


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


def check_may(settings: Settings, asked: Asked, rollout: Rollout) -> None:
    """Check that an open rollout is at the step that was seen, and that whoever wants to skip its evidence may.

    Raises:
        Outdated: it is at another step.
        Forbidden: people have to agree to its promotion, and whoever orders it could not be one of them, or nobody proved to be them.
        EvidenceBroken, Misconfigured: the trust root, which says who has to agree, cannot be used.
    """
    if asked.step is not None and rollout.step != asked.step:
        where = f"at step {rollout.step + 1} ({rollout.weight * 100 / WHOLE:g} %), not at step {asked.step + 1}"
        raise Outdated(f"Rollout {rollout.id} is {where}; look at it and order again.")
    if asked.action is Action.ADVANCE:
        _check_apart(settings, asked, rollout)


# Evidence is what nobody has to be asked about; to go on without it is a judgement, as an approval is one.
def _check_apart(settings: Settings, asked: Asked, rollout: Rollout) -> None:
    with database.autocommit(settings) as connection:
        known = dossier.of_promotion(connection, rollout.promotion_id)
        barred, now = agreeing.barred_from(connection, known), rollouts.clock(connection)
    if not agreeing.needed(settings, known.promotion, now):
        return
    needed, who = f"People had to agree to promotion {known.promotion.id}", asked.ordered_by
    if asked.issuer in UNPROVEN and (settings.production or settings.trust_root is not None):
        raise Forbidden(f"{needed}, and nobody proved to be {who}: order it at a service that knows who asks, or wait for the evidence.")
    if part := barred.get(same_person_key(who)):
        raise Forbidden(f"{needed}, and {who} {part}: let somebody else order it to advance, or wait for the evidence.")


def signed(settings: Settings, asked: Asked, rollout: Rollout) -> Ordered:
    """Return an order with its signed statement.

    Raises:
        Unavailable: the signer, or the database, cannot be reached.
        Misconfigured: the signer's key would not be accepted.
    """
    with database.autocommit(settings) as connection:
        known, now = dossier.of_promotion(connection, rollout.promotion_id), rollouts.clock(connection)
    at, own = max(now, rollout.updated_at), uuid4()  # after the looks before it, whatever any clock says
    payload = claims.order(
        rollout_id=rollout.id,
        model=rollout.model,
        environment=rollout.environment,
        subject=Subject(known.artifact.model, known.artifact.digest_kind, known.artifact.checksum),
        manifest=known.row["manifest"],
        action=asked.action,
        step=rollout.step,
        reason=asked.reason,
        ordered_by=asked.ordered_by,
        ordered_at=at,
    )
    attestation = attest(payload, configured_signer(settings, Purpose.PROMOTION, rollout.environment))
    kept = RolloutOrder(
        id=own,
        rollout_id=rollout.id,
        action=asked.action,
        step=rollout.step,
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
