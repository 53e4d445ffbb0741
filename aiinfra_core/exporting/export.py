"""One export from beginning to end. Nothing appears under its name before it verified as an auditor would verify it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiinfra_core import database, trust_directory
from aiinfra_core.artifact_store import local
from aiinfra_core.audit_log import checkpoints
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.errors import BadInput, Conflict, EvidenceBroken, Misconfigured, Unavailable
from aiinfra_core.evidence import bundle, checkpoint, custody, dsse
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.evidence.claims import subject_of
from aiinfra_core.evidence.verification.verify import Question, Report, verify
from aiinfra_core.exporting import gathering, writing
from aiinfra_core.exporting.gathering import Gathered
from aiinfra_core.keys import audit_signer
from aiinfra_core.settings import Settings

_ATTEMPTS = 5
_A_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Exported:
    """An export that was written, and what it says of itself."""

    folder: Path
    artifact: Artifact
    environment: str | None
    sequence: int | None
    head: Checkpoint
    exported_at: datetime


def export(
    settings: Settings,
    reference: str,
    destination: Path,
    *,
    exported_by: str,
    since: bytes | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write an export of `MODEL`, `MODEL:VERSION`, `MODEL@ENVIRONMENT` or an artifact's id to a new directory, whole or not at all.

    Args:
        settings: the installation; its trust root is what the export leads to.
        reference: what is exported.
        destination: the directory; it must not be there yet.
        exported_by: who asks for it.
        since: a checkpoint an auditor has seen before, from which a proof is put in.
        on_progress: called with a line about each longer part.

    Raises:
        BadInput: there is no trust root, or `since` is no checkpoint of this log.
        NotFound: nothing is registered under that name.
        Conflict: the destination exists.
        EvidenceBroken: the export would not verify; nothing is left.
        Unavailable: a required part cannot be reached; nothing is left.
    """
    if settings.trust_root is None:
        raise BadInput(
            "An export leads to a trust root, and none is configured: make one with aiinfra trust init, and set AI_INFRA_TRUST_ROOT."
        )
    seen = None if since is None else _checkpoint_seen(since)
    with _new_directory(destination) as folder:
        gathered = _gather(settings, reference, seen)
        on_progress(f"Copying {gathered.artifact.size_bytes} bytes")
        hashed = writing.write_model(settings, gathered.artifact, folder)
        files = writing.write_files(settings, gathered, trust_directory.read(settings.trust_root.parent), hashed, folder)
        at = max(datetime.now(UTC), gathered.head_at)
        writing.write(folder, bundle.STATEMENT, _statement(settings, gathered, files, exported_by, at))
        on_progress("Verifying what was written")
        _check(verify(bundle.read(folder), _as_an_auditor(settings.trust_root, at, since, gathered.environment)))
    return Exported(
        destination,
        gathered.artifact,
        gathered.environment,
        gathered.current[0] if gathered.current else None,
        gathered.head.checkpoint,
        at,
    )


def _gather(settings: Settings, reference: str, since: Checkpoint | None) -> Gathered:
    """Gather under a checkpoint that covers all of it; what happens meanwhile asks for a newer one."""
    signer = audit_signer(settings)
    for _ in range(_ATTEMPTS):
        sequence_pending(settings, signer)
        head = checkpoints.checkpoint(settings, signer)
        if head is None:
            raise BadInput("The log is empty; register a model first.")
        if since is not None:
            gathering.check_since(since, head.checkpoint)
        with database.snapshot(settings) as tx:
            gathered = gathering.gather(tx, reference, head, since)
        if gathered is not None:
            return gathered
    raise Unavailable(
        "database", "The audit log lacks events of this model, or moves on too quickly; look with aiinfra audit verify, or try again."
    )


def _statement(settings: Settings, gathered: Gathered, files: bytes, exported_by: str, at: datetime) -> bytes:
    payload = custody.export(
        artifact_id=gathered.artifact.id,
        model=gathered.artifact.model,
        version=gathered.artifact.version,
        environment=gathered.environment,
        subject=subject_of(gathered.artifact),
        current=gathered.current,
        head=gathered.head.checkpoint,
        files=sha256_hex(files),
        exported_by=exported_by,
        exported_at=at,
    )
    return dsse.sign(payload, audit_signer(settings))


def _as_an_auditor(pinned: Path, at: datetime, since: bytes | None, environment: str | None) -> Question:
    try:
        root = pinned.read_bytes()
    except OSError as error:
        raise Misconfigured(f"The trust root {pinned} cannot be read ({error.strerror}).") from None
    return Question(pinned=root, now=max(at, datetime.now(UTC)), last_checkpoint=since, max_age=_A_DAY if environment else None)


def _check(report: Report) -> None:
    problem = next(((step, step.problems[0]) for step in report.steps.values() if step.failed), None)
    if problem is not None:
        step, found = problem
        raise EvidenceBroken(found.place, f"the export does not verify at step {step.number}, {step.name}: {found.detail}")
    if not report.passed:
        raise EvidenceBroken("export", "the export does not prove what it has to; look with: aiinfra audit verify")


def _checkpoint_seen(since: bytes) -> Checkpoint:
    try:
        return checkpoint.parse(since)
    except EvidenceBroken as error:
        raise BadInput(f"What was seen before is no checkpoint: {error.detail}") from None


@contextmanager
def _new_directory(destination: Path) -> Iterator[Path]:
    """Give a folder beside the destination; it gets its name at the end of the block, or is gone."""
    final = destination.absolute()
    try:
        with local.building(final) as partial:
            folder = partial / "content"
            folder.mkdir()
            yield folder
            local.publish(partial, final)
    except FileExistsError:
        raise Conflict(f"{destination} exists already; name a directory that does not.") from None
    except OSError as error:
        raise BadInput(f"{destination} cannot be written: {error.strerror}.") from None
