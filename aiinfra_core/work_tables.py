"""The tables that say how far work has come and what searches are answered from; nothing in them proves anything."""

from sqlalchemy import Boolean, Column, Double, Integer, LargeBinary, Table, Text, Uuid

from aiinfra_core.columns import MOMENT, metadata, required

job_leases = Table(
    "job_leases",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    required("attempts", Integer),
    Column("holder", Text),
    Column("token_digest", Text),
    Column("expires_at", MOMENT),
    Column("flow_run_id", Uuid),
    required("updated_at", MOMENT),
)

search_terms = Table(
    "search_terms",
    metadata,
    Column("term", LargeBinary, primary_key=True),
    Column("created_at", MOMENT, primary_key=True),
    Column("artifact_id", Uuid, primary_key=True),
    Column("source_id", Uuid, primary_key=True),
)

search_metrics = Table(
    "search_metrics",
    metadata,
    Column("artifact_id", Uuid, primary_key=True),
    Column("metric", Text, primary_key=True),
    required("value", Double),
    required("model", Text),
    required("measured", Boolean),
    required("evaluated_at", MOMENT),
    required("evaluation_id", Uuid),
    required("by_pipeline", Boolean),
)
