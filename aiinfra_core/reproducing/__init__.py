"""Reproduction: a training is run again from its recorded provenance, and what comes out is compared with what was registered.

    comparing  two artifacts, file by file
    showing    what of a difference a person can read
    mentions   what the code mentions that may differ from run to run
    causes     why they differ, as far as it can be seen
    report     all of that as one JSON value, which is signed by digest

A reproduction judges the bytes, not the model; whether one is needed for a promotion is the policy's business. Nothing is written before
the end, in one statement: killed on the way, the same request begins anew.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4, uuid5

from aiinfra_core import database
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.reproduction import Reproduction, ReproductionRequest
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput, Misconfigured
from aiinfra_core.evidence import claims
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.keys import audit_signer, configured_signer
from aiinfra_core.registry import reproductions
from aiinfra_core.reproducing import origins, report, runs
from aiinfra_core.settings import Settings
from aiinfra_core.training import scratch


def reproduce(
    settings: Settings, request: ReproductionRequest, *, on_output: Callable[[str], None], directory: Path | None = None
) -> Reproduction:
    """Run an artifact's training again, compare, sign and record what came of it; one that failed is an outcome, not an error.

    The provenance must verify: what is run is what was signed. Where other bytes come out, it is run a second time, to see whether it
    gives the same bytes twice in one place.

    Args:
        settings: where code is run and bytes are kept.
        request: which artifact; without a request id of its own it is a reproduction of its own.
        on_output: called with each line the training prints.
        directory: it is run in a new folder there, and what came out stays; without one, in a place that is removed afterwards.

    Raises:
        NotFound: there is no such artifact.
        BadInput: it has no training, or a tolerance is for a metric that was not recorded.
        EvidenceBroken: its provenance does not verify.
        RequestIdReused: the request id was used for something else.
        Unavailable: a required part could not be reached; nothing was recorded, and the same call begins anew.
    """
    audit_signer(settings)  # whoever may not sign the event of a change must not make the change
    signer = configured_signer(settings, Purpose.EVALUATION)
    origin = origins.find(settings, request.artifact)
    _refuse_unknown_metrics(request, origin)
    asked = {"artifact": str(origin.artifact.id), "tolerances": request.tolerances}
    request_id = request.request_id or f"reproduce:{uuid4()}"
    key = uuid5(origin.artifact.id, request_id)
    with database.advisory_lock(settings, key.int >> 65) as connection:
        known = reproductions.earlier(connection, request_id, asked)
        if known is None:
            made = _made(settings, request, origin, key, request_id, directory, on_output)
            statement = attest(claims.of_reproduction(made, origin.artifact, origin.attestation), signer)
            known = reproductions.record(connection, made, statement, asked)
    keep_up(settings)
    return known


def _made(
    settings: Settings,
    request: ReproductionRequest,
    origin: origins.Origin,
    key: UUID,
    request_id: str,
    directory: Path | None,
    on_output: Callable[[str], None],
) -> Reproduction:
    began = datetime.now(UTC)
    with _place(settings, key, directory) as place:
        run = runs.run(settings, origin, place / "first", on_output)
        again = runs.run(settings, origin, place / "again", on_output) if _differs(run, origin) else None
        outcome, checksum, found = report.made(settings, request, origin, run, again, place)
    ended = datetime.now(UTC)
    return Reproduction(
        id=key,
        artifact_id=origin.artifact.id,
        request_id=request_id,
        outcome=outcome,
        reproduced_checksum=checksum,
        report=found,
        attestation=None,
        reproduced_by=request.reproduced_by,
        started_at=began,
        finished_at=ended,
        created_at=ended,
    )


def _differs(run: runs.Run, origin: origins.Origin) -> bool:
    return run.reproduced is not None and run.reproduced["checksum"] != origin.artifact.checksum


@contextmanager
def _place(settings: Settings, key: UUID, directory: Path | None) -> Iterator[Path]:
    place = (directory or settings.home / "scratch").expanduser().absolute() / f"reproduction-{key}"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if directory is None:
            raise Misconfigured(f"{place.parent} cannot be written ({error.strerror}); correct AI_INFRA_HOME.") from None
        raise BadInput(f"Nothing can be run in {directory}: {error.strerror}; choose another --directory.") from None
    try:
        yield place
    finally:
        if directory is None:
            scratch.remove(place)


def _refuse_unknown_metrics(request: ReproductionRequest, origin: origins.Origin) -> None:
    recorded = origin.job.metrics or {}
    if unknown := sorted(request.tolerances.keys() - recorded.keys()):
        known = ", ".join(sorted(recorded)) or "none"
        raise BadInput(f"The training recorded no metric {unknown[0]!r}, so no tolerance can be held against it; recorded are: {known}.")
