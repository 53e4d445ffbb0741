"""`/ai-infra/models/{id}/…`: where a version comes from, what is signed about it, whether all of it holds, and that the log has it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from aiinfra_core import database, verifying
from aiinfra_core.audit_log.checking.check import Way
from aiinfra_core.errors import TooManyRequests, Unavailable
from aiinfra_core.http_api.access.identity import Viewer
from aiinfra_core.http_api.answering import AS_TEXT, Reference, sent, sent_list, sent_text, sent_value, wants_text
from aiinfra_core.http_api.paging import Paged, page
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.registry import artifacts, lineage, proving, reading
from aiinfra_core.wire.reading import SentCheck, SentLineage, SentProof, SentReport, SentStatement
from aiinfra_core.wire.records import sent_artifact

router = APIRouter(prefix="/ai-infra/models/{id}", tags=["models"], route_class=StrictRoute)

_ONE_AT_A_TIME = threading.Lock()
_SECONDS_TO_WAIT = 5
_under_way: set[str] = set()
_STATE = "served.sqlite"


@router.get("/lineage", response_model=SentLineage, responses=documented(404))
def get_lineage(request: Request, reference: Reference, _who: Viewer) -> Response:
    """Return where a version comes from and what became of it: job, code, datasets, evaluations, promotions, what it replaced."""
    with database.autocommit(request.app.state.settings) as connection:
        return sent_value(lineage.lineage(connection, reference))


@router.get("/attestations", response_model=list[SentStatement], responses=documented(404))
def list_attestations(request: Request, reference: Reference, wanted: Annotated[Paged, Query()], _who: Viewer) -> Response:
    """List the signed statements about a version or its bytes, newest first, each with the exact bytes that are kept."""
    with database.autocommit(request.app.state.settings) as connection:
        artifact = artifacts.find(connection, reference)
        found = reading.statements(connection, artifact.id, artifact.checksum, limit=wanted.limit + 1, after=wanted.after)
    return sent_list(*page(request, found, wanted.limit, reading.place_of, lambda one: one.model_dump_json(by_alias=True)))


@router.get("/verify", response_model=SentReport, responses=documented(404, 409))
def verify_model(request: Request, reference: Reference, who: Viewer) -> Response:
    """Check a version, its signatures, its bytes and the history, which is taken up where the last check left it.

    One is checked at a time: while another one of yours is, the answer is 429 at once, while somebody else's is, 503.
    """
    settings = request.app.state.settings
    with database.autocommit(settings) as connection:
        artifacts.find(connection, reference)
    with _turn(who.actor):
        way = Way(state=verifying.default_state(settings).with_name(_STATE), incremental=True, processes=1)
        artifact, steps = verifying.verify_model(settings, reference, verifying.verify_history(settings, way))
    report = SentReport(
        artifact=sent_artifact(artifact),
        verified=all(step.passed for step in steps),
        checked_at=datetime.now(UTC),
        checks=tuple(SentCheck(name=step.name, passed=step.passed, detail=step.detail) for step in steps),
    )
    return sent(report.model_dump_json(by_alias=True))


@router.get("/proof", response_model=SentProof, responses=documented(404, 409) | AS_TEXT)
def get_proof(request: Request, reference: Reference, _who: Viewer) -> Response:
    """Prove that a version's registration is in the log; the proof alone, a C2SP tlog-proof, where text/plain is asked for."""
    with database.snapshot(request.app.state.settings) as tx:
        proof = proving.of_registration(tx, artifacts.find(tx, reference))
    return sent_text(proof.proof) if wants_text(request) else sent(proof.model_dump_json(by_alias=True))


# Nobody waits: whoever did would hold a thread that all other requests need.
@contextmanager
def _turn(actor: str) -> Iterator[None]:
    if not _ONE_AT_A_TIME.acquire(blocking=False):
        if actor in _under_way:
            raise TooManyRequests("Another verification of yours is under way; wait for its answer, then ask again.", _SECONDS_TO_WAIT)
        raise Unavailable("verification", "Others are being verified; ask again in a moment, or verify an export of your own.")
    _under_way.add(actor)
    try:
        yield
    finally:
        _under_way.discard(actor)
        _ONE_AT_A_TIME.release()
