"""Fill an empty, migrated database with artifacts and all that hangs on them, for measuring how fast they are read.

`python -m scripts.seed_registry 1000000`, with AI_INFRA_DATABASE_URL (its user must own the tables). Constraints hold in the end; but no
event tells of these rows and nothing is signed, so `aiinfra audit verify` rightly calls each of them unexplained: never do it to a registry
of worth.

Of N artifacts, each has an evaluation, nineteen of twenty a job (the others were imported), one of five a promotion. There are 100 versions
of a model, ten jobs of a commit, twenty of a dataset of their own; all share one dataset and one metric.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from aiinfra_core import database
from aiinfra_core.errors import Misconfigured
from aiinfra_core.settings import Settings

_TRIGGERS = {
    "model_artifacts": ["search"],
    "evaluations": ["search"],
    "model_promotions": ["search_new", "search_moved"],
    "environment_pointers": ["search"],
}
_ENVELOPE = (
    f'{{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{{"keyid":"{"0" * 64}","sig":"{"A" * 86}=="}}]}}'
)
_FILLED = (
    "attestations", "training_jobs", "models", "model_artifacts", "evaluations", "model_promotions", "environment_pointers", "job_leases",
    "imports", "artifact_tombstones", "policy_decisions", "search_terms", "search_metrics",
)  # fmt: skip
_CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = current_schema()::regnamespace AND (contype = 'f' OR contype IN ('p', 'u') AND conrelid = ANY (%s::regclass[]))
ORDER BY contype = 'f'
"""
_INDEXES = """
SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename = ANY (%s)
AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = indexname)
"""
# i counts the :count artifacts from 0, the newest last.
_STEPS = (
    """
    CREATE FUNCTION pg_temp.id_of(kind text, i bigint) RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT md5(kind || i)::uuid $$;
    CREATE FUNCTION pg_temp.digest_of(kind text, i bigint) RETURNS text LANGUAGE sql STABLE
      AS $$ SELECT encode(sha256(convert_to(kind || i, 'UTF8')), 'hex') $$;
    CREATE FUNCTION pg_temp.moment(i bigint) RETURNS timestamptz LANGUAGE sql STABLE
      AS $$ SELECT timestamptz '2026-01-01 00:00:00.5+00' + i * interval '1 second' $$;
    CREATE FUNCTION pg_temp.model_of(i bigint, count bigint) RETURNS text LANGUAGE sql STABLE
      AS $$ SELECT 'model-' || i % greatest(count / 100, 1) $$;
    """,
    """
    INSERT INTO attestations SELECT pg_temp.digest_of(kind, i), 'urn:ai-infra:attestation:' || kind || ':v1',
      pg_temp.digest_of('bytes', i), convert_to(:envelope, 'UTF8'), 'seed', pg_temp.moment(i)
    FROM generate_series(0, :count - 1) AS i, unnest(ARRAY['training', 'registration', 'evaluation', 'promotion']) AS kind
    WHERE (kind <> 'training' OR i % 20 > 0) AND (kind <> 'promotion' OR i % 5 = 0)
    """,
    """
    INSERT INTO training_jobs SELECT pg_temp.id_of('job', i), 'train:' || i, pg_temp.model_of(i, :count),
      'https://git.example/models.git@' || left(pg_temp.digest_of('commit', i / 10), 40), 'sha256:' || repeat('c', 64), 'train.py',
      '{"depth":8}', json_build_array(
        json_build_object('name', 'shared', 'sha256', repeat('5', 64), 'uri', 's3://data/shared', 'version', '1'),
        json_build_object('name', 'data-' || i / 20, 'sha256', pg_temp.digest_of('data', i / 20), 'uri', 's3://data', 'version', '1')
      ), 7, pg_temp.digest_of('spec', i), 'tess', 'completed', pg_temp.moment(i), pg_temp.moment(i), pg_temp.moment(i),
      pg_temp.moment(i), 0, NULL, 's3://models/' || i, 'sha256', pg_temp.digest_of('bytes', i), 1000, '{"quality":0.9}', NULL, NULL, NULL,
      pg_temp.digest_of('training', i)
    FROM generate_series(0, :count - 1) AS i WHERE i % 20 > 0
    """,
    """
    INSERT INTO models SELECT name, count(*), min(pg_temp.moment(i))
    FROM generate_series(0, :count - 1) AS i, LATERAL pg_temp.model_of(i, :count) AS name GROUP BY name
    """,
    """
    INSERT INTO model_artifacts SELECT pg_temp.id_of('artifact', i), pg_temp.model_of(i, :count), i / greatest(:count / 100, 1) + 1,
      CASE WHEN i % 20 > 0 THEN pg_temp.id_of('job', i) END, 's3://models/' || i, 'sha256', pg_temp.digest_of('bytes', i), 1000,
      '{"framework":"sklearn"}', NULL, 'seed', 'c2lnbmF0dXJl', pg_temp.digest_of('registration', i), 'rita', pg_temp.moment(i)
    FROM generate_series(0, :count - 1) AS i
    """,
    """
    INSERT INTO evaluations SELECT pg_temp.id_of('evaluation', i), pg_temp.id_of('artifact', i), 'measured',
      json_build_object('quality', 0.5 + (i % 5000 * 7919 % 5000) / 10000.0), pg_temp.digest_of('scores', i),
      pg_temp.digest_of('evaluation', i), 'tess', pg_temp.moment(i)
    FROM generate_series(0, :count - 1) AS i
    """,
    """
    INSERT INTO model_promotions SELECT pg_temp.id_of('promotion', i), 'promote:' || i, pg_temp.id_of('artifact', i), model, environment,
      status,
      '{"quality":0.9}', 'measured', pg_temp.digest_of('scores', i),
      count(*) FILTER (WHERE status = 'applied') OVER (PARTITION BY environment, model ORDER BY i) - (status = 'applied')::integer,
      NULL, '{"allowed":true,"policyId":"seed","reason":"seeded","source":"seed"}', CASE status WHEN 'rejected' THEN 'seeded' END,
      'requester-' || i % 50, pg_temp.digest_of('promotion', i), 'c2lnbmF0dXJl', 'seed', pg_temp.moment(i), pg_temp.moment(i),
      CASE status WHEN 'applied' THEN pg_temp.moment(i) END, CASE status WHEN 'pending_approval' THEN '{"security":1}'::json END,
      CASE status WHEN 'pending_approval' THEN pg_temp.moment(i) + interval '3 days' END
    FROM (
      SELECT i, pg_temp.model_of(i, :count) AS model, (ARRAY['staging', 'prod'])[1 + i / 5 % 2] AS environment,
        CASE WHEN i / 5 % 500 = 7 THEN 'pending_approval' WHEN i / 5 % 7 = 0 THEN 'rejected' ELSE 'applied' END AS status
      FROM generate_series(0, :count - 1) AS i WHERE i % 5 = 0
    ) AS asked
    """,
    """
    INSERT INTO policy_decisions SELECT pg_temp.id_of('decision', i), pg_temp.id_of('promotion', i), 'local', 'request', i / 5 % 7 <> 0,
      '{"allowed":true,"policyId":"seed","reason":"seeded","source":"local"}', NULL, pg_temp.moment(i)
    FROM generate_series(0, :count - 1) AS i WHERE i % 5 = 0
    """,
    """
    INSERT INTO environment_pointers
    SELECT DISTINCT ON (environment, model) environment, model, sequence_seen + 1, id, artifact_id, updated_at
    FROM model_promotions WHERE status = 'applied' ORDER BY environment, model, sequence_seen DESC
    """,
    """
    INSERT INTO job_leases (job_id, attempts, updated_at)
    SELECT pg_temp.id_of('job', i), 1, pg_temp.moment(i) FROM generate_series(0, :count - 1) AS i WHERE i % 20 > 0
    """,
    """
    INSERT INTO imports SELECT pg_temp.id_of('import', i), 'http://old.example', 'artifact', i::text, '{}', pg_temp.id_of('artifact', i),
      'registered', pg_temp.digest_of('registration', i), 'ida', pg_temp.moment(i)
    FROM generate_series(0, :count - 1) AS i WHERE i % 20 = 0
    """,
    """
    INSERT INTO artifact_tombstones (artifact_id, reason, rule, attestation, pruned_by, created_at)
    SELECT pg_temp.id_of('artifact', i), 'seeded', '{}', pg_temp.digest_of('registration', i), 'prue', pg_temp.moment(i)
    FROM generate_series(0, :count - 1) AS i WHERE i % 20 = 3
    """,
)


