"""The ordered steps of a promotion: request, verify_artifact, decide, sign_manifest, apply.

Each takes a promotion id and is idempotent on the promotion's status: done once, asked again it changes nothing. A step that
finds a no records it with its reason, and the steps after it do nothing. No gate, signer or store is called inside an open
transaction. What a status may become is `registry.promotions`' business; what the gate thinks is `policy`'s.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from secrets import token_urlsafe
from typing import Any
from uuid import UUID

from aiinfra_core import agreeing, asking, database, deciding, evaluating, measurements, outstanding, rollout_specs
from aiinfra_core.artifact_store import recorded
from aiinfra_core.asking import Asked
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.artifact import Artifact, EvaluationKind
from aiinfra_core.domain.promotion import Decision, Promotion, PromotionRequest, PromotionStatus, Stage
from aiinfra_core.domain.rollout import Rollback
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import ArtifactMissing, BadInput, EvidenceBroken, Unavailable
from aiinfra_core.evidence import claims
from aiinfra_core.evidence.attestation import attest, expect
from aiinfra_core.evidence.trust import keys_for
from aiinfra_core.keys import audit_signer, configured_signer, trust_of
from aiinfra_core.registry import applying, bars, dossier, evidence, promotion_moves, rollout_moves, tombstones
from aiinfra_core.registry.dossier import Candidate, Dossier
from aiinfra_core.registry.evidence import Kept
from aiinfra_core.registry.promotion_requests import ToJudge
from aiinfra_core.settings import Settings, environment_named

_GOES_ON = (PromotionStatus.APPROVED, PromotionStatus.ROLLING_OUT)


@measurements.promotion()
def promote(settings: Settings, request: PromotionRequest, *, asked_by: str | None = None) -> Promotion:
    """Take one registered artifact through every step; a yes and a no are both recorded and returned.

    One that has to earn its traffic is `rolling_out` then, beside what is current. `asked_by` is who asks where they act for
    `requested_by`: the actor of the event that tells of the request.

    Raises:
        NotFound: the artifact or the environment does not exist.
        BadInput: its rollout cannot be carried out, or it overrides what there is nothing of.
        Misconfigured: the operator's file of rollouts cannot be used.
        Outdated: what is current is no longer what `sequence_seen` says; nothing is recorded.
        Conflict: the request id was used for another promotion, or by another requester; or a rollout is open there.
        Unavailable: the database was lost on the way; the same call continues where it stood.
    """
    return go_on_from(settings, _request(settings, request, asked_by))


def go_on(settings: Settings, promotion_id: UUID) -> Promotion:
    """Take a promotion through the steps that are left of it, as `promote` does: where it waits for people, see whether it still has to.

    Raises:
        NotFound, Unavailable: there is no such promotion; the database, or a gate that is asked again, cannot be reached: call again.
    """
    return go_on_from(settings, _load(settings, promotion_id))


def go_on_from(settings: Settings, known: Dossier) -> Promotion:
    """Do as `go_on`, where the promotion was just read."""
    for step in (_verify_artifact, _decide, _sign_manifest, _apply):
        with measurements.step(step.__name__.lstrip("_")):
            known = step(settings, known)
    return known.promotion


def request_promotion(
    settings: Settings, request: PromotionRequest, *, asked_by: str | None = None, rollback: Rollback | None = None
) -> UUID:
    """Record that somebody asks for a promotion, or with `rollback` to go back, and return its id.

    Without a request id of its own the request is (artifact, environment, evaluation, pointer sequence seen, how it is to become current);
    asking again for what is already current gives the promotion that made it so, and `asking` says when a refusal is asked anew.
    """
    return _request(settings, request, asked_by, rollback).promotion.id


def _request(settings: Settings, request: PromotionRequest, asked_by: str | None = None, rollback: Rollback | None = None) -> Dossier:
    environment = environment_named(settings, request.environment)
    candidate, evaluation = _candidate(settings, request, environment)
    wanted = None if rollback else rollout_specs.effective(settings, environment, candidate.artifact.model, request.rollout)
    return asking.ask(settings, Asked(request, environment, candidate, evaluation, asked_by or request.requested_by, wanted, rollback))


def _candidate(settings: Settings, request: PromotionRequest, environment: str) -> tuple[Candidate, ToJudge | None]:
    """Return what is to be promoted and what it is judged on; what its training measured is recorded first where that was not done."""
    with database.autocommit(settings) as connection:
        candidate = dossier.candidate(connection, request.artifact, environment)
        evaluation = evaluating.evaluation_to_judge(connection, candidate.artifact, request.evaluation, request.judged_on)
    if evaluation is None and candidate.artifact.training_job_id is not None:
        measured = evaluating.record_measured(settings, candidate.artifact.id)
        evaluation = measured if measured and measured.kind is EvaluationKind.MEASURED else None
    return candidate, evaluation


def verify_artifact(settings: Settings, promotion_id: UUID) -> Promotion:
    """Read the artifact's bytes and its signed registration again; anything but what was registered, or bytes sent back, is a no."""
    return _verify_artifact(settings, _load(settings, promotion_id)).promotion


