"""Rows as the JSON the service sends, made by the database: an answer is one text, with no records between it and the socket.

The names are those of the records in `wire`, and a test holds both equal. Which rows are sent lives in `search`, `reading`, `lineage`.
"""

from typing import Any

from pydantic.alias_generators import to_camel
from sqlalchemy import ColumnElement, DateTime, FromClause, LargeBinary, Select, case, func, literal_column, select

from aiinfra_core.domain.artifact import Evaluation
from aiinfra_core.log_tables import audit_events
from aiinfra_core.tables import evaluations, model_artifacts, model_promotions, policy_decisions, training_jobs
from aiinfra_core.wire.decisions import SentGateDecision, SentPromotionDetails
from aiinfra_core.wire.reading import SentEvent
from aiinfra_core.wire.records import Sent, SentArtifact, SentJob, SentPromotion

Document = ColumnElement[Any]
_OF_DECISION = ("decision", "reason", "unavailable", "policy_id", "policy_version", "policy_digest")
_SAID: dict[str, ColumnElement[Any]] = {
    **{name: literal_column(f"policy_decisions.decision -> '{to_camel(name)}'") for name in _OF_DECISION},
    "rules": literal_column("CASE WHEN policy_decisions.gate = 'local' THEN policy_decisions.decision -> 'answer' -> 'rules' END"),
}
_TIME: ColumnElement[str] = literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'""")


def document(record: type[Sent | Evaluation], source: FromClause, **values: ColumnElement[Any]) -> Document:
    """Return a record as a JSON object, out of the columns of a table that have its fields' names, and of these values."""
    parts: list[ColumnElement[Any]] = []
    for name, field in record.model_fields.items():
        parts += [literal_column(f"'{field.alias}'"), _value(values[name] if name in values else source.c[name])]
    return func.json_build_object(*parts)


def every(query: Select[Any]) -> Document:
    """Return the documents a query finds as one JSON array, in their order."""
    rows = query.subquery()
    return func.coalesce(select(func.json_agg(rows.c[0])).select_from(rows).scalar_subquery(), literal_column("'[]'::json"))


def artifact(source: FromClause = model_artifacts) -> Document:
    """Return an artifact as `SentArtifact`."""
    trained = case((source.c.training_job_id.is_(None), literal_column("'no provenance'")), else_=literal_column("'trained'"))
    return document(SentArtifact, source, provenance=trained)


def promotion(source: FromClause = model_promotions) -> Document:
    """Return a promotion as `SentPromotion`."""
    return document(SentPromotion, source, **_renamed(source))


def promotion_details(source: FromClause = model_promotions) -> Document:
    """Return a promotion as `SentPromotionDetails`."""
    said = select(document(SentGateDecision, policy_decisions, **_SAID)).where(policy_decisions.c.promotion_id == source.c.id)
    in_order = said.order_by(policy_decisions.c.stage.desc(), policy_decisions.c.gate)
    return document(SentPromotionDetails, source, **_renamed(source), decisions=every(in_order.correlate(source)))


def _renamed(source: FromClause) -> dict[str, ColumnElement[Any]]:
    return {
        "sentinel_decision": source.c.decision,
        "promoted_by": source.c.requested_by,
        "promoted_at": source.c.applied_at,
        "sequence": source.c.sequence_seen + literal_column("1"),
        "rollout": _steps(source.c.rollout),
        "rollback": _parts(source.c.rollback, reason=_part(source.c.rollback, "reason"), replaces=_part(source.c.rollback, "replaces")),
    }


def _steps(spec: ColumnElement[str]) -> ColumnElement[Any]:
    digest = func.encode(func.sha256(func.convert_to(_text(spec), literal_column("'UTF8'"))), literal_column("'hex'"))
    return _parts(spec, weights=_part(spec, "weights"), unit=_part(spec, "unit"), specDigest=digest)


def _part(document: ColumnElement[str], name: str) -> ColumnElement[Any]:
    return document.op("->")(literal_column(f"'{name}'"))


def _parts(document: ColumnElement[str], **parts: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return some parts of a JSON column as an object, null where the column is."""
    named = (one for name, part in parts.items() for one in (literal_column(f"'{name}'"), part))
    return case((document.is_(None), None), else_=func.json_build_object(*named))


def job(flow_run_id: ColumnElement[Any], source: FromClause = training_jobs) -> Document:
    """Return a job as `SentJob`, without the fields of a dataset that were not given."""
    return document(SentJob, source, flow_run_id=flow_run_id, dataset_refs=source.c.dataset_refs)


def evaluation(source: FromClause = evaluations) -> Document:
    """Return an evaluation as the record of that name."""
    return document(Evaluation, source)


def event(source: FromClause = audit_events) -> Document:
    """Return an event as `SentEvent`: payload and metadata as the exact texts they are."""
    return document(SentEvent, source, payload=_text(source.c.payload), metadata=_text(source.c.metadata))


def base64(column: ColumnElement[bytes]) -> ColumnElement[str]:
    """Return bytes as standard base64, on one line."""
    return func.translate(func.encode(column, literal_column("'base64'")), literal_column("E'\\n'"), literal_column("''"))


def _text(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return literal_column(f"{column}::text")


def _value(value: ColumnElement[Any]) -> ColumnElement[Any]:
    if isinstance(value.type, DateTime):
        return func.to_char(value, _TIME)  # every connection is set to UTC
    assert not isinstance(value.type, LargeBinary)  # noqa: S101 - bytes are sent as envelope or base64
    return value
