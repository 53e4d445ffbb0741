"""`/ai-infra/audit/…`: the history, its signed tree heads, and proofs of both, for whoever wants to check them."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field, StringConstraints

from aiinfra_core import database
from aiinfra_core.domain.record import Record
from aiinfra_core.http_api.access.identity import Auditor
from aiinfra_core.http_api.answering import AS_TEXT, sent, sent_list, sent_text, wants_text
from aiinfra_core.http_api.paging import DEFAULT_LIMIT, MAX_LIMIT, next_link
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.registry import proving
from aiinfra_core.wire.reading import SentCheckpoint, SentConsistency, SentEvent, SentProof

router = APIRouter(prefix="/ai-infra/audit", tags=["audit"], route_class=StrictRoute)

_MOST = 2**53  # what JSON can hold
_Plain = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,256}$")]


class EventSearch(Record):
    """Which events are asked for."""

    after: int = Field(default=0, ge=0, lt=_MOST, description="The seq after which to begin.")
    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="How many at most.")
    type: _Plain | None = Field(default=None, description="Such as `artifact.registered`.", examples=["promotion.applied"])
    subject: _Plain | None = Field(default=None, description="The id of what changed.")


class SizeRange(Record):
    """Two published checkpoints, by how many entries they cover."""

    old: int = Field(alias="from", ge=1, lt=_MOST, description="Entries of the earlier one.")
    new: int | None = Field(default=None, alias="to", ge=1, lt=_MOST, description="Entries of the later one; without it, the newest.")


@router.get("/events", response_model=list[SentEvent], responses=documented())
def list_events(request: Request, wanted: Annotated[EventSearch, Query()], _who: Auditor) -> Response:
    """List events of the log in their order, each with every column, payloads as the exact text that was hashed.

    A search looks at 10,000 events a page, so that one may be short, or empty, and yet lead to a next one: follow `Link`.
    """
    with database.autocommit(request.app.state.settings) as connection:
        shown, goes_on = proving.events(connection, after=wanted.after, limit=wanted.limit, event_type=wanted.type, subject=wanted.subject)
    return sent_list(shown, {} if goes_on is None else next_link(request, str(goes_on), "after"))


@router.get("/events/{seq}/proof", response_model=SentProof, responses=documented(404, 409) | AS_TEXT)
def get_event_proof(
    request: Request, seq: Annotated[int, Path(ge=1, lt=_MOST, description="The event's place in the log, from 1.")], _who: Auditor
) -> Response:
    """Prove that an event is in the log; the proof alone, a C2SP tlog-proof, where text/plain is asked for."""
    with database.snapshot(request.app.state.settings) as tx:
        proof = proving.of_event(tx, seq)
    return sent_text(proof.proof) if wants_text(request) else sent(proof.model_dump_json(by_alias=True))


@router.get("/checkpoint", response_model=SentCheckpoint, responses=documented(404) | AS_TEXT)
def get_checkpoint(request: Request, _who: Auditor) -> Response:
    """Return the newest signed tree head; the signed note itself where text/plain is asked for."""
    with database.autocommit(request.app.state.settings) as connection:
        newest = proving.newest_checkpoint(connection)
    return sent_text(newest.note) if wants_text(request) else sent(newest.model_dump_json(by_alias=True))


@router.get("/consistency", response_model=SentConsistency, responses=documented(404) | AS_TEXT)
def get_consistency(request: Request, sizes: Annotated[SizeRange, Query()], _who: Auditor) -> Response:
    """Prove that the log of a checkpoint continues that of an earlier one; the proof as a file where text/plain is asked for."""
    with database.snapshot(request.app.state.settings) as tx:
        proof = proving.consistency(tx, sizes.old, sizes.new)
    return sent_text(proof.proof) if wants_text(request) else sent(proof.model_dump_json(by_alias=True))
