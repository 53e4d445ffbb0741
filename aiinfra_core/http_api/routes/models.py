"""`GET /ai-infra/models` and `GET /ai-infra/models/{id}`: which versions there are, and one with its promotions.

Where one comes from and what proves it is in `model_evidence`.
"""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, Field, FiniteFloat, StringConstraints, model_validator

from aiinfra_core import database
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.domain.record import Name, Sha256
from aiinfra_core.errors import BadInput
from aiinfra_core.http_api.access.identity import PublicReader
from aiinfra_core.http_api.answering import NOT_MODIFIED, IfNoneMatch, Reference, sent_list, sent_unless_known
from aiinfra_core.http_api.paging import Place, Skipping, cursor, next_link, place_by_value
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.registry import listing, reading
from aiinfra_core.registry.search import ARTIFACTS, artifact_filters
from aiinfra_core.settings import Settings, environment_named
from aiinfra_core.wire.records import SentArtifact, SentModel

router = APIRouter(prefix="/ai-infra", tags=["models"], route_class=StrictRoute)

Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{1,2048}$")]
_LABELS = {"trained": "trained", "no provenance": "untrained"}


class ArtifactSearch(Skipping):
    """What an artifact must be, all of it at once."""

    training_job_id: UUID | None = Field(default=None, description="The job that made it.")
    checksum: Sha256 | None = Field(default=None, description="Its digest.")
    digest: Sha256 | None = Field(default=None, description="Another word for `checksum`.")
    model: Name | None = Field(default=None, description="The model it is a version of.")
    version: int | None = Field(default=None, ge=1, lt=2**31, description="Which version; needs `model`.")
    environment: Name | None = Field(default=None, description="Where it is current.")
    status: PromotionStatus | None = Field(default=None, description="What a promotion of it came to.")
    code_ref: Text | None = Field(default=None, description="The code that trained it, `URL@COMMIT`.")
    dataset: Text | None = Field(default=None, description="Name or SHA-256 of a dataset it was trained on.")
    metric: Text | None = Field(default=None, description="A metric it was evaluated by; as it was measured last, else claimed last.")
    at_least: FiniteFloat | None = Field(default=None, alias="min", description="The least `metric` may be.")
    at_most: FiniteFloat | None = Field(default=None, alias="max", description="The most `metric` may be.")
    created_after: AwareDatetime | None = Field(default=None, description="When it was registered, or later.")
    created_before: AwareDatetime | None = Field(default=None, description="It was registered before this.")
    provenance: Literal["trained", "no provenance"] | None = Field(default=None, description="Whether a recorded job made it.")

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if self.version is not None and self.model is None:
            raise ValueError("version needs model")
        if self.metric is None and (self.at_least is not None or self.at_most is not None):
            raise ValueError("min and max need metric")
        if self.digest is not None and self.checksum not in (None, self.digest):
            raise ValueError("checksum and digest are two words for the same, and here they differ")
        return self

    def filters(self, settings: Settings) -> dict[str, Any]:
        """Return what was asked for as `search.ARTIFACTS` names it.

        Raises:
            NotFound: there is no such environment.
        """
        wanted = {name: getattr(self, name) for name in self.model_fields_set if getattr(self, name) is not None}
        for name in Skipping.model_fields:
            wanted.pop(name, None)
        if "digest" in wanted:
            wanted["checksum"] = wanted.pop("digest")
        if "environment" in wanted:
            wanted["environment"] = environment_named(settings, wanted["environment"])
        if "provenance" in wanted:
            wanted[_LABELS[wanted.pop("provenance")]] = True
        return artifact_filters(wanted)


@router.get("/models", response_model=list[SentArtifact], responses=documented(404))
def list_models(request: Request, wanted: Annotated[ArtifactSearch, Query()], _who: PublicReader) -> Response:
    """List registered versions that match, newest first; by `metric`, with at most `model`, `provenance` and times, highest value first.

    Where few match several filters at once, a page may be short and yet lead to a next one: follow `Link` until there is none.
    """
    settings = request.app.state.settings
    filters = wanted.filters(settings)
    if wanted.offset and listing.is_tested(ARTIFACTS, frozenset(filters)):
        raise BadInput("offset goes with one filter at most, or trainingJobId and checksum; with more, follow the Link header.")
    with database.autocommit(settings) as connection:
        page = listing.read(connection, ARTIFACTS, filters, limit=wanted.limit, after=_after(wanted, filters), offset=wanted.offset)
    return sent_list(page.documents, next_link(request, cursor(page.ends_at)) if page.ends_at else {})


@router.get("/models/{id}", response_model=SentModel, responses=documented(404) | NOT_MODIFIED)
def get_model(request: Request, reference: Reference, _who: PublicReader, if_none_match: IfNoneMatch = None) -> Response:
    """Return a registered version and its promotions, newest first, 200 and 4 MB at most; `promotionsTruncated` where there are more."""
    with database.autocommit(request.app.state.settings) as connection:
        document = reading.model(connection, reference)
    return sent_unless_known(document, if_none_match)


def _after(wanted: ArtifactSearch, filters: dict[str, Any]) -> listing.Place | Place | None:
    if wanted.cursor is None:
        return None
    return wanted.after if ARTIFACTS.is_by_time(frozenset(filters)) else place_by_value(wanted.cursor)