def decide(settings: Settings, promotion_id: UUID) -> Decision | None:
    """Ask the gate once about this promotion and record its whole answer; asked again, return the recorded one."""
    return _decide(settings, _load(settings, promotion_id)).promotion.decision


def sign_manifest(settings: Settings, promotion_id: UUID) -> Promotion:
    """Sign the manifest of an allowed promotion for the sequence after the one it saw; never sign twice."""
    return _sign_manifest(settings, _load(settings, promotion_id)).promotion


def apply_promotion(settings: Settings, promotion_id: UUID) -> Promotion:
    """Verify the manifest and swap the pointer, or let it earn its traffic first; one that lost the race becomes superseded."""
    return _apply(settings, _load(settings, promotion_id)).promotion


def verify_again(settings: Settings, known: Dossier) -> None:
    """Check the artifact's bytes, its registration and its manifest once more, before one that earned its traffic becomes current.

    Raises:
        BadInput, EvidenceBroken: something is gone, or is not what was recorded, or a signature does not count (any more).
        Unavailable: the database or the store cannot be reached.
    """
    _check_artifact(settings, known)
    _check_manifest(settings, known)


def _verify_artifact(settings: Settings, known: Dossier) -> Dossier:
    artifact = known.artifact
    if known.promotion.status is not PromotionStatus.REQUESTED or known.promotion.decision is not None:
        return known
    if known.promotion.rollback is None and (barred := bars.refusal(known.sent_back_by, known.promotion.overrides)):
        return _refuse(settings, known, barred)
    try:
        _check_artifact(settings, known)
    except Unavailable as error:
        return _refuse_unavailable(settings, known, error)
    except ArtifactMissing as error:
        return _refuse(settings, known, f"artifact: {_pruned(settings, artifact) or error}")
    except (BadInput, EvidenceBroken) as error:
        return _refuse(settings, known, f"artifact: {error}")
    return known


def _decide(settings: Settings, known: Dossier) -> Dossier:
    if known.promotion.status is not PromotionStatus.REQUESTED or known.promotion.decision is not None:
        return known
    judgement = deciding.decide(settings, known, Stage.REQUEST)
    # One yes is one statement; a no, or several answers, are more, and all of them are kept or none.
    in_one = judgement.together.allowed and len(judgement.answers) == 1
    with (database.autocommit if in_one else database.transaction)(settings) as connection:
        row = promotion_moves.record_decision(connection, known.row, judgement, at=_now())
    if row["decision"] is None and row["status"] == PromotionStatus.REQUESTED:
        return _refuse(settings, known, f"artifact: {_pruned(settings, known.artifact)}")
    return _moved(known, row) if row["manifest"] is None else _load(settings, row["id"])  # another call of the same request was quicker


def _pruned(settings: Settings, artifact: Artifact) -> ArtifactMissing | None:
    try:
        with database.autocommit(settings) as connection:
            tombstones.refuse_pruned(connection, artifact)
    except ArtifactMissing as error:
        return error
    return None


