"""The tables of the registry as SQLAlchemy Core sees them; `sql/schema.sql` is the truth, and a test proves that both agree.

Those of rollouts are in `rollout_tables`, those of the log in `log_tables`, those that only say how far work has come in `work_tables`.
"""

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, Table, Text, Uuid

from aiinfra_core.columns import MOMENT, ExactJson, metadata, required
from aiinfra_core.rollout_tables import canary_looks, rollout_orders, rollouts

request_ids = Table(
    "request_ids",
    metadata,
    Column("operation", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    required("body_digest", Text),
    required("subject_id", Uuid),
    required("created_at", MOMENT),
)

attestations = Table(
    "attestations",
    metadata,
    Column("digest", Text, primary_key=True),
    required("predicate_type", Text),
    required("subject_checksum", Text),
    required("envelope", LargeBinary),
    required("signer_id", Text),
    required("created_at", MOMENT),
)

training_jobs = Table(
    "training_jobs",
    metadata,
    Column("id", Uuid, primary_key=True),
    required("request_id", Text),
    required("model", Text),
    required("code_ref", Text),
    required("container_digest", Text),
    Column("entry_point", Text),
    required("hyperparams", ExactJson),
    required("dataset_refs", ExactJson),
    required("seed", BigInteger),
    required("spec_digest", Text),
    required("requested_by", Text),
    required("status", Text),
    required("created_at", MOMENT),
    required("updated_at", MOMENT),
    Column("started_at", MOMENT),
    Column("finished_at", MOMENT),
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
    required("last_version", Integer),
    required("created_at", MOMENT),
)

model_artifacts = Table(
    "model_artifacts",
    metadata,
    Column("id", Uuid, primary_key=True),
    required("model", Text),
    required("version", Integer),
    Column("training_job_id", Uuid),
    required("artifact_uri", Text),
    required("digest_kind", Text),
    required("checksum", Text),
    required("size_bytes", BigInteger),
    required("metadata", ExactJson),
    Column("manifest_signature_id", Text),
    required("signer_id", Text),
    required("signature", Text),
    required("attestation", Text),
    required("registered_by", Text),
    required("created_at", MOMENT),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", Uuid, primary_key=True),
    required("artifact_id", Uuid),
    required("kind", Text),
    required("metrics", ExactJson),
    required("digest", Text),
    required("attestation", Text),
    required("recorded_by", Text),
    required("created_at", MOMENT),
    Column("spec", ExactJson),
    Column("spec_digest", Text),
)

model_promotions = Table(
    "model_promotions",
    metadata,
    Column("id", Uuid, primary_key=True),
    required("request_id", Text),
    required("artifact_id", Uuid),
    required("model", Text),
    required("environment", Text),
    required("status", Text),
    required("evaluation", ExactJson),
    Column("evaluation_kind", Text),
    Column("evaluation_digest", Text),
    required("sequence_seen", BigInteger),
    Column("follows", Text),
    Column("decision", ExactJson),
    Column("reason", Text),
    required("requested_by", Text),
    Column("manifest", Text),
    Column("signature", Text),
    Column("signer_id", Text),
    required("created_at", MOMENT),
    required("updated_at", MOMENT),
    Column("applied_at", MOMENT),
    Column("approvals_required", ExactJson),
    Column("pending_until", MOMENT),
    Column("asked_by", Text),
    Column("rollout", ExactJson),
    Column("rollback", ExactJson),
    Column("overrides", Uuid),
)

environment_pointers = Table(
    "environment_pointers",
    metadata,
    Column("environment", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    required("sequence", BigInteger),
    required("promotion_id", Uuid),
    required("artifact_id", Uuid),
    required("updated_at", MOMENT),
    Column("rollout_id", Uuid),
    Column("changes", BigInteger),
)

model_cards = Table(
    "model_cards",
    metadata,
    Column("id", Uuid, primary_key=True),
    required("model", Text),
    Column("version", Integer),
    required("revision", Integer),
    required("description", Text),
    required("tags", ExactJson),
    required("card", Text),
    required("written_by", Text),
    required("created_at", MOMENT),
)

imports = Table(
    "imports",
    metadata,
    Column("id", Uuid, primary_key=True),
    required("source", Text),
    required("kind", Text),
    required("original_id", Text),
    required("document", ExactJson),
    Column("artifact_id", Uuid),
    required("outcome", Text),
    required("attestation", Text),
    required("imported_by", Text),
    required("created_at", MOMENT),
)

artifact_tombstones = Table(
    "artifact_tombstones",
    metadata,
    Column("artifact_id", Uuid, primary_key=True),
    required("reason", Text),
    required("rule", ExactJson),
    required("attestation", Text),
    required("pruned_by", Text),
    required("created_at", MOMENT),
)

policies = Table(
    "policies",
    metadata,
    Column("digest", Text, primary_key=True),
    required("name", Text),
    required("version", Text),
    required("document", ExactJson),
    required("created_at", MOMENT),
)

policy_decisions = Table(
    "policy_decisions",
    metadata,
    Column("id", Uuid, primary_key=True),
    required("promotion_id", Uuid),
    required("gate", Text),
    required("stage", Text),
    required("allowed", Boolean),
    required("decision", ExactJson),
    Column("inputs", ExactJson),
    required("created_at", MOMENT),
)

reproductions = Table(
    "reproductions",
    metadata,
    Column("id", Uuid, primary_key=True),
    required("artifact_id", Uuid),
    required("request_id", Text),
    required("outcome", Text),
    Column("reproduced_checksum", Text),
    required("report", ExactJson),
    required("attestation", Text),
    required("reproduced_by", Text),
    required("started_at", MOMENT),
    required("finished_at", MOMENT),
    required("created_at", MOMENT),
)

artifact_scans = Table(
    "artifact_scans",
    metadata,
    Column("id", Uuid, primary_key=True),
    required("artifact_id", Uuid),
    required("scanner", Text),
    required("verdict", Text),
    required("findings", ExactJson),
    required("attestation", Text),
    required("scanned_by", Text),
    required("created_at", MOMENT),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", Uuid, primary_key=True),
    required("promotion_id", Uuid),
    required("manifest", Text),
    required("approver", Text),
    required("means", Text),
    required("roles", ExactJson),
    Column("comment", Text),
    required("attestation", Text),
    required("expires_at", MOMENT),
    required("created_at", MOMENT),
)

approval_withdrawals = Table(
    "approval_withdrawals",
    metadata,
    Column("approval_id", Uuid, primary_key=True),
    Column("reason", Text),
    required("attestation", Text),
    required("withdrawn_by", Text),
    required("created_at", MOMENT),
)

STATE_TABLES: tuple[Table, ...] = (
    attestations,
    training_jobs,
    models,
    model_artifacts,
    evaluations,
    model_promotions,
    rollouts,
    environment_pointers,
    canary_looks,
    rollout_orders,
    model_cards,
    imports,
    artifact_tombstones,
    policies,
    policy_decisions,
    reproductions,
    artifact_scans,
    approvals,
    approval_withdrawals,
)
"""Whose rows events tell of; in this order a row is there before the rows that name it."""
