"""Re-check everything recorded about a model: history, signatures, promotions and the stored bytes themselves.

This is the check inside the house, with the database at hand; what an auditor runs alone lives in `evidence`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from aiinfra_core import artifact_store, database
from aiinfra_core.audit_log.check import History, check_history
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion, PromotionStatus
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence.attestation import expect
from aiinfra_core.keys import trust_of
from aiinfra_core.registry import artifacts, dossier, evaluations, evidence, jobs, promotions
from aiinfra_core.registry.evidence import Kept
from aiinfra_core.settings import Settings
from aiinfra_core.signing.public_key import parse


@dataclass(frozen=True)
class Step:
    """One thing that was checked; `detail` says what was found, or what is wrong."""

    name: str
    passed: bool
    detail: str


def verify_history(settings: Settings) -> History:
    """Walk the whole audit log and every state row.

    Raises:
        Unavailable: the database cannot be reached.
    """
    with database.snapshot(settings) as tx:
        return check_history(tx, trust_of(settings))


def verify_model(settings: Settings, reference: str) -> tuple[Artifact, list[Step]]:
    """Check one registered artifact and all that is recorded about it; every step is tried, whatever the others found.

    1. history: the audit chain is whole and every state row is what its last event says.
    2. registration, training, evaluations, promotions: each signed by a trusted key, and saying what the rows say.
    3. current: what the pointers name was applied by a recorded event with that manifest.
    4. bytes: the stored artifact has the registered digest.

    Raises:
        NotFound: nothing is registered under that name.
        Unavailable: the database or the artifact store cannot be reached.
    """
    with database.snapshot(settings) as tx:
        artifact = artifacts.find(tx, reference)
        history = check_history(tx, trust_of(settings))
        steps = [_history_step(history), *_signed_steps(settings, tx, artifact), *_current_steps(tx, artifact)]
    return artifact, [*steps, _bytes_step(settings, artifact)]


def _history_step(history: History) -> Step:
    whole = f"{history.events} events chained and signed, every row matches its last event"
    waiting = f", {history.waiting} more waiting to be chained" if history.waiting else ""
    broken = "; ".join(f"{finding.place}: {finding.problem}" for finding in history.findings)
    return Step("history", not history.findings, broken or whole + waiting)


def _signed_steps(settings: Settings, tx: Connection, artifact: Artifact) -> Iterator[Step]:
    yield _signed(settings, "registration", partial(evidence.of_registration, tx, artifact))
    if artifact.training_job_id is not None:
        job = jobs.get(tx, artifact.training_job_id)
        yield _signed(settings, "training", partial(evidence.of_training, tx, job))
    for evaluation in evaluations.of_artifact(tx, artifact.id):
        name = f"evaluation {evaluation.digest[:12]} ({evaluation.kind})"
        yield _signed(settings, name, partial(evidence.of_evaluation, tx, artifact, evaluation))
    for promotion in _signed_promotions(tx, artifact):
        name = f"promotion to {promotion.environment}, sequence {promotion.sequence_seen + 1} ({promotion.status})"
        yield _signed(settings, name, partial(_manifest, tx, promotion))


def _manifest(tx: Connection, promotion: Promotion) -> Kept:
    return evidence.of_promotion(dossier.of_promotion(tx, promotion.id))


def _signed_promotions(tx: Connection, artifact: Artifact) -> Iterable[Promotion]:
    return [promotion for promotion in promotions.of_artifact(tx, artifact.id) if promotion.manifest is not None]


def _signed(settings: Settings, name: str, gather: Callable[[], Kept]) -> Step:
    try:
        kept = gather()
        expect(kept.envelope, {k.keyid: parse(k.public_key) for k in trust_of(settings).keys}, kept.expected)
    except (BadInput, EvidenceBroken, ValueError) as error:
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
            )
            detail = f"sequence {pointer.sequence}, promotion {promotion.id}"
            yield Step(f"current in {pointer.environment}", right, detail if right else f"{detail} does not support the pointer")


def _bytes_step(settings: Settings, artifact: Artifact) -> Step:
    try:
        stored = artifact_store.verify(artifact_store.location(settings), artifact.artifact_uri, artifact.checksum)
    except BadInput as error:
        return Step("bytes", passed=False, detail=str(error))
    return Step("bytes", passed=True, detail=f"{stored.size_bytes} bytes with {artifact.digest_kind} {artifact.checksum}")
