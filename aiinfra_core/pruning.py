"""Remove the bytes of artifacts nobody may use any more: first a signed tombstone, then the bytes; evidence never.

What may go is decided in `registry.tombstones`. Killed between the tombstone and the removal, the next run finishes.
Only bytes that have the tombstone's digest are removed, and nothing where the product's own records are kept.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from uuid import UUID

from sqlalchemy import Connection

from aiinfra_core import artifact_store, database
from aiinfra_core.artifact_store import Location, removing, reserved
from aiinfra_core.artifact_store.removing import Removed
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.actor import checked_actor
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.tombstone import RetentionRule, Tombstone
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence import claims
from aiinfra_core.evidence.attestation import attest, expect
from aiinfra_core.keys import audit_signer, configured_signer, trust_of
from aiinfra_core.registry import artifacts, evidence, tombstones
from aiinfra_core.registry.tombstones import Free
from aiinfra_core.settings import Settings

_MAX_REASON = 500


@dataclass(frozen=True)
class Together:
    """Artifacts that share their bytes, and nobody may use any more; `stays` says why the bytes stay all the same, if they do."""

    artifacts: tuple[Free, ...]
    stays: str | None = None

    @property
    def uri(self) -> str:
        """Where the bytes are."""
        return self.artifacts[0].artifact_uri

    @property
    def size_bytes(self) -> int:
        """How many there are."""
        return self.artifacts[0].size_bytes


@dataclass(frozen=True)
class Pruned:
    """What became of bytes: removed, or why they stay."""

    together: Together
    removed: Removed | None
    stays: str | None = None


def plan(settings: Settings, rule: RetentionRule, model: str | None = None) -> list[Together]:
    """Return what would be removed under a rule, oldest first.

    Raises:
        Unavailable: the database cannot be reached.
    """
    with database.snapshot(settings) as tx:
        found = tombstones.free(tx, rule, datetime.now(UTC), model)
    by_place = sorted(found, key=lambda one: one.artifact_uri)
    together = [Together(tuple(group)) for _, group in groupby(by_place, key=lambda one: one.artifact_uri)]
    return sorted((_placed(settings, one) for one in together), key=lambda one: one.artifacts[0].created_at)


def prune(settings: Settings, rule: RetentionRule, planned: Sequence[Together], *, pruned_by: str, reason: str | None) -> Iterator[Pruned]:
    """Remove what was planned, one after the other, and yield what became of each; what somebody wants by now stays.

    Args:
        settings: where everything is.
        rule: it was planned under; looked at once more under the lock of the models.
        planned: what to remove.
        pruned_by: who asks for it.
        reason: why; without it, the rule in words.

    Raises:
        BadInput: the reason, or who asks, cannot be recorded.
        Unavailable: a required part cannot be reached; the next run finishes.
    """
    pruned_by, why = checked_actor(pruned_by), _checked_reason(reason or _in_words(rule))
    for together in planned:
        if together.stays is None and _buried(settings, rule, together, pruned_by, why):
            removed = _remove(settings, together.artifacts[0].id)
            yield Pruned(together, removed, None if removed else "other bytes are there")
        else:
            yield Pruned(together, None, together.stays or "somebody wants it by now")


def finish(settings: Settings, on_progress: Callable[[str, int, int], None] = lambda _counted, _done, _of: None) -> int:
    """Remove what is left of bytes whose artifacts all have tombstones; return how many files that were.

    Raises:
        EvidenceBroken: a tombstone does not verify; its bytes stay.
        Unavailable: a required part cannot be reached; the next run finishes.
    """
    with database.snapshot(settings) as tx:
        unused = tombstones.unused(tx)
    files = 0
    for done, artifact_id in enumerate(unused, start=1):
        removed = _remove(settings, artifact_id)
        files += removed.files if removed else 0
        on_progress("tombstones", done, len(unused))
    return files


def _placed(settings: Settings, together: Together) -> Together:
    try:
        artifact_store.location_of(settings, together.uri)
    except BadInput:
        return Together(together.artifacts, "it is not below an artifact root")
    try:
        reserved.refuse(settings, together.uri)
    except BadInput:
        return Together(together.artifacts, "it is where records are kept")
    return together


def _buried(settings: Settings, rule: RetentionRule, together: Together, pruned_by: str, reason: str) -> bool:
    at = datetime.now(UTC)
    signer = configured_signer(settings, Purpose.ARTIFACT)
    audit_signer(settings)  # whoever may not sign the event of a change must not make the change
    with database.snapshot(settings) as tx:
        found = tombstones.artifacts_of(tx, [one.id for one in together.artifacts])
    signed: list[tuple[Artifact, Tombstone, Attestation]] = []
    for artifact in found:
        tombstone = Tombstone(artifact_id=artifact.id, reason=reason, rule=rule, attestation=None, pruned_by=pruned_by, created_at=at)
        signed.append((artifact, tombstone, attest(claims.of_tombstone(tombstone, artifact), signer)))
    with database.transaction(settings) as tx:
        buried = tombstones.bury(tx, signed, rule, at)
    if buried:
        keep_up(settings)
    return buried


def _remove(settings: Settings, artifact_id: UUID) -> Removed | None:
    """Remove an artifact's bytes; return None if others are there."""
    with database.snapshot(settings) as tx:
        artifact = artifacts.get(tx, artifact_id)
        _check_signed(settings, tx, artifact)
    try:
        place = artifact_store.location_of(settings, artifact.artifact_uri)
        reserved.refuse(settings, artifact.artifact_uri)
    except BadInput:
        return Removed(0)  # its root is no longer ours, or records are kept there
    return _remove_same(place, artifact)


def _remove_same(place: Location, artifact: Artifact) -> Removed | None:
    there = removing.digest_there(place, artifact.artifact_uri, artifact.digest_kind)
    if there is None:
        return Removed(0)
    return removing.remove(place, artifact.artifact_uri, artifact.digest_kind) if there == artifact.checksum else None


# Whoever can write a row must not be able to have bytes removed by it.
def _check_signed(settings: Settings, tx: Connection, artifact: Artifact) -> None:
    tombstone = tombstones.of_artifact(tx, artifact.id)
    if tombstone is None:
        raise EvidenceBroken(f"artifact_tombstones {artifact.id}", "it is gone; nothing was removed.")
    try:
        kept = tombstones.kept(tx, tombstone, artifact)
        keys = evidence.keys_that_count(tx, trust_of(settings), Purpose.ARTIFACT, kept.envelope, at=tombstone.created_at)
        expect(kept.envelope, keys, kept.expected)
    except (BadInput, EvidenceBroken) as error:
        raise EvidenceBroken(f"artifact_tombstones {artifact.id}", f"it does not verify, so nothing was removed: {error}") from None


def _checked_reason(reason: str) -> str:
    if not reason.isprintable() or len(reason) > _MAX_REASON:
        raise BadInput(f"A reason is one line of at most {_MAX_REASON} printable letters.")
    return reason


def _in_words(rule: RetentionRule) -> str:
    return (
        f"older than {rule.older_than_days} days, not among the newest {rule.keep_last} versions, "
        f"nor among the last {rule.rollback_targets} that were current in an environment"
    )
