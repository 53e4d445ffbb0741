"""The tables as SQLAlchemy Core sees them; `sql/schema.sql` is the truth, and a test proves that both agree.

JSON columns are read and written as their exact text, because that text is what evidence was made from.
"""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, ColumnElement, DateTime, Double, Integer, LargeBinary, MetaData, Table, Text, Uuid, cast
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator


class ExactJson(TypeDecorator[str]):
    """A `json` column whose text comes back byte for byte."""

    impl = postgresql.JSON
    cache_ok = True

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Read the stored text, not a parsed value."""
        return cast(column, Text)

    def bind_processor(self, dialect: Any) -> None:
        """Leave the text alone on the way in; Postgres checks that it is JSON and keeps it as it is."""

    def result_processor(self, dialect: Any, coltype: Any) -> None:
        """Leave the text alone on the way out."""


metadata = MetaData()
_TIME = DateTime(timezone=True)


def _required(name: str, kind: Any, **options: Any) -> Column[Any]:
    return Column(name, kind, nullable=False, **options)


request_ids = Table(
    "request_ids",
    metadata,
    Column("operation", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    _required("body_digest", Text),
    _required("subject_id", Uuid),
    _required("created_at", _TIME),
)

attestations = Table(
    "attestations",
    metadata,
    Column("digest", Text, primary_key=True),
    _required("predicate_type", Text),
    _required("subject_checksum", Text),
    _required("envelope", LargeBinary),
    _required("signer_id", Text),
    _required("created_at", _TIME),
)

training_jobs = Table(
    "training_jobs",
    metadata,
    Column("id", Uuid, primary_key=True),
    _required("request_id", Text),
    _required("model", Text),
    _required("code_ref", Text),
    _required("container_digest", Text),
    Column("entry_point", Text),
    _required("hyperparams", ExactJson),
    _required("dataset_refs", ExactJson),
    _required("seed", BigInteger),
    _required("spec_digest", Text),
    _required("requested_by", Text),
    _required("status", Text),
    _required("created_at", _TIME),
    _required("updated_at", _TIME),
    Column("started_at", _TIME),
    Column("finished_at", _TIME),
    Column("exit_code", Integer),
    Column("error", Text),
    Column("artifact_uri", Text),
    Column("digest_kind", Text),
    Column("checksum", Text),
    Column("size_bytes", BigInteger),
    Column("metrics", ExactJson),
    Column("training_record_sha256", Text),
    Column("training_record_uri", Text),
    Column("log_uri", Text),
    Column("attestation", Text),
)

models = Table(
    "models",
    metadata,
    Column("name", Text, primary_key=True),
    _required("last_version", Integer),
    _required("created_at", _TIME),
)

model_artifacts = Table(
    "model_artifacts",
    metadata,
    Column("id", Uuid, primary_key=True),
    _required("model", Text),
    _required("version", Integer),
    Column("training_job_id", Uuid),
    _required("artifact_uri", Text),
    _required("digest_kind", Text),
    _required("checksum", Text),
    _required("size_bytes", BigInteger),
    _required("metadata", ExactJson),
    Column("manifest_signature_id", Text),
    _required("signer_id", Text),
    _required("signature", Text),
    _required("attestation", Text),
    _required("registered_by", Text),
    _required("created_at", _TIME),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", Uuid, primary_key=True),
    _required("artifact_id", Uuid),
    _required("kind", Text),
    _required("metrics", ExactJson),
    _required("digest", Text),
    _required("attestation", Text),
    _required("recorded_by", Text),
    _required("created_at", _TIME),
)

model_promotions = Table(
    "model_promotions",
    metadata,
    Column("id", Uuid, primary_key=True),
    _required("request_id", Text),
    _required("artifact_id", Uuid),
    _required("model", Text),
    _required("environment", Text),
    _required("status", Text),
    _required("evaluation", ExactJson),
    Column("evaluation_kind", Text),
    Column("evaluation_digest", Text),
    _required("sequence_seen", BigInteger),
    Column("follows", Text),
    Column("decision", ExactJson),
    Column("reason", Text),
    _required("requested_by", Text),
    Column("manifest", Text),
    Column("signature", Text),
    Column("signer_id", Text),
    _required("created_at", _TIME),
    _required("updated_at", _TIME),
    Column("applied_at", _TIME),
)

environment_pointers = Table(
    "environment_pointers",
    metadata,
    Column("environment", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    _required("sequence", BigInteger),
    _required("promotion_id", Uuid),
    _required("artifact_id", Uuid),
    _required("updated_at", _TIME),
)

audit_outbox = Table(
    "audit_outbox",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    _required("event_type", Text),
    _required("payload", ExactJson),
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _required("id", Uuid),
    _required("event_type", Text),
    _required("payload", ExactJson),
    Column("prev_hash", Text),
    _required("hash", Text),
    _required("signature", Text),
    _required("signer_id", Text),
    _required("ts", _TIME),
    _required("created_at", _TIME),
    _required("metadata", ExactJson),
    _required("version", Integer),
)

audit_tiles = Table(
    "audit_tiles",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("tile", BigInteger, primary_key=True, autoincrement=False),
    _required("hashes", LargeBinary),
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    _required("origin", Text),
    _required("root", Text),
    _required("note", LargeBinary),
    _required("created_at", _TIME),
)

audit_deliveries = Table(
    "audit_deliveries",
    metadata,
    Column("sink", Text, primary_key=True),
    _required("delivered_seq", BigInteger),
    _required("failures", Integer),
    Column("last_error", Text),
    Column("retry_at", _TIME),
    _required("updated_at", _TIME),
)

audit_dead_letters = Table(
    "audit_dead_letters",
    metadata,
    Column("sink", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _required("reason", Text),
    _required("attempts", Integer),
    _required("created_at", _TIME),
)

job_leases = Table(
    "job_leases",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    _required("attempts", Integer),
    Column("holder", Text),
    Column("token_digest", Text),
    Column("expires_at", _TIME),
    Column("flow_run_id", Uuid),
    _required("updated_at", _TIME),
)

model_cards = Table(
    "model_cards",
    metadata,
    Column("id", Uuid, primary_key=True),
    _required("model", Text),
    Column("version", Integer),
    _required("revision", Integer),
    _required("description", Text),
    _required("tags", ExactJson),
    _required("card", Text),
    _required("written_by", Text),
    _required("created_at", _TIME),
)

imports = Table(
    "imports",
    metadata,
    Column("id", Uuid, primary_key=True),
    _required("source", Text),
    _required("kind", Text),
    _required("original_id", Text),
    _required("document", ExactJson),
    Column("artifact_id", Uuid),
    _required("outcome", Text),
    _required("attestation", Text),
    _required("imported_by", Text),
    _required("created_at", _TIME),
)

artifact_tombstones = Table(
    "artifact_tombstones",
    metadata,
    Column("artifact_id", Uuid, primary_key=True),
    _required("reason", Text),
    _required("rule", ExactJson),
    _required("attestation", Text),
    _required("pruned_by", Text),
    _required("created_at", _TIME),
)

search_terms = Table(
    "search_terms",
    metadata,
    Column("term", LargeBinary, primary_key=True),
    Column("created_at", _TIME, primary_key=True),
    Column("artifact_id", Uuid, primary_key=True),
    Column("source_id", Uuid, primary_key=True),
)

search_metrics = Table(
    "search_metrics",
    metadata,
    Column("artifact_id", Uuid, primary_key=True),
    Column("metric", Text, primary_key=True),
    _required("value", Double),
    _required("model", Text),
    _required("measured", Boolean),
    _required("evaluated_at", _TIME),
    _required("evaluation_id", Uuid),
)

STATE_TABLES: tuple[Table, ...] = (
    attestations,
    training_jobs,
    models,
    model_artifacts,
    evaluations,
    model_promotions,
    environment_pointers,
    model_cards,
    imports,
    artifact_tombstones,
)
"""Whose rows events tell of; in this order a row is there before the rows that name it."""