def _sign_manifest(settings: Settings, known: Dossier) -> Dossier:
    decision = known.promotion.decision
    if known.promotion.status is not PromotionStatus.REQUESTED or decision is None or not decision.allowed:
        return known
    at = _now()
    if outstanding.is_too_old(settings, known, at):
        return _refuse(settings, known, outstanding.TOO_OLD, anew=True)
    try:
        known = _with_evaluation(settings, known)
        waits = agreeing.waits_for(settings, known.promotion, at)
        asked = known.promotion.model_copy(update={"approvals_required": waits and waits.approvals})
        payload = claims.of_promotion(asked, known.artifact, known.input_attestations, at)
        with measurements.manifest_signature():
            manifest = attest(payload, configured_signer(settings, Purpose.PROMOTION, known.promotion.environment))
    except Unavailable as error:
        return _refuse_unavailable(settings, known, error)
    with database.autocommit(settings) as connection:
        row = promotion_moves.sign(connection, known.row, manifest, waits, at=at)
    if row["manifest"] != manifest.digest:
        return _load(settings, row["id"])
    return replace(known, row=row, manifest_envelope=manifest.envelope)


def _apply(settings: Settings, known: Dossier) -> Dossier:
    if known.promotion.status is PromotionStatus.PENDING_APPROVAL:
        known = _moved(known, outstanding.settle(settings, known))
    while known.promotion.status is PromotionStatus.APPROVED:  # still, where an approval was given or taken back in this moment
        known = _apply_verified(settings, known)
    keep_up(settings)
    return known


def _apply_verified(settings: Settings, known: Dossier) -> Dossier:
    at = _now()
    if ended := outstanding.ended(settings, known, at):
        return _moved(known, ended)
    try:
        _check_manifest(settings, known)
    except (BadInput, EvidenceBroken) as error:
        return _refuse(settings, known, f"manifest: {error}")
    audit_signer(settings)  # whoever may not sign the event of a change must not make the change
    with database.autocommit(settings) as connection:
        if known.promotion.rollout is None:
            row = applying.apply(connection, known.row, at=at)
        else:
            row = rollout_moves.start(connection, known.row, salt=known.promotion.rollout.salt or token_urlsafe(16))
    return _moved(known, row)


def _check_artifact(settings: Settings, known: Dossier) -> None:
    artifact = known.artifact
    recorded.verify(settings, artifact.artifact_uri, artifact.checksum)
    registration = claims.of_registration(artifact, known.training_attestation)
    _expect(settings, Purpose.ARTIFACT, Kept(known.registration_envelope, registration), artifact.created_at)


def _check_manifest(settings: Settings, known: Dossier) -> None:
    _expect(settings, Purpose.PROMOTION, evidence.of_promotion(known), known.row["created_at"], known.promotion.environment)


def _expect(settings: Settings, purpose: Purpose, kept: Kept, at: datetime, environment: str | None = None) -> None:
    trust = trust_of(settings)
    if evidence.depends_on_the_log(trust, kept.envelope):
        with database.autocommit(settings) as connection:
            keys = evidence.keys_that_count(connection, trust, purpose, kept.envelope, at=at, environment=environment)
    else:
        keys = keys_for(trust, purpose, at=at, environment=environment)
    expect(kept.envelope, keys, kept.expected)


def _load(settings: Settings, promotion_id: UUID) -> Dossier:
    with database.autocommit(settings) as connection:
        return dossier.of_promotion(connection, promotion_id)


def _with_evaluation(settings: Settings, known: Dossier) -> Dossier:
    if known.promotion.evaluation_kind is None or known.evaluation is not None:
        return known
    return replace(known, evaluation=evaluating.record_judged(settings, known.promotion, known.artifact))


def _refuse(settings: Settings, known: Dossier, reason: str, unavailable: str | None = None, *, anew: bool = False) -> Dossier:
    with database.transaction(settings) as tx:
        row = promotion_moves.reject(tx, known.row, reason, unavailable=unavailable, anew=anew, at=_now())
    return _moved(known, row)


def _moved(known: Dossier, row: Mapping[str, Any]) -> Dossier:
    if row["status"] != known.row["status"] and row["status"] not in _GOES_ON:
        measurements.promotion_ended(row["status"])
    return replace(known, row=row)


# With the database gone nothing can be recorded: the caller hears it and may ask again.
def _refuse_unavailable(settings: Settings, known: Dossier, error: Unavailable) -> Dossier:
    if error.part == "database":
        raise error
    return _refuse(settings, known, str(error), error.part)


def _now() -> datetime:
    return datetime.now(UTC)
