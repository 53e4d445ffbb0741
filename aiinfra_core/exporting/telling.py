"""Which signed statements tell the story of an artifact and of the promotions it is part of."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select

from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import dsse, statement
from aiinfra_core.evidence.confirmation_predicates import Approval, Withdrawal
from aiinfra_core.evidence.predicates import (
    APPROVAL,
    REPRODUCTION,
    ROLLOUT_ORDER,
    SCAN,
    VOUCHED_APPROVAL,
    VOUCHED_WITHDRAWAL,
    WITHDRAWAL,
    Registration,
)
from aiinfra_core.evidence.predicates import Promotion as Manifest
from aiinfra_core.evidence.rollout_predicates import RolloutOrder
from aiinfra_core.exporting import rolled_out
from aiinfra_core.tables import attestations, evaluations

_ABOUT_ARTIFACTS = (REPRODUCTION, SCAN)
_ABOUT_PROMOTIONS: dict[str, type[Approval | Withdrawal | RolloutOrder]] = {
    APPROVAL: Approval,
    VOUCHED_APPROVAL: Approval,
    WITHDRAWAL: Withdrawal,
    VOUCHED_WITHDRAWAL: Withdrawal,
    ROLLOUT_ORDER: RolloutOrder,
}


def attestations_about(tx: Connection, artifact: Artifact, chain: Sequence[Promotion]) -> list[Row[Any]]:
    """Return the kept statements of an artifact and of promotions.

    They are the manifests and what these lean on, the registration and training of the artifact and of what a rollout they override had
    sent back, and about each artifact among them every evaluation, scan and reproduction, every approval, every withdrawal of one, and
    every order about a rollout.

    Raises:
        EvidenceBroken: one is not what its row says.
    """
    manifests = _rows(tx, attestations.c.digest.in_([one.manifest for one in chain]))
    inputs = {one.digest.sha256 for row in manifests for one in _saying(row, Manifest).input_attestations}
    registrations = {artifact.attestation, *rolled_out.registrations(tx, chain)}
    leaned_on = inputs | registrations | {*_evaluations_of(tx, {artifact.id, *(one.artifact_id for one in chain)})}
    found = _rows(tx, attestations.c.digest.in_(sorted(leaned_on)))
    trained = [_saying(row, Registration).training_attestation for row in found if row.digest in registrations]
    found += _rows(tx, attestations.c.digest.in_([digest for digest in trained if digest and digest not in leaned_on]))
    return [*manifests, *found, *_later(tx, [*manifests, *found], {row.digest for row in manifests})]


def _evaluations_of(tx: Connection, artifacts: set[Any]) -> list[str]:
    return list(tx.execute(select(evaluations.c.attestation).where(evaluations.c.artifact_id.in_(artifacts))).scalars())


def _later(tx: Connection, found: Sequence[Row[Any]], manifests: set[str]) -> list[Row[Any]]:
    """Return what was stated later about the same bytes: about them, or about one of these manifests."""
    subjects = sorted({row.subject_checksum for row in found})
    kinds = attestations.c.predicate_type.in_((*_ABOUT_ARTIFACTS, *_ABOUT_PROMOTIONS))
    about = _rows(tx, attestations.c.subject_checksum.in_(subjects), kinds)
    shapes = [(row, _ABOUT_PROMOTIONS.get(row.predicate_type)) for row in about]
    return [row for row, shape in shapes if shape is None or _saying(row, shape).manifest in manifests]


def _rows(tx: Connection, *where: ColumnElement[bool]) -> list[Row[Any]]:
    return list(tx.execute(select(attestations).where(*where).order_by(attestations.c.created_at, attestations.c.digest)).all())


def _saying(row: Row[Any], shape: type[Any]) -> Any:
    predicate = statement.parse(dsse.parse(bytes(row.envelope)).payload).predicate
    if not isinstance(predicate, shape):
        raise EvidenceBroken("predicate type", f"the attestation {row.digest} is not what is recorded; see: aiinfra audit verify")
    return predicate
