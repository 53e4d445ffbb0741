"""Re-check everything recorded about a model: history, signatures, promotions and the stored bytes themselves.

This is the check inside the house, with the database at hand; what an auditor runs alone lives in `evidence`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from uuid import UUID

from sqlalchemy import Connection, Text, cast, select, union_all

from aiinfra_core import agreeing, canary, database
from aiinfra_core.artifact_store import recorded
from aiinfra_core.audit_log.checking import check
from aiinfra_core.audit_log.checking.check import WHOLE, History, Way
from aiinfra_core.audit_log.checking.walk import readable
from aiinfra_core.domain.approval import Means, Withdrawal
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion, PromotionStatus
from aiinfra_core.domain.rollout import Action, Look, Rollout, Verdict
from aiinfra_core.domain.tombstone import Tombstone
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import ArtifactMissing, BadInput, EvidenceBroken, NotFound
from aiinfra_core.evidence import dsse, statement
from aiinfra_core.evidence.attestation import expect
from aiinfra_core.evidence.predicates import PURPOSES
from aiinfra_core.evidence.trust import held_by
from aiinfra_core.evidence.verification import latencies
from aiinfra_core.evidence.verification.rollouts import steps_in_words
from aiinfra_core.keys import trust_of
from aiinfra_core.log_tables import audit_events, audit_outbox
from aiinfra_core.registry import (
    approvals,
    artifacts,
    attestations,
    dossier,
    evaluations,
    evidence,
    imports,
    jobs,
    promotions,
    reproductions,
    rollouts,
    scans,
    tombstones,
)
from aiinfra_core.registry.approvals import Given
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.registry.evidence import Kept
from aiinfra_core.settings import Settings

APPLIED = "promotion.applied"
MOST_SHOWN = 20


@dataclass(frozen=True)
class Step:
    """One thing that was checked; `detail` says what was found, or what is wrong."""

    name: str
    passed: bool
    detail: str


def default_state(settings: Settings) -> Path:
    """Return where what was verified of the history is kept, for the verification that goes on where the last one stood."""
    return settings.home / "audit" / "verified.sqlite"


def verify_history(settings: Settings, way: Way = WHOLE) -> History:
    """Re-check the audit log, its checkpoints here and outside, and every state row; without a way, all of it and nothing is kept.

    Raises:
        Conflict: another verification is at work with the same state.
        Misconfigured: the state cannot be kept, or whom to trust is not configured.
        Unavailable: the database, or the place of the published checkpoints, cannot be reached.
    """
    return check.check_history(settings, way)


def verify_model(settings: Settings, reference: str, history: History | None = None) -> tuple[Artifact, list[Step]]:
    """Check one registered artifact and all that is recorded about it; every step is tried, whatever the others found.

    1. history: the audit chain is whole and every state row is what its last event says.
    2. registration, training, import, evaluations, reproductions, scans, promotions, approvals and their withdrawals: each signed by a
       trusted key, and saying what the rows say; and of each rollout every order, and every verdict judged again from its counts.
    3. current: what the pointers name was applied by a recorded event that names its manifest.
    4. bytes: the stored artifact has the registered digest, or a signed tombstone says that it was removed.

    Args:
        settings: where everything is.
        reference: of the artifact.
        history: what the history was found to be just now; without it, all of it is checked.

    Raises:
        NotFound: nothing is registered under that name.
        Unavailable: the database or the artifact store cannot be reached.
    """
    with database.snapshot(settings) as tx:
        artifact = artifacts.find(tx, reference)
    found = history or verify_history(settings)
    with database.snapshot(settings) as tx:
        steps = [_history_step(found), *_signed_steps(settings, tx, artifact), *_current_steps(tx, artifact)]
        tombstone = tombstones.of_artifact(tx, artifact.id)
        if tombstone is not None:
            gather = partial(tombstones.kept, tx, tombstone, artifact)
            steps.append(_signed(settings, tx, "tombstone", Purpose.ARTIFACT, gather, tombstone.created_at))
    return artifact, [*steps, _bytes_step(settings, artifact, tombstone)]


def _history_step(history: History) -> Step:
    whole = f"{history.events} events chained and signed, every row matches its last event"
    waiting = f", {history.waiting} more waiting to be chained" if history.waiting else ""
    broken = "; ".join(f"{finding.place}: {finding.problem}" for finding in history.findings[:MOST_SHOWN])
    more = f"; and {history.broken - MOST_SHOWN} more" if history.broken > MOST_SHOWN else ""
    return Step("history", not history.broken, broken + more or whole + waiting)


def _signed_steps(settings: Settings, tx: Connection, artifact: Artifact) -> Iterator[Step]:
    signed = partial(_signed, settings, tx)
    yield signed("registration", Purpose.ARTIFACT, partial(evidence.of_registration, tx, artifact), artifact.created_at)
    if artifact.training_job_id is not None:
        job = jobs.get(tx, artifact.training_job_id)
        yield signed("training", Purpose.ARTIFACT, partial(evidence.of_training, tx, job), job.created_at)
    if record := imports.of_artifact(tx, artifact.id):
        yield signed(f"import from {record.source}", Purpose.ARTIFACT, partial(imports.kept, tx, record), record.created_at)
    for evaluation in evaluations.of_artifact(tx, artifact.id):
        name = f"evaluation {evaluation.digest[:12]} ({evaluation.kind})"
        yield signed(name, Purpose.EVALUATION, partial(evidence.of_evaluation, tx, artifact, evaluation), evaluation.created_at)
    for reproduction in reproductions.of_artifact(tx, artifact.id):
        gather = partial(evidence.of_reproduction, tx, artifact, reproduction)
        yield signed(f"reproduction ({reproduction.outcome})", Purpose.EVALUATION, gather, reproduction.created_at)
    for scan in scans.of_artifact(tx, artifact.id):
        yield signed(f"scan ({scan.verdict})", Purpose.ARTIFACT, partial(evidence.of_scan, tx, artifact, scan), scan.created_at)
    for promotion in _signed_promotions(tx, artifact):
        known = dossier.of_promotion(tx, promotion.id)
        yield from _promotion_steps(settings, tx, known)
        yield from _rollout_steps(settings, tx, known)


def _promotion_steps(settings: Settings, tx: Connection, known: Dossier) -> Iterator[Step]:
    promotion, signed = known.promotion, partial(_signed, settings, tx, environment=known.promotion.environment)
    name = f"promotion to {promotion.environment}, sequence {promotion.sequence_seen + 1} ({promotion.status})"
    yield signed(name, Purpose.PROMOTION, partial(evidence.of_promotion, known), promotion.created_at)
    for given in approvals.of_promotion(tx, promotion.id):
        approval, withdrawal = given.approval, given.withdrawal
        gather = partial(_approval, known, given)
        name = f"approval by {approval.approver} of sequence {promotion.sequence_seen + 1} in {promotion.environment}"
        owner = approval.approver if approval.means is Means.KEY else None
        yield signed(name, agreeing.PURPOSE_OF[approval.means], gather, approval.created_at, owner=owner)
        if withdrawal is not None:
            kept, purpose = partial(evidence.of_withdrawal, tx, known, given, withdrawal), _purpose_of(tx, withdrawal)
            owner = withdrawal.withdrawn_by if purpose is Purpose.APPROVAL else None
            yield signed(f"withdrawal of the {name}", purpose, kept, withdrawal.created_at, owner=owner)


def _rollout_steps(settings: Settings, tx: Connection, known: Dossier) -> Iterator[Step]:
    rollout = rollouts.of_promotion(tx, known.promotion.id)
    if rollout is None:
        return
    orders, name = rollouts.orders(tx, rollout.id), f"sequence {known.promotion.sequence_seen + 1} in {rollout.environment}"
    for order in orders:
        gather, to = partial(evidence.of_order, tx, known, order), f"order to {order.action} the rollout of {name}"
        yield _signed(settings, tx, to, Purpose.PROMOTION, gather, order.created_at, environment=rollout.environment)
    try:
        told = list(canary.story(rollout, _every_look(tx, rollout.id), orders))
        found = [*canary.recompute(rollout.spec, told), *_otherwise_frozen(rollout, told)]
    except (BadInput, KeyError, ValueError) as error:
        told, found = [], [f"a look cannot be read: {error}"]
    except EvidenceBroken as error:
        told, found = [], [error.detail]
    by_people = [order.ordered_by for order in orders if order.action is Action.ADVANCE]
    steps = steps_in_words([*by_people, *(None for _, look in told if look.verdict is Verdict.ADVANCE)])
    whole = f"every verdict follows again from its counts (looks: {len(told)})"
    yield Step(f"rollout of {name} ({rollout.status})", not found, found[0] if found else "; ".join(filter(None, (whole, steps))))


def _otherwise_frozen(rollout: Rollout, told: Iterable[tuple[canary.Seen, Look]]) -> list[str]:
    same = latencies.frozen_by(rollout.spec, (look for _, look in told)) == (rollout.frozen or {})
    return [] if same else ["what is frozen of the champion's latency is not what the looks measured"]


def _every_look(tx: Connection, rollout_id: UUID) -> Iterator[Look]:
    seen = 0
    while page := rollouts.looks(tx, rollout_id, after=seen):
        yield from page
        seen = page[-1].number


def _approval(known: Dossier, given: Given) -> Kept:
    return Kept(given.envelope, agreeing.expected_of(given.approval, known, given.envelope))


def _purpose_of(tx: Connection, withdrawal: Withdrawal) -> Purpose:
    try:
        return PURPOSES[statement.parse(dsse.parse(attestations.envelope(tx, withdrawal.attestation)).payload).predicate_type]
    except (NotFound, EvidenceBroken):
        return Purpose.APPROVAL  # said where its statement is checked


def _signed_promotions(tx: Connection, artifact: Artifact) -> Iterable[Promotion]:
    return [promotion for promotion in promotions.of_artifact(tx, artifact.id) if promotion.manifest is not None]


def _signed(
    settings: Settings,
    tx: Connection,
    name: str,
    purpose: Purpose,
    gather: Callable[[], Kept],
    since: datetime,
    environment: str | None = None,
    owner: str | None = None,
) -> Step:
    """Check a record's statement with the keys that counted when the log took it in, which it did at `since` or later.

    With `owner` only theirs count.
    """
    try:
        kept = gather()
        trust = trust_of(settings) if owner is None else held_by(trust_of(settings), owner)
        keys = evidence.keys_that_count(tx, trust, purpose, kept.envelope, at=since, environment=environment)
        expect(kept.envelope, keys, kept.expected)
    except (BadInput, EvidenceBroken, NotFound, ValueError) as error:
        return Step(name, passed=False, detail=str(error))
    return Step(name, passed=True, detail="signed by a trusted key, and the rows say the same")


def _current_steps(tx: Connection, artifact: Artifact) -> Iterator[Step]:
    for pointer in promotions.pointers(tx):
        if pointer.artifact_id == artifact.id:
            promotion = promotions.get(tx, pointer.promotion_id)
            right = (
                promotion.status is PromotionStatus.APPLIED
                and promotion.artifact_id == artifact.id
                and promotion.sequence_seen + 1 == pointer.sequence
                and (promotion.environment, promotion.model) == (pointer.environment, pointer.model)
                and _is_applied_by_an_event(tx, promotion)
            )
            detail = f"sequence {pointer.sequence}, promotion {promotion.id}"
            yield Step(f"current in {pointer.environment}", right, detail if right else f"{detail} does not support the pointer")


def _is_applied_by_an_event(tx: Connection, promotion: Promotion) -> bool:
    """Say whether a `promotion.applied` event of this promotion names its manifest; what waits to be chained counts."""
    about = [
        select(cast(table.c.payload, Text)).where(
            table.c.event_type == APPLIED, cast(table.c.payload, Text).contains(promotion.manifest or "none", autoescape=True), *more
        )
        for table, more in ((audit_events, [audit_events.c.created_at >= promotion.applied_at]), (audit_outbox, []))
    ]
    events = (readable(payload) for payload in tx.execute(union_all(*about)).scalars())
    return any(
        (event.get("type"), event.get("subject"), event.get("digests", {}).get("manifest"))
        == (APPLIED, str(promotion.id), promotion.manifest)
        for event in events
    )


def _bytes_step(settings: Settings, artifact: Artifact, tombstone: Tombstone | None) -> Step:
    try:
        stored = recorded.verify(settings, artifact.artifact_uri, artifact.checksum)
    except BadInput as error:
        if tombstone is not None and isinstance(error, ArtifactMissing):
            return Step("bytes", passed=True, detail=tombstones.in_words(tombstone))
        return Step("bytes", passed=False, detail=str(error))
    return Step("bytes", passed=True, detail=f"{stored.size_bytes} bytes with {artifact.digest_kind} {artifact.checksum}")
