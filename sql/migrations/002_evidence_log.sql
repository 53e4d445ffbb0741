-- The Merkle tree over the audit log, its checkpoints, and how far the log was delivered.

BEGIN;

DO $$
DECLARE
  taken text;
BEGIN
  SELECT string_agg(name, ', ') INTO taken FROM unnest(ARRAY['audit_tiles', 'audit_checkpoints', 'audit_deliveries', 'audit_dead_letters'])
    AS name WHERE to_regclass(name) IS NOT NULL;
  IF taken IS NOT NULL THEN
    RAISE EXCEPTION 'this database already has tables that are not ours: %; use an empty database', taken;
  END IF;
END $$;

-- The Merkle tree over the audit log in tiles: at `level`, tile `tile` holds the hashes (32 bytes each, at most 256) of complete
-- subtrees of 256^level leaves. Everything in it follows from audit_events; it is kept so that a proof reads a few rows.
CREATE TABLE audit_tiles (
  level   integer NOT NULL CHECK (level >= 0),
  tile    bigint NOT NULL CHECK (tile >= 0),
  hashes  bytea NOT NULL CHECK (length(hashes) BETWEEN 32 AND 8192 AND length(hashes) % 32 = 0),
  PRIMARY KEY (level, tile)
);

-- Signed tree heads (C2SP tlog-checkpoint); note holds the exact bytes. The same bytes are published outside this database.
CREATE TABLE audit_checkpoints (
  size        bigint PRIMARY KEY CHECK (size > 0),
  origin      text NOT NULL,
  root        text NOT NULL CHECK (root ~ '^[0-9a-f]{64}$'),
  note        bytea NOT NULL,
  created_at  timestamptz NOT NULL
);

-- How far each sink was delivered to; sink is the digest of its address, which may hold a secret.
CREATE TABLE audit_deliveries (
  sink             text PRIMARY KEY,
  delivered_seq    bigint NOT NULL CHECK (delivered_seq >= 0),
  failures         integer NOT NULL CHECK (failures >= 0),
  last_error       text,
  retry_at         timestamptz,
  updated_at       timestamptz NOT NULL
);

-- Events a sink would not take, set aside so that the ones after them go on; aiinfra audit replay delivers them again.
CREATE TABLE audit_dead_letters (
  sink        text NOT NULL,
  seq         bigint NOT NULL,
  reason      text NOT NULL,
  attempts    integer NOT NULL CHECK (attempts > 0),
  created_at  timestamptz NOT NULL,
  PRIMARY KEY (sink, seq)
);

-- A tile only grows: what is in it stays where it is.
CREATE FUNCTION tile_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (NEW.level, NEW.tile) IS DISTINCT FROM (OLD.level, OLD.tile) OR substring(NEW.hashes FOR length(OLD.hashes)) <> OLD.hashes THEN
    RAISE EXCEPTION 'tile % of level % may only grow', OLD.tile, OLD.level USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER only_grows BEFORE UPDATE ON audit_tiles FOR EACH ROW EXECUTE FUNCTION tile_only_grows();
CREATE TRIGGER no_delete BEFORE DELETE ON audit_tiles FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON audit_tiles EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_checkpoints FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON audit_checkpoints EXECUTE FUNCTION refuse_change();

INSERT INTO aiinfra_migrations (name) VALUES ('002_evidence_log');

COMMIT;
