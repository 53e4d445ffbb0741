"""The tables of rollouts: what is rolled out, each look at it and what people ordered, of which events tell; and what was observed.

What was observed (batches, reporters, counts, units) only says how far work has come: each look keeps the counts it saw.
"""

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, Table, Text, Uuid

from aiinfra_core.columns import MOMENT, ExactJson, metadata, required

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", Uuid, primary_key=True),
    required("promotion_id", Uuid),
    required("environment", Text),
    required("model", Text),
    required("champion", Uuid),
    required("sequence", BigInteger),
    required("spec", ExactJson),
    required("spec_digest", Text),
    required("salt", Text),
    required("status", Text),
    required("step", Integer),
    required("weight", Integer),
    required("looks", Integer),
    Column("frozen", ExactJson),
    Column("reason", Text),
    required("created_at", MOMENT),
    required("step_started_at", MOMENT),
    required("heard_at", MOMENT),
    Column("looked_at", MOMENT),
    required("updated_at", MOMENT),
    Column("ended_at", MOMENT),
)

canary_looks = Table(
    "canary_looks",
    metadata,
    Column("id", Uuid, primary_key=True),
    required("rollout_id", Uuid),
    required("number", Integer),
    required("step", Integer),
    required("weight", Integer),
    required("readings", ExactJson),
    required("judged", ExactJson),
    required("verdict", Text),
    required("reason", Text),
    required("created_at", MOMENT),
)

rollout_orders = Table(
    "rollout_orders",
    metadata,
    Column("id", Uuid, primary_key=True),
    required("rollout_id", Uuid),
    required("action", Text),
    required("step", Integer),
    required("reason", Text),
    required("request_id", Text),
    required("ordered_by", Text),
    required("attestation", Text),
    required("created_at", MOMENT),
)

rollout_batches = Table(
    "rollout_batches",
    metadata,
    Column("rollout_id", Uuid, primary_key=True),
    Column("batch_id", Uuid, primary_key=True),
    required("body_digest", Text),
    required("reporter", Text),
    required("created_at", MOMENT),
)

rollout_reporters = Table(
    "rollout_reporters",
    metadata,
    Column("rollout_id", Uuid, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("reporter", Text, primary_key=True),
    required("heard_at", MOMENT),
    required("labels", Boolean),
    required("champion", BigInteger),
    Column("champion_at", MOMENT),
    required("challenger", BigInteger),
    Column("challenger_at", MOMENT),
)

rollout_counts = Table(
    "rollout_counts",
    metadata,
    Column("rollout_id", Uuid, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("arm", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    required("count", BigInteger),
)

rollout_units = Table(
    "rollout_units",
    metadata,
    Column("rollout_id", Uuid, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("unit", LargeBinary, primary_key=True),
    required("arm", Text),
    required("failed", Boolean),
    required("labelled", Boolean),
    required("wrong", Boolean),
    Column("slowest", Integer),
)
