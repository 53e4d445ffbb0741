-- Rollouts: a promotion that earns its traffic step by step, the looks it is judged by, what people order, and what is observed.

BEGIN;

DO $$
DECLARE
  taken text;
BEGIN
  SELECT string_agg(name, ', ') INTO taken FROM unnest(ARRAY['rollouts', 'canary_looks', 'rollout_orders', 'rollout_batches',
    'rollout_reporters', 'rollout_counts', 'rollout_units'])
    AS name WHERE to_regclass(name) IS NOT NULL;
  IF taken IS NOT NULL THEN
    RAISE EXCEPTION 'this database already has tables that are not ours: %; use an empty database', taken;
  END IF;
END $$;

-- Promotions -----------------------------------------------------------------------------------------------------------------------

-- By what spec it is to earn its traffic (NULL: at once), what it goes back from and why, and the rollout whose rollback it overrides.
ALTER TABLE model_promotions ADD COLUMN rollout json;
ALTER TABLE model_promotions ADD COLUMN rollback json;
ALTER TABLE model_promotions ADD COLUMN overrides uuid;
ALTER TABLE model_promotions DROP CONSTRAINT model_promotions_status_check;
ALTER TABLE model_promotions ADD CONSTRAINT model_promotions_status_check CHECK (status IN ('requested', 'pending_approval', 'approved',
  'rolling_out', 'applied', 'rejected', 'quarantined', 'remediation', 'expired', 'superseded', 'rolled_back'));
ALTER TABLE model_promotions DROP CONSTRAINT model_promotions_check2;
ALTER TABLE model_promotions ADD CONSTRAINT model_promotions_applied_has_time CHECK (
  (status <> 'applied' OR applied_at IS NOT NULL) AND (applied_at IS NULL OR status IN ('applied', 'rolled_back')));
ALTER TABLE model_promotions ADD CONSTRAINT model_promotions_rolls_out_by_spec CHECK (status <> 'rolling_out' OR
  (decision IS NOT NULL AND manifest IS NOT NULL AND signature IS NOT NULL AND rollout IS NOT NULL));
DROP TRIGGER fixed_columns ON model_promotions;
CREATE TRIGGER fixed_columns BEFORE UPDATE ON model_promotions FOR EACH ROW
  WHEN ((OLD.id, OLD.request_id, OLD.artifact_id, OLD.model, OLD.environment, OLD.evaluation::text, OLD.evaluation_kind,
        OLD.evaluation_digest, OLD.sequence_seen, OLD.follows, OLD.requested_by, OLD.asked_by, OLD.created_at, OLD.rollout::text,
        OLD.rollback::text, OLD.overrides)
    IS DISTINCT FROM (NEW.id, NEW.request_id, NEW.artifact_id, NEW.model, NEW.environment, NEW.evaluation::text, NEW.evaluation_kind,
        NEW.evaluation_digest, NEW.sequence_seen, NEW.follows, NEW.requested_by, NEW.asked_by, NEW.created_at, NEW.rollout::text,
        NEW.rollback::text, NEW.overrides))
  EXECUTE FUNCTION refuse_fixed_columns();
DROP TRIGGER moves ON model_promotions;
CREATE TRIGGER moves BEFORE UPDATE ON model_promotions FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION only_these_moves(
  'requested>pending_approval', 'requested>approved', 'requested>rejected', 'requested>quarantined', 'requested>remediation',
  'requested>superseded', 'pending_approval>approved', 'pending_approval>rejected', 'pending_approval>quarantined',
  'pending_approval>remediation', 'pending_approval>expired', 'pending_approval>superseded', 'approved>applied', 'approved>rejected',
  'approved>expired', 'approved>superseded', 'approved>rolling_out', 'rolling_out>applied', 'rolling_out>rolled_back',
  'rolling_out>rejected', 'rolling_out>expired', 'rolling_out>superseded', 'applied>rolled_back');

-- Rollouts -------------------------------------------------------------------------------------------------------------------------

