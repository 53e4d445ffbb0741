"""Promotions and the pointers they move: every move of a status, its event, and the compare-and-swap at the end."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.append import append
from aiinfra_core.domain.artifact import Artifact, JudgedEvaluation
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.promotion import Decision, Pointer, Promotion, PromotionStatus
from aiinfra_core.registry import attestations
from aiinfra_core.registry.requests import claim, release
from aiinfra_core.registry.rows import every, first, insert_row, locked_row, row_by_id, update_row
from aiinfra_core.tables import environment_pointers, model_promotions

OPERATION = "promote"


def request(
    tx: Connection,
    *,
    artifact: Artifact,
    environment: str,
    evaluation: JudgedEvaluation | None,
    pointer: Pointer | None,
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
        sequence_seen=pointer.sequence if pointer else 0,
        follows=get(tx, pointer.promotion_id).manifest if pointer else None,
        requested_by=requested_by,
        created_at=at,
        updated_at=at,
    )
    _tell(tx, "promotion.requested", row, at, {"artifact": artifact.checksum})
    return promotion_id


def record_decision(tx: Connection, promotion_id: UUID, decision: Decision, *, at: datetime) -> Promotion:
    """Keep the gate's whole answer, once; a no ends the promotion."""
    row = locked_row(tx, model_promotions, promotion_id, "promotion")
    if row["status"] != PromotionStatus.REQUESTED or row["decision"] is not None:
        return _promotion(row)
    text = canonical_json.dumps(decision.model_dump(mode="json", by_alias=True)).decode()
    row = update_row(tx, model_promotions, promotion_id, decision=text, updated_at=at)
    _tell(tx, "policy.decision", row, at)
    unavailable = "sentinelnet" if decision.unavailable else None
    return _promotion(row) if decision.allowed else reject(tx, promotion_id, decision.reason, unavailable=unavailable, at=at)


def reject(tx: Connection, promotion_id: UUID, reason: str, *, unavailable: str | None = None, at: datetime) -> Promotion:
    """End a promotion with a no and its reason.

    With `unavailable` (the part that could not be reached) the request may be asked again under the same id.
    """
    row = locked_row(tx, model_promotions, promotion_id, "promotion")
    if row["status"] not in (PromotionStatus.REQUESTED, PromotionStatus.APPROVED):
        return _promotion(row)
    if unavailable:
        release(tx, OPERATION, promotion_id)
        reason = f"unavailable:{unavailable} {reason}"
    row = update_row(tx, model_promotions, promotion_id, status=PromotionStatus.REJECTED, reason=reason, updated_at=at)
    _tell(tx, "promotion.rejected", row, at)
    return _promotion(row)


def approve(tx: Connection, promotion_id: UUID, manifest: Attestation, *, at: datetime) -> Promotion:
    """Attach the signed manifest of an allowed promotion, once."""
    row = locked_row(tx, model_promotions, promotion_id, "promotion")
    if row["status"] != PromotionStatus.REQUESTED:
        return _promotion(row)
    statement = attestations.keep(tx, manifest, at)
    signed = {"manifest": manifest.digest, "signature": manifest.signature, "signer_id": manifest.signer_id}
    row = update_row(tx, model_promotions, promotion_id, status=PromotionStatus.APPROVED, updated_at=at, **signed)
    _tell(tx, "promotion.approved", row, at, {"manifest": manifest.digest}, attestations=statement)
    return _promotion(row)


def apply(tx: Connection, promotion_id: UUID, *, at: datetime) -> Promotion:
    """Make an approved promotion current if nothing else became current since it was asked for; else it is superseded."""
    row = locked_row(tx, model_promotions, promotion_id, "promotion")
    if row["status"] != PromotionStatus.APPROVED:
        return _promotion(row)
    pointer = _swap_pointer(tx, row, at)
    if pointer is None:
        return _supersede(tx, row, at)
    row = update_row(tx, model_promotions, promotion_id, status=PromotionStatus.APPLIED, updated_at=at, applied_at=at)
    _tell(tx, "promotion.applied", row, at, {"manifest": row["manifest"]}, environment_pointers=pointer)
    return _promotion(row)


def _supersede(tx: Connection, row: Mapping[str, Any], at: datetime) -> Promotion:
    reason = "another promotion became current first; look at what is current and ask again"
    row = update_row(tx, model_promotions, row["id"], status=PromotionStatus.SUPERSEDED, reason=reason, updated_at=at)
    _tell(tx, "promotion.superseded", row, at)
    return _promotion(row)


# A fresh pointer is inserted, an existing one is swapped; both wait for a concurrent winner and then see that they lost.
def _swap_pointer(tx: Connection, row: Mapping[str, Any], at: datetime) -> Mapping[str, Any] | None:
    place = {"environment": row["environment"], "model": row["model"]}
    new = {"sequence": row["sequence_seen"] + 1, "promotion_id": row["id"], "artifact_id": row["artifact_id"], "updated_at": at}
    if row["sequence_seen"] == 0:
        begin = insert(environment_pointers).values(**place, **new).on_conflict_do_nothing()
        return first(tx, begin.returning(*environment_pointers.c))
    here = (environment_pointers.c.environment == row["environment"]) & (environment_pointers.c.model == row["model"])
    swap = update(environment_pointers).where(here & (environment_pointers.c.sequence == row["sequence_seen"])).values(**new)
    return first(tx, swap.returning(*environment_pointers.c))


def get(tx: Connection, promotion_id: UUID) -> Promotion:
    """Return one promotion.

    Raises:
        NotFound: there is no such promotion.
    """
    return _promotion(row_by_id(tx, model_promotions, promotion_id, "promotion"))


def of_artifact(tx: Connection, artifact_id: UUID) -> list[Promotion]:
    """Return the promotions of an artifact, newest first."""
    query = select(model_promotions).where(model_promotions.c.artifact_id == artifact_id).order_by(model_promotions.c.created_at.desc())
    return [_promotion(row) for row in every(tx, query)]


def pointer(tx: Connection, environment: str, model: str) -> Pointer | None:
    """Return what is current for a model in an environment, or None."""
    here = (environment_pointers.c.environment == environment) & (environment_pointers.c.model == model)
    row = first(tx, select(environment_pointers).where(here))
    return None if row is None else Pointer(**row)


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


def _promotion(row: Mapping[str, Any]) -> Promotion:
    decision = None if row["decision"] is None else Decision(**canonical_json.loads(row["decision"]))
    return Promotion(**{**row, "evaluation": canonical_json.loads(row["evaluation"]), "decision": decision})
