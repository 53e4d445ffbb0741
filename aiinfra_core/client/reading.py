"""What the client asks to be told: models, what is current, promotions, evidence and the audit log."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from aiinfra_core.client.answers import read, refuse_problem
from aiinfra_core.client.calls import BELOW, Calls, query, segment
from aiinfra_core.client.connection import Question
from aiinfra_core.wire.reading import (
    SentCheckpoint,
    SentConsistency,
    SentCurrent,
    SentEnvironment,
    SentEvent,
    SentLineage,
    SentProof,
    SentReport,
    SentReproduction,
    SentStatement,
)
from aiinfra_core.wire.records import SentArtifact, SentCard, SentModel, SentPromotion
from aiinfra_core.wire.scans import SentScan
from aiinfra_core.wire.states import SentAlive, SentHealth, SentReadiness


class Reading(Calls):
    """Reads; a `reference` is an artifact's id, `MODEL`, `MODEL:VERSION` or `MODEL@ENVIRONMENT`.

    Lists are fetched page by page, as far as they are read. What names something that does not exist raises NotFound.
    """

    def models(
        self,
        *,
        model: str | None = None,
        version: int | None = None,
        training_job_id: UUID | None = None,
        checksum: str | None = None,
        environment: str | None = None,
        status: str | None = None,
        code_ref: str | None = None,
        dataset: str | None = None,
        metric: str | None = None,
        at_least: float | None = None,
        at_most: float | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        provenance: str | None = None,
        page_size: int = 100,
    ) -> Iterator[SentArtifact]:
        """Give the registered versions that match all of it, newest first.

        Args:
            model: the model they are versions of.
            version: which one; needs `model`.
            training_job_id: the job that made them.
            checksum: their digest.
            environment: where they are current.
            status: what a promotion of them came to.
            code_ref: the code that trained them, `URL@COMMIT`.
            dataset: name or SHA-256 of a dataset they were trained on.
            metric: a metric they were evaluated by; alone, the highest comes first.
            at_least: the least it may be.
            at_most: the most it may be.
            created_after: when they were registered, or later.
            created_before: they were registered before this.
            provenance: `trained` or `no provenance`.
            page_size: how many are fetched at once, at most 500.
        """
        named = {name: value for name, value in locals().items() if name not in ("self", "page_size")}
        return self._pages(SentArtifact, f"{BELOW}/models", query(limit=page_size, **named))

    def model(self, reference: str | UUID) -> SentModel:
        """Return one version and its promotions, newest first."""
        return self._read(SentModel, _model(reference))

    def lineage(self, reference: str | UUID) -> SentLineage:
        """Return where a version comes from and what became of it, as nodes and edges."""
        return self._read(SentLineage, f"{_model(reference)}/lineage")

    def attestations(self, reference: str | UUID, *, page_size: int = 100) -> Iterator[SentStatement]:
        """Give the signed statements about a version, newest first, with the exact bytes that are kept."""
        return self._pages(SentStatement, f"{_model(reference)}/attestations", query(limit=page_size))

    def verify(self, reference: str | UUID) -> SentReport:
        """Let the service check a version, its signatures, its bytes and the history; for a check of your own, export the evidence."""
        return self._read(SentReport, f"{_model(reference)}/verify", takes_long=True)

    def proof(self, reference: str | UUID) -> SentProof:
        """Return the proof that a version's registration is in the log.

        Raises:
            Conflict: no checkpoint covers it yet; ask again in a minute.
        """
        return self._read(SentProof, f"{_model(reference)}/proof")

    def reproductions(self, reference: str | UUID, *, page_size: int = 100) -> Iterator[SentReproduction]:
        """Give what came out when a version's training was run again, newest first."""
        return self._pages(SentReproduction, f"{_model(reference)}/reproductions", query(limit=page_size))

    def scan(self, reference: str | UUID) -> SentScan:
        """Return what the newest scan of a version found.

        Raises:
            NotFound: it was never scanned, too.
        """
        return self._read(SentScan, f"{_model(reference)}/scan")

    def environments(self) -> tuple[SentEnvironment, ...]:
        """Return the environments in the order models go through them."""
        return self._read(tuple[SentEnvironment, ...], f"{BELOW}/environments")

    def current(self, environment: str, model: str) -> SentCurrent:
        """Return what is current for a model in an environment, with its signed manifest."""
        return self._read(SentCurrent, f"{BELOW}/environments/{segment(environment)}/models/{segment(model)}")

    def routing(self, environment: str, model: str, *, known: str | None = None) -> tuple[bytes, str] | None:
        """Return the signed routing of a model in an environment and its `ETag`; None where it is still the one whose `ETag` is known.

        The bytes are believed after `evidence.routing.check`, which `aiinfra_core.serving` does.
        """
        path = f"{BELOW}/environments/{segment(environment)}/models/{segment(model)}/routing"
        answer = self._connection.ask(Question("GET", path, headers={} if known is None else {"If-None-Match": known}))
        if answer.status == 304 and known is not None:
            return None
        refuse_problem(answer, self._connection.url)
        return answer.body, answer.headers.get("etag", "")

    def promotions(
        self,
        *,
        model: str | None = None,
        environment: str | None = None,
        status: str | None = None,
        artifact_id: UUID | None = None,
        requested_by: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        page_size: int = 100,
    ) -> Iterator[SentPromotion]:
        """Give the promotions that match all of it, newest first."""
        named = {name: value for name, value in locals().items() if name not in ("self", "page_size")}
        return self._pages(SentPromotion, f"{BELOW}/promotions", query(limit=page_size, **named))

    def promotion(self, promotion_id: UUID | str) -> SentPromotion:
        """Return one promotion and how it was decided."""
        return self._read(SentPromotion, f"{BELOW}/promotions/{segment(promotion_id)}")

    def card(self, model: str, version: int | None = None) -> SentCard:
        """Return the newest card of a model, or of a version of it."""
        return self._read(SentCard, card_path(model, version))

    def health(self) -> SentHealth:
        """Tell that the service answers."""
        return self._read(SentHealth, "/health")

    def clock(self) -> datetime:
        """Return what the service's clock says."""
        return self._read(SentAlive, "/livez").time

    def ready(self) -> SentReadiness:
        """Return which of the parts the service needs are there; a service that is not ready is returned too, with its `status`."""
        answer = self._connection.ask(Question("GET", "/readyz", final=frozenset({503})))
        return read(SentReadiness, replace(answer, status=200) if answer.status == 503 else answer, self._connection.url)

    def audit_events(
        self, *, after: int = 0, event_type: str | None = None, subject: str | None = None, page_size: int = 100
    ) -> Iterator[SentEvent]:
        """Give the events of the audit log in their order, from the one after `after` on, perhaps of one type or about one subject."""
        return self._pages(SentEvent, f"{BELOW}/audit/events", query(limit=page_size, after=after, event_type=event_type, subject=subject))

    def event_proof(self, seq: int) -> SentProof:
        """Return the proof that an event is in the log."""
        return self._read(SentProof, f"{BELOW}/audit/events/{seq}/proof")

    def checkpoint(self) -> SentCheckpoint:
        """Return the newest signed tree head."""
        return self._read(SentCheckpoint, f"{BELOW}/audit/checkpoint")

    def consistency(self, from_size: int, to_size: int | None = None) -> SentConsistency:
        """Return the proof that the log of a checkpoint continues that of an earlier one; without a later one, the newest."""
        return self._read(SentConsistency, f"{BELOW}/audit/consistency", query(from_size=from_size, to_size=to_size))


def card_path(model: str, version: int | None) -> str:
    """Return where the cards of a model, or of a version of it, are."""
    return f"{BELOW}/cards/{segment(model)}" + (f"/{version}" if version is not None else "")


def _model(reference: str | UUID) -> str:
    return f"{BELOW}/models/{segment(reference)}"
