"""Promotions and the pointers they move: every move of a status, its event, and the compare-and-swap at the end."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Text, Update, any_, bindparam, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.append import append
from aiinfra_core.domain.artifact import Artifact, JudgedEvaluation
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.promotion import Decision, Pointer, Promotion, PromotionStatus
from aiinfra_core.errors import Conflict
from aiinfra_core.registry import attestations
from aiinfra_core.registry.requests import claim, release
from aiinfra_core.registry.rows import every, first, insert_row, row_by_id
from aiinfra_core.tables import environment_pointers, model_promotions

OPERATION = "promote"
LOST = "another promotion became current first; look at what is current and ask again"

_STANDS = (model_promotions.c.id == bindparam("promotion")) & (model_promotions.c.status == any_(bindparam("was", type_=ARRAY(Text))))
_CHANGE = update(model_promotions).where(_STANDS).returning(*model_promotions.c)
_DECIDE = update(model_promotions).where(_STANDS, model_promotions.c.decision.is_(None)).returning(*model_promotions.c)
_POINTER = (environment_pointers.c.environment == bindparam("in_environment")) & (environment_pointers.c.model == bindparam("of_model"))
_CURRENT = (
    select(*(column.label(f"pointer_{column.name}") for column in environment_pointers.c), *model_promotions.c)
    .join(model_promotions, model_promotions.c.id == environment_pointers.c.promotion_id)
    .where(_POINTER)
)
_BEGIN = insert(environment_pointers).on_conflict_do_nothing().returning(*environment_pointers.c)
_SWAP = (
    update(environment_pointers).where(_POINTER, environment_pointers.c.sequence == bindparam("seen")).returning(*environment_pointers.c)
)


def request(
    tx: Connection,
    *,
    artifact: Artifact,
    environment: str,
    evaluation: JudgedEvaluation | None,
    replaces: tuple[Pointer, Promotion] | None,
    requested_by: str,
    request_id: str,
    at: datetime,
) -> UUID:
    """Ask for a promotion and return its id; the same request gives the same promotion.

    Raises:
        Conflict: the request id was used for another promotion.
    """
    promotion_id = uuid4()
    body = {"artifact": str(artifact.id), "environment": environment, "evaluation": evaluation.digest if evaluation else None}
    claimed = claim(tx, OPERATION, request_id, body, promotion_id, at)
    if claimed != promotion_id:
        return claimed
    row = insert_row(
        tx,
        model_promotions,
        id=promotion_id,
        request_id=request_id,
        artifact_id=artifact.id,
        model=artifact.model,
        environment=environment,
        status=PromotionStatus.REQUESTED,
        evaluation=canonical_json.dumps(evaluation.metrics if evaluation else {}).decode(),
        evaluation_kind=evaluation.kind if evaluation else None,
        evaluation_digest=evaluation.digest if evaluation else None,
        sequence_seen=replaces[0].sequence if replaces else 0,
        follows=replaces[1].manifest if replaces else None,
        requested_by=requested_by,
        created_at=at,
        updated_at=at,
    )
    _tell(tx, "promotion.requested", row, at, {"artifact": artifact.checksum})
    return promotion_id


def record_decision(tx: Connection, promotion_id: UUID, decision: Decision, *, at: datetime) -> Promotion:
    """Keep the gate's whole answer, once; a no ends the promotion."""
    text = canonical_json.dumps(decision.model_dump(mode="json", by_alias=True)).decode()
    row = _change(tx, promotion_id, [PromotionStatus.REQUESTED], _DECIDE, decision=text, updated_at=at)
    if row is None:
        return get(tx, promotion_id)
    _tell(tx, "policy.decision", row, at)
    unavailable = "sentinelnet" if decision.unavailable else None
    return promotion_from(row) if decision.allowed else reject(tx, promotion_id, decision.reason, unavailable=unavailable, at=at)


def reject(tx: Connection, promotion_id: UUID, reason: str, *, unavailable: str | None = None, at: datetime) -> Promotion:
    """End a promotion with a no and its reason.

    With `unavailable` (the part that could not be reached) the request may be asked again under the same id.
    """
    said = f"unavailable:{unavailable} {reason}" if unavailable else reason
    open_still = [PromotionStatus.REQUESTED, PromotionStatus.APPROVED]
    row = _change(tx, promotion_id, open_still, status=PromotionStatus.REJECTED, reason=said, updated_at=at)
    if row is None:
        return get(tx, promotion_id)
    if unavailable:
        release(tx, OPERATION, promotion_id)
    _tell(tx, "promotion.rejected", row, at)
    return promotion_from(row)