-- The challenger is the artifact of promotion_id, the champion what was current at `sequence`. weight is of 10,000; step counts from 0.
-- frozen holds what was measured of the champion once, heard_at when all signals last said something.
CREATE TABLE rollouts (
  id               uuid PRIMARY KEY,
  promotion_id     uuid NOT NULL UNIQUE REFERENCES model_promotions (id),
  environment      text NOT NULL,
  model            text NOT NULL REFERENCES models (name),
  champion         uuid NOT NULL REFERENCES model_promotions (id),
  sequence         bigint NOT NULL CHECK (sequence > 0),
  spec             json NOT NULL,
  spec_digest      text NOT NULL CHECK (spec_digest ~ '^[0-9a-f]{64}$'),
  salt             text NOT NULL CHECK (salt <> ''),
  status           text NOT NULL CHECK (status IN ('running', 'paused', 'completed', 'rolled_back', 'inconclusive', 'aborted', 'superseded')),
  step             integer NOT NULL CHECK (step >= 0),
  weight           integer NOT NULL CHECK (weight BETWEEN 0 AND 10000),
  looks            integer NOT NULL CHECK (looks >= 0),
  frozen           json,
  reason           text,
  created_at       timestamptz NOT NULL,
  step_started_at  timestamptz NOT NULL,
  heard_at         timestamptz NOT NULL,
  looked_at        timestamptz,
  updated_at       timestamptz NOT NULL,
  ended_at         timestamptz,
  CHECK ((status IN ('running', 'paused')) = (ended_at IS NULL)),
  CHECK (ended_at IS NULL OR reason IS NOT NULL)
);
CREATE UNIQUE INDEX rollouts_open ON rollouts (environment, model) WHERE ended_at IS NULL;
CREATE INDEX rollouts_due ON rollouts (looked_at NULLS FIRST) WHERE ended_at IS NULL;
CREATE INDEX rollouts_newest ON rollouts (created_at DESC, id DESC);
CREATE INDEX rollouts_by_place ON rollouts (environment, model, created_at DESC);
CREATE TRIGGER no_delete BEFORE DELETE ON rollouts FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON rollouts EXECUTE FUNCTION refuse_change();
CREATE TRIGGER fixed_columns BEFORE UPDATE ON rollouts FOR EACH ROW
  WHEN ((OLD.id, OLD.promotion_id, OLD.environment, OLD.model, OLD.champion, OLD.sequence, OLD.spec::text, OLD.spec_digest, OLD.salt,
        OLD.created_at)
    IS DISTINCT FROM (NEW.id, NEW.promotion_id, NEW.environment, NEW.model, NEW.champion, NEW.sequence, NEW.spec::text, NEW.spec_digest,
        NEW.salt, NEW.created_at))
  EXECUTE FUNCTION refuse_fixed_columns();
CREATE TRIGGER moves BEFORE UPDATE ON rollouts FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION only_these_moves(
  'running>paused', 'paused>running', 'running>completed', 'running>rolled_back', 'running>inconclusive', 'running>aborted',
  'running>superseded', 'paused>completed', 'paused>rolled_back', 'paused>inconclusive', 'paused>aborted', 'paused>superseded');

