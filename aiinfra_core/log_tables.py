"""The tables of the audit log, as `tables` has those of the registry."""

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Table, Text, Uuid

from aiinfra_core.columns import MOMENT, ExactJson, metadata, required

audit_outbox = Table(
    "audit_outbox",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    required("event_type", Text),
    required("payload", ExactJson),
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    required("id", Uuid),
    required("event_type", Text),
    required("payload", ExactJson),
    Column("prev_hash", Text),
    required("hash", Text),
    required("signature", Text),
    required("signer_id", Text),
    required("ts", MOMENT),
    required("created_at", MOMENT),
    required("metadata", ExactJson),
    required("version", Integer),
)

audit_tiles = Table(
    "audit_tiles",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("tile", BigInteger, primary_key=True, autoincrement=False),
    required("hashes", LargeBinary),
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    required("origin", Text),
    required("root", Text),
    required("note", LargeBinary),
    required("created_at", MOMENT),
)

audit_deliveries = Table(
    "audit_deliveries",
    metadata,
    Column("sink", Text, primary_key=True),
    required("delivered_seq", BigInteger),
    required("failures", Integer),
    Column("last_error", Text),
    Column("retry_at", MOMENT),
    required("updated_at", MOMENT),
)

audit_dead_letters = Table(
    "audit_dead_letters",
    metadata,
    Column("sink", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    required("reason", Text),
    required("attempts", Integer),
    required("created_at", MOMENT),
)