def seed(url: str, count: int) -> None:
    """Fill an empty database.

    Args:
        url: of the database, as the owner of its tables.
        count: of artifacts.

    Raises:
        Misconfigured: the database has artifacts already.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT EXISTS (SELECT FROM model_artifacts)").fetchone() != (False,):
            raise Misconfigured("This database has artifacts already; seed an empty one that nobody needs.")
        connection.execute("SET TIME ZONE 'UTC'; SET synchronous_commit = off; SET maintenance_work_mem = '256MB'; SET work_mem = '128MB'")
        with connection.transaction(), _without_indexes(connection):
            _switch(connection, sql.SQL("DISABLE"))
            envelope = sql.Literal(_ENVELOPE).as_string(connection)
            for step in _STEPS:
                connection.execute(step.replace(":count", str(count)).replace(":envelope", envelope).encode())
            connection.execute("SELECT refill_search()")
            _switch(connection, sql.SQL("ENABLE"))
        connection.execute("VACUUM (ANALYZE)")


@contextmanager
def _without_indexes(connection: psycopg.Connection) -> Iterator[None]:
    """Make indexes, and check constraints over them, once and for all rows at the end: that is many times faster than for each row."""
    constraints = connection.execute(_CONSTRAINTS, [list(_FILLED)]).fetchall()
    indexes = connection.execute(_INDEXES, [list(_FILLED)]).fetchall()
    for table, name, _ in reversed(constraints):
        connection.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(sql.Identifier(table), sql.Identifier(name)))
    for name, _ in indexes:
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    yield
    for _, definition in indexes:
        connection.execute(definition.encode())
    for table, name, definition in constraints:
        added = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} ").format(sql.Identifier(table), sql.Identifier(name))
        connection.execute(added.as_string(connection).encode() + definition.encode())


def _switch(connection: psycopg.Connection, how: sql.SQL) -> None:
    for table, triggers in _TRIGGERS.items():
        for trigger in triggers:
            connection.execute(sql.SQL("ALTER TABLE {} {} TRIGGER {}").format(sql.Identifier(table), how, sql.Identifier(trigger)))


if __name__ == "__main__":
    seed(database.url(Settings()), int(sys.argv[1]))