-- Every look at a rollout: what each signal said, what the judge made of it, and its verdict; numbers have no gaps.
CREATE TABLE canary_looks (
  id          uuid PRIMARY KEY,
  rollout_id  uuid NOT NULL REFERENCES rollouts (id),
  number      integer NOT NULL CHECK (number > 0),
  step        integer NOT NULL,
  weight      integer NOT NULL,
  readings    json NOT NULL,
  judged      json NOT NULL,
  verdict     text NOT NULL CHECK (verdict IN ('hold', 'advance', 'rollback', 'inconclusive')),
  reason      text NOT NULL,
  created_at  timestamptz NOT NULL,
  UNIQUE (rollout_id, number)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON canary_looks FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON canary_looks EXECUTE FUNCTION refuse_change();

-- What people ordered, each as a signed statement.
CREATE TABLE rollout_orders (
  id           uuid PRIMARY KEY,
  rollout_id   uuid NOT NULL REFERENCES rollouts (id),
  action       text NOT NULL CHECK (action IN ('pause', 'resume', 'advance', 'abort', 'rollback')),
  step         integer NOT NULL CHECK (step >= 0),
  reason       text NOT NULL,
  request_id   text NOT NULL,
  ordered_by   text NOT NULL,
  attestation  text NOT NULL UNIQUE REFERENCES attestations (digest) DEFERRABLE INITIALLY DEFERRED,
  created_at   timestamptz NOT NULL
);
CREATE INDEX rollout_orders_by_rollout ON rollout_orders (rollout_id, created_at);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON rollout_orders FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON rollout_orders EXECUTE FUNCTION refuse_change();

-- Pointers -------------------------------------------------------------------------------------------------------------------------

-- rollout_id is the open rollout; changes counts what was changed about traffic since `sequence` began (NULL: nothing).
ALTER TABLE environment_pointers ADD COLUMN rollout_id uuid REFERENCES rollouts (id);
ALTER TABLE environment_pointers ADD COLUMN changes bigint CHECK (changes > 0);
CREATE OR REPLACE FUNCTION sequence_rises_by_one() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.sequence = OLD.sequence AND (NEW.promotion_id, NEW.artifact_id) = (OLD.promotion_id, OLD.artifact_id)
    AND NEW.changes IS NOT DISTINCT FROM coalesce(OLD.changes, 0) + 1 THEN
    RETURN NEW;
  END IF;
  IF NEW.sequence <> OLD.sequence + 1 OR NEW.changes IS NOT NULL OR NEW.rollout_id IS NOT NULL THEN
    RAISE EXCEPTION 'the pointer of % in % moves by one: % cannot follow %', NEW.model, NEW.environment, NEW.sequence, OLD.sequence
      USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$;

-- Observations ---------------------------------------------------------------------------------------------------------------------

-- What serving processes report; it proves nothing by itself: each look keeps the counts it saw.
CREATE TABLE rollout_batches (
  rollout_id   uuid NOT NULL REFERENCES rollouts (id),
  batch_id     uuid NOT NULL,
  body_digest  text NOT NULL,
  reporter     text NOT NULL,
  created_at   timestamptz NOT NULL,
  PRIMARY KEY (rollout_id, batch_id)
);
-- Who reported of a step: when last, and of how many units of each arm; a process that never counted one cannot say that nobody asks.
CREATE TABLE rollout_reporters (
  rollout_id     uuid NOT NULL REFERENCES rollouts (id),
  step           integer NOT NULL,
  reporter       text NOT NULL,
  heard_at       timestamptz NOT NULL,
  labels         boolean NOT NULL,
  champion       bigint NOT NULL CHECK (champion >= 0),
  champion_at    timestamptz,
  challenger     bigint NOT NULL CHECK (challenger >= 0),
  challenger_at  timestamptz,
  PRIMARY KEY (rollout_id, step, reporter)
);
-- How often something was counted: kind is units, errors, labelled, wrong, or latency:BIN.
CREATE TABLE rollout_counts (
  rollout_id  uuid NOT NULL REFERENCES rollouts (id),
  step        integer NOT NULL,
  arm         text NOT NULL CHECK (arm IN ('champion', 'challenger')),
  kind        text NOT NULL,
  count       bigint NOT NULL CHECK (count >= 0),
  PRIMARY KEY (rollout_id, step, arm, kind)
);
-- Users, where they and not requests are counted: each once per step, by a digest.
CREATE TABLE rollout_units (
  rollout_id  uuid NOT NULL REFERENCES rollouts (id),
  step        integer NOT NULL,
  unit        bytea NOT NULL CHECK (length(unit) = 8),
  arm         text NOT NULL CHECK (arm IN ('champion', 'challenger')),
  failed      boolean NOT NULL,
  labelled    boolean NOT NULL,
  wrong       boolean NOT NULL,
  slowest     integer,
  PRIMARY KEY (rollout_id, step, unit)
);

INSERT INTO aiinfra_migrations (name) VALUES ('005_rollouts');

COMMIT;
