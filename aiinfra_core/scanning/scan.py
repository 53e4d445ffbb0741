"""Judges an artifact and signs what was found: at its registration, and again whenever somebody asks.

What is found is kept once for each scanner: the same findings by the same versions are the same scan.
"""

from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from uuid import UUID, uuid5

from aiinfra_core import checksums, database
from aiinfra_core.artifact_store import recorded
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.artifact import Artifact, StoredArtifact
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.scan import Finding, Scan, Verdict
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.evidence import claims, confirmations
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.keys import audit_signer, configured_signer
from aiinfra_core.registry import artifacts, scans, tombstones
from aiinfra_core.scanning import process
from aiinfra_core.scanning.heads import Heads
from aiinfra_core.scanning.looking import VERDICTS
from aiinfra_core.settings import Settings
from aiinfra_core.signing.signer import Signer

MOST_FINDINGS = 500
OWN = "ai-infra/2"
"""What tells formats apart; its number rises with its rules."""


def scan_again(settings: Settings, reference: str, scanned_by: str) -> tuple[Artifact, Scan]:
    """Read a registered artifact, look into it and record, signed, what was found.

    Raises:
        NotFound: nothing is registered under that name.
        ArtifactMissing: its bytes were removed or are not there.
        DigestMismatch: they are not those that were registered.
        Unavailable: a required part could not be reached; nothing is recorded.
    """
    with database.autocommit(settings) as connection:
        artifact = artifacts.find(connection, reference)
        tombstones.refuse_pruned(connection, artifact)
    signer = configured_signer(settings, Purpose.ARTIFACT)
    audit_signer(settings)  # whoever may not sign the event of a change must not make the change
    heads = Heads(artifact.artifact_uri)
    stored = recorded.verify(settings, artifact.artifact_uri, artifact.checksum, heads)
    scan, statement = signed(signer, artifact.id, artifact.model, stored, findings(settings, stored, heads), scanned_by)
    with database.autocommit(settings) as connection:
        kept = scans.record(connection, artifact, scan, statement)
    keep_up(settings)
    return artifact, kept


def findings(settings: Settings, stored: StoredArtifact, heads: Heads) -> tuple[Finding, ...]:
    """Return what each file of an artifact is and holds, the worst first; files beyond `MOST_FINDINGS` are counted in the last one.

    Raises:
        Unavailable, DigestMismatch, ArtifactMissing: as `process.look_into`; nothing is looked into where no format can hold code.
    """
    formats = heads.formats()
    deeper = [name for name, what in formats.items() if what.verdict is None]
    found = process.look_into(settings, stored, deeper) if deeper else []
    found += [
        Finding(file=name, format=what.name, verdict=Verdict(what.verdict), detail=what.detail)
        for name, what in formats.items()
        if what.verdict is not None
    ]
    found.sort(key=lambda one: (-VERDICTS.index(one.verdict), one.file))
    if len(found) > MOST_FINDINGS:
        more = Finding(file="", format="more", verdict=found[MOST_FINDINGS].verdict, detail=f"{len(found) - MOST_FINDINGS + 1} more files")
        found = [*found[: MOST_FINDINGS - 1], more]
    return tuple(found)


def signed(
    signer: Signer, artifact_id: UUID, model: str, stored: StoredArtifact, found: tuple[Finding, ...], scanned_by: str
) -> tuple[Scan, Attestation]:
    """Return a scan of these findings, its verdict the worst of them, and the signed statement of it."""
    digest = checksums.sha256_hex(scans.text_of(found).encode())
    scan = Scan(
        id=uuid5(artifact_id, f"{scanner()} {digest}"),
        artifact_id=artifact_id,
        scanner=scanner(),
        verdict=max((one.verdict for one in found), key=VERDICTS.index, default=Verdict.NO_CODE),
        findings=found,
        attestation=None,
        scanned_by=scanned_by,
        created_at=datetime.now(UTC),
    )
    payload = confirmations.scan(
        artifact_id=artifact_id,
        model=model,
        subject=claims.stored_subject(model, stored),
        scanner=scan.scanner,
        verdict=scan.verdict.value,
        findings_digest=digest,
        scanned_by=scanned_by,
        scanned_at=scan.created_at,
    )
    return scan, attest(payload, signer)


@lru_cache(maxsize=1)
def scanner() -> str:
    """Return what looks into artifacts here, with versions."""
    try:
        return f"{OWN} picklescan/{version('picklescan')}"
    except PackageNotFoundError:
        return OWN
