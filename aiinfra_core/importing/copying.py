"""Copy what the replaced service has recorded: oldest first, each record once, signed as imported.

An artifact whose bytes can be read and have its checksum is registered like one trained elsewhere, before its record is kept: killed
between the two, the next run finds the registration made and keeps the record. Promotions are history and move nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from pydantic import ValidationError

from aiinfra_core import canonical_json, checksums, database, registering
from aiinfra_core.artifact_store import recorded
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.actor import checked_actor
from aiinfra_core.domain.artifact import RegistrationRequest
from aiinfra_core.domain.imported import Imported, Kind
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput, Conflict, DigestMismatch, RequestIdReused
from aiinfra_core.evidence import claims
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.importing import go_service, reading
from aiinfra_core.importing.go_service import GoService
from aiinfra_core.keys import audit_signer, configured_signer
from aiinfra_core.registry import imports
from aiinfra_core.settings import Settings

MOST_TOLD = 100
REGISTERED, HISTORY, RECORDED = "registered", "history", "recorded"
PROBLEMS = ("mismatch", "refused", "unreadable")


@dataclass(frozen=True)
class Problem:
    """A record that was kept, but of which nothing could be registered."""

    original_id: str
    outcome: str


@dataclass
class Summary:
    """What was copied: how many records of each kind ended how, how many were there from an earlier run, and the first problems."""

    source: str
    dry_run: bool
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    earlier: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def not_registered(self) -> int:
        """How many artifacts could not be registered."""
        return sum(number for (_, outcome), number in self.counts.items() if outcome in PROBLEMS)

    def note(self, kind: Kind, original_id: str, outcome: str) -> None:
        """Count a record, and keep it in mind if something is wrong with it."""
        ended = outcome.partition(":")[0].partition(" ")[0]
        self.counts[kind, ended] += 1
        if ended in PROBLEMS and len(self.problems) < MOST_TOLD:
            self.problems.append(Problem(original_id, outcome))


@dataclass(frozen=True)
class _Copying:
    settings: Settings
    service: GoService
    imported_by: str
    model: str | None
    summary: Summary


def copy(
    settings: Settings,
    service: GoService,
    *,
    imported_by: str,
    model: str | None = None,
    dry_run: bool = False,
    on_progress: Callable[[str, int, int], None] = lambda _counted, _done, _of: None,
) -> Summary:
    """Copy every job, artifact and promotion; repeatable, and what was interrupted goes on where it stood.

    Args:
        settings: where to; artifacts are read below its artifact roots.
        service: where from.
        imported_by: who asks for it.
        model: make every artifact a version of this model; without it each is one of the model it or its job names.
        dry_run: only read, and say what would become of each.
        on_progress: is told what is counted, how many are done and of how many.

    Raises:
        BadInput: the model is no name of one, or who asks cannot be recorded, or the service answers what cannot be understood.
        Conflict: an interrupted run was asked for otherwise.
        Unavailable: the service or a required part cannot be reached; the same call goes on where this one stood.
    """
    if model is not None and reading.model_name(model) != model:
        raise BadInput(f"{model!r} is no model's name; use lower-case letters, digits and ._- in it.")
    copying = _Copying(settings, service, checked_actor(imported_by), model, Summary(service.url, dry_run))
    ids = go_service.artifact_ids(service)
    for done, original_id in enumerate(ids, start=1):
        _copy_one(copying, original_id)
        if not dry_run:
            keep_up(settings)
        on_progress("artifacts", done, len(ids))
    return copying.summary


def _copy_one(copying: _Copying, original_id: str) -> None:
    artifact, promotions = go_service.artifact_and_promotions(copying.service, original_id)
    job = _copy_job(copying, reading.text(artifact.get("trainingJobId")))
    if not _is_known(copying, Kind.ARTIFACT, original_id):
        artifact_id, outcome = _registered(copying, original_id, artifact, job)
        _keep(copying, Kind.ARTIFACT, original_id, artifact, outcome, artifact_id)
    for promotion in promotions:
        promotion_id = reading.identity_of_promotion(promotion)
        if not _is_known(copying, Kind.PROMOTION, promotion_id):
            _keep(copying, Kind.PROMOTION, promotion_id, promotion, HISTORY)


def _copy_job(copying: _Copying, job_id: str | None) -> dict[str, Any] | None:
    """Keep what is told of a job, and return it; where the service tells nothing, its id is kept."""
    if job_id is None:
        return None
    with database.autocommit(copying.settings) as connection:
        known = imports.known(connection, copying.service.url, Kind.JOB, job_id)
    if known is not None:
        copying.summary.earlier += 1
        found: dict[str, Any] = canonical_json.loads(known.document)
        return found
    job = go_service.job(copying.service, job_id)
    _keep(copying, Kind.JOB, job_id, job or {"id": job_id}, RECORDED if job else f"{RECORDED}: the service told no more than its id")
    return job


def _registered(copying: _Copying, original_id: str, artifact: dict[str, Any], job: dict[str, Any] | None) -> tuple[UUID | None, str]:
    """Return what was registered of an artifact, if its bytes could be read, and what became of it."""
    try:
        request = _request(copying, original_id, artifact, job)
        if copying.summary.dry_run:
            recorded.verify(copying.settings, request.artifact_uri, request.checksum)
            return None, f"{REGISTERED} as a version of {request.model}"
        kept = registering.register(copying.settings, request)
    except RequestIdReused:
        raise Conflict(
            f"An interrupted import registered artifact {original_id} for somebody else or as another model; ask in the same words."
        ) from None
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        return None, f"refused: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
    except DigestMismatch as error:
        return None, f"mismatch: {error}"
    except BadInput as error:
        return None, f"unreadable: {error}"
    return kept.id, f"{REGISTERED} as {kept.model}:{kept.version}"


def _request(copying: _Copying, original_id: str, artifact: dict[str, Any], job: dict[str, Any] | None) -> RegistrationRequest:
    name = checksums.sha256_hex(canonical_json.dumps([copying.service.url, original_id]))
    return RegistrationRequest(
        model=reading.model_of(artifact, job, copying.model),
        artifact_uri=artifact.get("artifactUri") or "",
        checksum=reading.checksum(artifact.get("checksum")) or "",
        metadata=reading.metadata(artifact),
        manifest_signature_id=artifact.get("manifestSignatureId") or None,
        registered_by=copying.imported_by,
        request_id=f"import:{name}",
    )


def _is_known(copying: _Copying, kind: Kind, original_id: str) -> bool:
    with database.autocommit(copying.settings) as connection:
        known = imports.known(connection, copying.service.url, kind, original_id) is not None
    copying.summary.earlier += known
    return known


def _keep(
    copying: _Copying, kind: Kind, original_id: str, record: Mapping[str, Any], outcome: str, artifact_id: UUID | None = None
) -> None:
    outcome = reading.words(outcome)
    copying.summary.note(kind, original_id, outcome)
    if copying.summary.dry_run:
        return
    imported = Imported(
        id=uuid4(),
        source=copying.service.url,
        kind=kind,
        original_id=original_id,
        document=reading.document(dict(record)),
        artifact_id=artifact_id,
        outcome=outcome,
        attestation=None,
        imported_by=copying.imported_by,
        created_at=datetime.now(UTC),
    )
    audit_signer(copying.settings)  # whoever may not sign the event of a change must not make the change
    statement = attest(claims.of_import(imported), configured_signer(copying.settings, Purpose.ARTIFACT))
    with database.autocommit(copying.settings) as connection:
        imports.record(connection, imported, statement)