def approve(tx: Connection, promotion_id: UUID, manifest: Attestation, *, at: datetime) -> Promotion:
    """Attach the signed manifest of an allowed promotion, once."""
    signed: dict[str, Any] = {"manifest": manifest.digest, "signature": manifest.signature, "signer_id": manifest.signer_id}
    row = _change(tx, promotion_id, [PromotionStatus.REQUESTED], status=PromotionStatus.APPROVED, updated_at=at, **signed)
    if row is None:
        return get(tx, promotion_id)
    statement = attestations.keep(tx, manifest, at)
    _tell(tx, "promotion.approved", row, at, {"manifest": manifest.digest}, attestations=statement)
    return promotion_from(row)


def apply(tx: Connection, promotion: Promotion, *, at: datetime) -> Promotion:
    """Make an approved promotion current if nothing else became current since it was asked for; else it is superseded.

    Raises:
        Conflict: somebody ended the promotion at this very moment; nothing was changed.
    """
    pointer = _swap_pointer(tx, promotion, at)
    changes = {"status": PromotionStatus.APPLIED, "applied_at": at} if pointer else {"status": PromotionStatus.SUPERSEDED, "reason": LOST}
    row = _change(tx, promotion.id, [PromotionStatus.APPROVED], updated_at=at, **changes)
    if row is None and pointer:
        raise Conflict(f"Promotion {promotion.id} was ended while it was being applied; look at it and ask again.")
    if row is None:
        return get(tx, promotion.id)
    if pointer is None:
        _tell(tx, "promotion.superseded", row, at)
    else:
        _tell(tx, "promotion.applied", row, at, {"manifest": row["manifest"]}, environment_pointers=pointer)
    return promotion_from(row)


def _change(
    tx: Connection, promotion_id: UUID, was: list[PromotionStatus], change: Update = _CHANGE, **changes: Any
) -> dict[str, Any] | None:
    """Change a promotion that still stands where it is thought to stand; None when somebody was quicker."""
    return first(tx, change, {"promotion": promotion_id, "was": was, **changes})


# A fresh pointer is inserted, an existing one is swapped; both wait for a concurrent winner and then see that they lost.
def _swap_pointer(tx: Connection, promotion: Promotion, at: datetime) -> dict[str, Any] | None:
    here = {"environment": promotion.environment, "model": promotion.model}
    new = {"sequence": promotion.sequence_seen + 1, "promotion_id": promotion.id, "artifact_id": promotion.artifact_id, "updated_at": at}
    if promotion.sequence_seen == 0:
        return first(tx, _BEGIN, here | new)
    seen = {"in_environment": promotion.environment, "of_model": promotion.model, "seen": promotion.sequence_seen}
    return first(tx, _SWAP, seen | new)


def get(tx: Connection, promotion_id: UUID) -> Promotion:
    """Return one promotion.

    Raises:
        NotFound: there is no such promotion.
    """
    return promotion_from(row_by_id(tx, model_promotions, promotion_id, "promotion"))


def of_artifact(tx: Connection, artifact_id: UUID) -> list[Promotion]:
    """Return the promotions of an artifact, newest first."""
    query = select(model_promotions).where(model_promotions.c.artifact_id == artifact_id).order_by(model_promotions.c.created_at.desc())
    return [promotion_from(row) for row in every(tx, query)]


def pointer(tx: Connection, environment: str, model: str) -> Pointer | None:
    """Return what is current for a model in an environment, or None."""
    row = first(tx, select(environment_pointers).where(_POINTER), {"in_environment": environment, "of_model": model})
    return None if row is None else Pointer(**row)


def current(tx: Connection, environment: str, model: str) -> tuple[Pointer, Promotion] | None:
    """Return what is current for a model in an environment with the promotion that made it so, or None."""
    row = first(tx, _CURRENT, {"in_environment": environment, "of_model": model})
    if row is None:
        return None
    place = {name: row.pop(f"pointer_{name}") for name in Pointer.model_fields}
    return Pointer(**place), promotion_from(row)


def pointers(tx: Connection) -> list[Pointer]:
    """Return what is current everywhere, by model and environment."""
    query = select(environment_pointers).order_by(environment_pointers.c.model, environment_pointers.c.environment)
    return [Pointer(**row) for row in every(tx, query)]


def _tell(
    tx: Connection,
    event_type: str,
    row: Mapping[str, Any],
    at: datetime,
    digests: Mapping[str, str] | None = None,
    **more_rows: Mapping[str, Any],
) -> None:
    append(
        tx,
        event_type,
        at=at,
        actor=row["requested_by"],
        request_id=row["request_id"],
        subject=str(row["id"]),
        rows={"model_promotions": row, **more_rows},
        digests=digests,
    )


def promotion_from(row: Mapping[str, Any]) -> Promotion:
    """Return the record of a row."""
    decision = None if row["decision"] is None else Decision(**canonical_json.loads(row["decision"]))
    return Promotion(**{**row, "evaluation": canonical_json.loads(row["evaluation"]), "decision": decision})
