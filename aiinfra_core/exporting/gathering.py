"""What belongs into an export, read out of one consistent state of the database. Nothing is verified here; see `export`.

Which statements these are is in `telling`, the entries of rollouts in `rolled_out`, the policies and the long values that the log holds by
digest in `texts`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, select, text

from aiinfra_core.audit_log import checkpoints
from aiinfra_core.audit_log.checkpoints import Published
from aiinfra_core.describing import Recorded, recorded
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion
from aiinfra_core.domain.training import TrainingJob
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence import consistency_proof, dsse, log_proof, statement
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.evidence.entry import leaf
from aiinfra_core.evidence.predicates import Registration
from aiinfra_core.exporting import rolled_out, telling, texts
from aiinfra_core.log_tables import audit_checkpoints, audit_events
from aiinfra_core.registry import artifacts, jobs, promotions, tombstones
from aiinfra_core.registry.policy_decisions import GateDecision
from aiinfra_core.registry.rows import every
from aiinfra_core.tables import model_promotions

MOST_CONSISTENCY_PROOFS = 64
# `created_at` rises with seq and is never before the event's own time: read from there on, an event is found in a few rows.
_FROM = "SELECT seq FROM audit_events WHERE created_at >= :since AND {} ORDER BY created_at LIMIT 1"
_TAKES_IN = text(_FROM.format("payload -> 'rows' -> 'attestations' ->> 'digest' = :digest"))
_APPLIES = text(_FROM.format("event_type = 'promotion.applied' AND payload -> 'digests' ->> 'manifest' = :digest"))
# Whoever waited long was approved just before it was applied.
_APPROVES = text(
    "SELECT seq FROM audit_events WHERE seq < :applied AND event_type = 'promotion.approved'"
    " AND payload -> 'digests' ->> 'manifest' = :digest ORDER BY seq DESC LIMIT 1"
)
_ANSWERS = text(_FROM.format("payload -> 'rows' -> 'policy_decisions' ->> 'id' = :id"))


@dataclass(frozen=True)
class Gathered:
    """Everything of an export but the artifact's bytes and what is made from the rest; the keys of the dicts name the files."""

    known: Recorded
    environment: str | None
    current: tuple[int, str] | None
    head: Published
    head_at: datetime
    envelopes: dict[str, bytes]
    events: dict[int, bytes]
    proofs: dict[int, bytes]
    consistency: dict[int, bytes]
    policies: dict[str, bytes]
    values: dict[str, bytes]
    trainings: tuple[TrainingJob, ...]

    @property
    def artifact(self) -> Artifact:
        """The artifact that is exported."""
        return self.known.artifact


def gather(tx: Connection, reference: str, head: Published, since: Checkpoint | None) -> Gathered | None:
    """Read the story of an artifact; None where something of it is not under the checkpoint, because it happened since.

    Args:
        tx: one consistent state of the database, read after the checkpoint was made.
        reference: `MODEL`, `MODEL:VERSION`, `MODEL@ENVIRONMENT` or an artifact's id.
        head: the checkpoint everything leads to.
        since: an earlier checkpoint from which a proof is wanted.

    Raises:
        NotFound: nothing is registered under that name, its bytes were pruned, or a policy's text is not kept.
        EvidenceBroken: what is recorded does not hold together, or the log does not continue `since`.
    """
    artifact = artifacts.find(tx, reference)
    tombstones.refuse_pruned(tx, artifact)
    environment = reference.partition("@")[2] or None
    chain = _of_environment(tx, artifact.model, environment) if environment else _of_artifact(tx, artifact)
    kept = telling.attestations_about(tx, artifact, chain)
    answers = texts.answers_to(tx, chain)
    seqs = _entries(tx, kept, chain, answers, head)
    if seqs is None:
        return None
    events = _leaves(tx, seqs)
    return Gathered(
        known=recorded(tx, artifact),
        environment=environment,
        current=(chain[-1].sequence_seen + 1, chain[-1].manifest or "") if environment else None,
        head=head,
        head_at=tx.execute(select(audit_events.c.created_at).where(audit_events.c.seq == head.size)).scalar_one(),
        envelopes={row.digest: bytes(row.envelope) for row in kept},
        events=events,
        proofs={seq: log_proof.write(checkpoints.inclusion(tx, seq, head)) for seq in seqs},
        consistency=_consistency(tx, head.checkpoint, since),
        policies=texts.policies_of(tx, chain, answers),
        values=texts.long_values(tx, events.values()),
        trainings=_trainings(tx, kept),
    )


def _applied(tx: Connection, *where: ColumnElement[bool]) -> list[Promotion]:
    query = select(model_promotions).where(model_promotions.c.applied_at.is_not(None), *where)
    return [
        promotions.promotion_from(row)
        for row in every(tx, query.order_by(model_promotions.c.environment, model_promotions.c.sequence_seen))
    ]


def _of_environment(tx: Connection, model: str, environment: str) -> list[Promotion]:
    return _applied(tx, model_promotions.c.environment == environment, model_promotions.c.model == model)


def _of_artifact(tx: Connection, artifact: Artifact) -> list[Promotion]:
    """Return, for each environment the artifact was applied in, every promotion up to its last there."""
    last = {one.environment: one.sequence_seen for one in _applied(tx, model_promotions.c.artifact_id == artifact.id)}
    return [
        one
        for environment, sequence in sorted(last.items())
        for one in _of_environment(tx, artifact.model, environment)
        if one.sequence_seen <= sequence
    ]


def _entries(
    tx: Connection, kept: Sequence[Row[Any]], chain: Sequence[Promotion], answers: Sequence[GateDecision], head: Published
) -> list[int] | None:
    found = [tx.execute(_TAKES_IN, {"since": row.created_at, "digest": row.digest}).scalar() for row in kept]
    found += [tx.execute(_ANSWERS, {"since": one.created_at, "id": str(one.id)}).scalar() for one in answers]
    applied = [tx.execute(_APPLIES, {"since": one.applied_at, "digest": one.manifest}).scalar() for one in chain]
    waited = [(one, seq) for one, seq in zip(chain, applied, strict=True) if one.approvals_required is not None]
    found += applied + [tx.execute(_APPROVES, {"applied": seq, "digest": one.manifest}).scalar() for one, seq in waited]
    found += rolled_out.entries(tx, chain)
    seqs = {seq for seq in found if seq is not None and seq <= head.size}
    if None in found or len(seqs) < len(set(found)):
        return None
    return sorted(seqs | {head.size})


def _leaves(tx: Connection, seqs: Iterable[int]) -> dict[int, bytes]:
    query = select(audit_events).where(audit_events.c.seq.in_(list(seqs))).order_by(audit_events.c.seq)
    return {row["seq"]: leaf(row) for row in every(tx, query)}


def _consistency(tx: Connection, head: Checkpoint, since: Checkpoint | None) -> dict[int, bytes]:
    query = select(audit_checkpoints.c.size, audit_checkpoints.c.root).where(audit_checkpoints.c.size < head.size)
    earlier = {row.size: bytes.fromhex(row.root) for row in tx.execute(query.order_by(audit_checkpoints.c.size))}
    chosen = {size: earlier[size] for size in _spread(sorted(earlier))}
    if since is not None and since.size < head.size:
        chosen[since.size] = since.root
    proofs = {}
    for size, root in sorted(chosen.items()):
        old = Checkpoint(head.origin, size, root)
        hashes = checkpoints.consistency(tx, size, head.size)
        consistency_proof.verify(consistency_proof.ConsistencyProof(size, root, tuple(hashes)), head)
        proofs[size] = consistency_proof.write(old, hashes)
    return proofs


def _spread(sizes: Sequence[int]) -> list[int]:
    """Return at most so many of the sizes, evenly, the first and the last always."""
    most = MOST_CONSISTENCY_PROOFS
    if len(sizes) <= most:
        return list(sizes)
    return [sizes[round(step * (len(sizes) - 1) / (most - 1))] for step in range(most)]


def check_since(since: Checkpoint, head: Checkpoint) -> None:
    """Check that a checkpoint seen before can be of this log.

    Raises:
        BadInput: it is of another log.
        EvidenceBroken: at `consistency`; it is of more entries than the log has, or of as many others.
    """
    if since.origin != head.origin:
        raise BadInput(f"That checkpoint is of the log {since.origin!r}, not of {head.origin!r}.")
    if since.size > head.size or (since.size == head.size and since.root != head.root):
        raise EvidenceBroken("consistency", f"the log has {head.size} entries and does not continue that checkpoint of {since.size}.")


def _trainings(tx: Connection, kept: Sequence[Row[Any]]) -> tuple[TrainingJob, ...]:
    predicates = [statement.parse(dsse.parse(bytes(row.envelope)).payload).predicate for row in kept]
    ids = {one.training_job_id for one in predicates if isinstance(one, Registration) and one.training_job_id}
    return tuple(jobs.get(tx, UUID(one)) for one in sorted(ids))
