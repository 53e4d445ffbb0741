-- The whole schema as it is now. sql/migrations/ leads here step by step, and a test proves that both are equal.
-- Times are UTC; ids are made by the application; nothing newer than PostgreSQL 14 and no extension is used.

CREATE TABLE aiinfra_migrations (
  name        text PRIMARY KEY,
  applied_at  timestamptz NOT NULL DEFAULT now()
);

-- One row per write that was asked for: the same request id gives the same subject, another body under it is refused.
CREATE TABLE request_ids (
  operation    text NOT NULL,
  request_id   text NOT NULL,
  body_digest  text NOT NULL,
  subject_id   uuid NOT NULL,
  created_at   timestamptz NOT NULL,
  PRIMARY KEY (operation, request_id)
);

-- Signed statements; envelope holds the exact bytes that were signed, digest is the SHA-256 of its payload.
CREATE TABLE attestations (
  digest          text PRIMARY KEY CHECK (digest ~ '^[0-9a-f]{64}$'),
  predicate_type  text NOT NULL,
  subject_checksum text NOT NULL,
  envelope        bytea NOT NULL,
  signer_id       text NOT NULL,
  created_at      timestamptz NOT NULL
);
CREATE INDEX attestations_by_subject ON attestations (subject_checksum);

CREATE TABLE training_jobs (
  id                      uuid PRIMARY KEY,
  request_id              text NOT NULL,
  model                   text NOT NULL,
  code_ref                text NOT NULL,
  container_digest        text NOT NULL,
  entry_point             text,
  hyperparams             json NOT NULL,
  dataset_refs            json NOT NULL,
  seed                    bigint NOT NULL,
  spec_digest             text NOT NULL,
  requested_by            text NOT NULL,
  status                  text NOT NULL CHECK (status IN ('queued', 'running', 'completed', 'failed')),
  created_at              timestamptz NOT NULL,
  updated_at              timestamptz NOT NULL,
  started_at              timestamptz,
  finished_at             timestamptz,
  exit_code               integer,
  error                   text,
  artifact_uri            text,
  digest_kind             text CHECK (digest_kind IN ('sha256', 'dirHash')),
  checksum                text CHECK (checksum ~ '^[0-9a-f]{64}$'),
  size_bytes              bigint,
  metrics                 json,
  training_record_sha256  text,
  training_record_uri     text,
  log_uri                 text,
  attestation             text REFERENCES attestations (digest),
  CHECK (status <> 'completed' OR (checksum IS NOT NULL AND artifact_uri IS NOT NULL AND attestation IS NOT NULL)),
  CHECK (status <> 'failed' OR error IS NOT NULL)
);
CREATE INDEX training_jobs_newest ON training_jobs (created_at DESC, id DESC);
CREATE INDEX training_jobs_by_status ON training_jobs (status, created_at);

CREATE TABLE models (
  name          text PRIMARY KEY,
  last_version  integer NOT NULL CHECK (last_version >= 0),
  created_at    timestamptz NOT NULL
);

CREATE TABLE model_artifacts (
  id                     uuid PRIMARY KEY,
  model                  text NOT NULL REFERENCES models (name),
  version                integer NOT NULL CHECK (version > 0),
  training_job_id        uuid REFERENCES training_jobs (id),
  artifact_uri           text NOT NULL,
  digest_kind            text NOT NULL CHECK (digest_kind IN ('sha256', 'dirHash')),
  checksum               text NOT NULL CHECK (checksum ~ '^[0-9a-f]{64}$'),
  size_bytes             bigint NOT NULL CHECK (size_bytes >= 0),
  metadata               json NOT NULL,
  manifest_signature_id  text,
  signer_id              text NOT NULL,
  signature              text NOT NULL,
  attestation            text NOT NULL REFERENCES attestations (digest),
  registered_by          text NOT NULL,
  created_at             timestamptz NOT NULL,
  UNIQUE (model, version)
);
CREATE INDEX model_artifacts_newest ON model_artifacts (created_at DESC, id DESC);
CREATE INDEX model_artifacts_by_checksum ON model_artifacts (checksum);
CREATE INDEX model_artifacts_by_job ON model_artifacts (training_job_id);

CREATE TABLE evaluations (
  id           uuid PRIMARY KEY,
  artifact_id  uuid NOT NULL REFERENCES model_artifacts (id),
  kind         text NOT NULL CHECK (kind IN ('measured', 'claimed')),
  metrics      json NOT NULL,
  digest       text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
  attestation  text NOT NULL REFERENCES attestations (digest) DEFERRABLE INITIALLY DEFERRED,
  recorded_by  text NOT NULL,
  created_at   timestamptz NOT NULL,
  spec         json,
  spec_digest  text CHECK (spec_digest ~ '^[0-9a-f]{64}$'),
  UNIQUE (artifact_id, digest),
  CONSTRAINT evaluations_once_by_spec UNIQUE (artifact_id, spec_digest),
  CONSTRAINT evaluations_spec_is_named CHECK ((spec IS NULL) = (spec_digest IS NULL)),
  CONSTRAINT evaluations_spec_is_measured CHECK (spec IS NULL OR kind = 'measured')
);

CREATE TABLE model_promotions (
  id             uuid PRIMARY KEY,
  request_id     text NOT NULL,
  artifact_id    uuid NOT NULL REFERENCES model_artifacts (id),
  model          text NOT NULL REFERENCES models (name),
  environment    text NOT NULL,
  status         text NOT NULL CHECK (status IN ('requested', 'pending_approval', 'approved', 'rolling_out', 'applied',
                                                 'rejected', 'quarantined', 'remediation', 'expired', 'superseded', 'rolled_back')),
  evaluation         json NOT NULL,
  evaluation_kind    text CHECK (evaluation_kind IN ('measured', 'claimed')),
  evaluation_digest  text CHECK (evaluation_digest ~ '^[0-9a-f]{64}$'),
  sequence_seen  bigint NOT NULL CHECK (sequence_seen >= 0),
  follows        text REFERENCES attestations (digest),
  decision       json,
  reason         text,
  requested_by   text NOT NULL,
  manifest       text REFERENCES attestations (digest) DEFERRABLE INITIALLY DEFERRED,
  signature      text,
  signer_id      text,
  created_at     timestamptz NOT NULL,
  updated_at     timestamptz NOT NULL,
  applied_at     timestamptz,
  approvals_required json,
  pending_until  timestamptz,
  asked_by       text,
  rollout        json,
  rollback       json,
  overrides      uuid,
  CHECK (status NOT IN ('approved', 'applied') OR (decision IS NOT NULL AND manifest IS NOT NULL AND signature IS NOT NULL)),
  CHECK (status <> 'rejected' OR reason IS NOT NULL),
  CONSTRAINT model_promotions_applied_has_time CHECK (
    (status <> 'applied' OR applied_at IS NOT NULL) AND (applied_at IS NULL OR status IN ('applied', 'rolled_back'))),
  CONSTRAINT model_promotions_rolls_out_by_spec CHECK (status <> 'rolling_out' OR
    (decision IS NOT NULL AND manifest IS NOT NULL AND signature IS NOT NULL AND rollout IS NOT NULL)),
  CONSTRAINT model_promotions_no_has_reason CHECK (status NOT IN ('quarantined', 'remediation') OR reason IS NOT NULL),
  CONSTRAINT model_promotions_waits_for_something CHECK (status <> 'pending_approval' OR
    (decision IS NOT NULL AND manifest IS NOT NULL AND signature IS NOT NULL AND approvals_required IS NOT NULL AND pending_until IS NOT NULL))
);
CREATE INDEX model_promotions_waiting ON model_promotions (pending_until)
  WHERE pending_until IS NOT NULL AND status IN ('pending_approval', 'approved');
CREATE INDEX model_promotions_by_artifact ON model_promotions (artifact_id, created_at DESC);
CREATE INDEX model_promotions_by_place ON model_promotions (environment, model, created_at DESC);

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

-- What is current. sequence rises by one with every change; apply compares and swaps it under the row lock.
-- rollout_id is the open rollout; changes counts what was changed about traffic since `sequence` began (NULL: nothing).
CREATE TABLE environment_pointers (
  environment   text NOT NULL,
  model         text NOT NULL REFERENCES models (name),
  sequence      bigint NOT NULL CHECK (sequence > 0),
  promotion_id  uuid NOT NULL UNIQUE REFERENCES model_promotions (id),
  artifact_id   uuid NOT NULL REFERENCES model_artifacts (id),
  updated_at    timestamptz NOT NULL,
  rollout_id    uuid REFERENCES rollouts (id),
  changes       bigint CHECK (changes > 0),
  PRIMARY KEY (environment, model)
);

-- Events wait here from the transaction that made them until the sequencer has put them into the chain.
CREATE TABLE audit_outbox (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_type  text NOT NULL,
  payload     json NOT NULL
);

CREATE TABLE audit_events (
  seq         bigint PRIMARY KEY CHECK (seq > 0),
  id          uuid NOT NULL UNIQUE,
  event_type  text NOT NULL,
  payload     json NOT NULL,
  prev_hash   text UNIQUE,
  hash        text NOT NULL UNIQUE,
  signature   text NOT NULL,
  signer_id   text NOT NULL,
  ts          timestamptz NOT NULL,
  created_at  timestamptz NOT NULL UNIQUE,
  metadata    json NOT NULL,
  version     integer NOT NULL
);

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

-- The guards below are the second line: the first is the role of sql/roles.sql, which may not do these things at all.

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE FUNCTION refuse_fixed_columns() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% lets only its state columns change', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

-- Arguments: the allowed moves as 'from>to'.
CREATE FUNCTION only_these_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT (OLD.status || '>' || NEW.status) = ANY (TG_ARGV) THEN
    RAISE EXCEPTION '% may not move from % to %', TG_TABLE_NAME, OLD.status, NEW.status USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$;

CREATE FUNCTION version_rises_by_one() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.last_version <> OLD.last_version + 1 THEN
    RAISE EXCEPTION 'versions of % have no gaps: % cannot follow %', NEW.name, NEW.last_version, OLD.last_version USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$;

CREATE FUNCTION sequence_rises_by_one() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON model_artifacts FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON model_artifacts EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON evaluations FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON evaluations EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON attestations FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON attestations EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON audit_events EXECUTE FUNCTION refuse_change();

CREATE TRIGGER no_delete BEFORE DELETE ON training_jobs FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON training_jobs EXECUTE FUNCTION refuse_change();
CREATE TRIGGER fixed_columns BEFORE UPDATE ON training_jobs FOR EACH ROW
  WHEN ((OLD.id, OLD.request_id, OLD.model, OLD.code_ref, OLD.container_digest, OLD.entry_point, OLD.hyperparams::text,
        OLD.dataset_refs::text, OLD.seed, OLD.spec_digest, OLD.requested_by, OLD.created_at)
    IS DISTINCT FROM (NEW.id, NEW.request_id, NEW.model, NEW.code_ref, NEW.container_digest, NEW.entry_point, NEW.hyperparams::text,
        NEW.dataset_refs::text, NEW.seed, NEW.spec_digest, NEW.requested_by, NEW.created_at))
  EXECUTE FUNCTION refuse_fixed_columns();
CREATE TRIGGER moves BEFORE UPDATE ON training_jobs FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION only_these_moves(
  'queued>running', 'queued>failed', 'running>queued', 'running>completed', 'running>failed');

CREATE TRIGGER no_delete BEFORE DELETE ON models FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON models EXECUTE FUNCTION refuse_change();
CREATE TRIGGER fixed_columns BEFORE UPDATE ON models FOR EACH ROW
  WHEN ((OLD.name, OLD.created_at)
    IS DISTINCT FROM (NEW.name, NEW.created_at))
  EXECUTE FUNCTION refuse_fixed_columns();
CREATE TRIGGER moves BEFORE UPDATE ON models FOR EACH ROW EXECUTE FUNCTION version_rises_by_one();

CREATE TRIGGER no_delete BEFORE DELETE ON model_promotions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON model_promotions EXECUTE FUNCTION refuse_change();
CREATE TRIGGER fixed_columns BEFORE UPDATE ON model_promotions FOR EACH ROW
  WHEN ((OLD.id, OLD.request_id, OLD.artifact_id, OLD.model, OLD.environment, OLD.evaluation::text, OLD.evaluation_kind,
        OLD.evaluation_digest, OLD.sequence_seen, OLD.follows, OLD.requested_by, OLD.asked_by, OLD.created_at, OLD.rollout::text,
        OLD.rollback::text, OLD.overrides)
    IS DISTINCT FROM (NEW.id, NEW.request_id, NEW.artifact_id, NEW.model, NEW.environment, NEW.evaluation::text, NEW.evaluation_kind,
        NEW.evaluation_digest, NEW.sequence_seen, NEW.follows, NEW.requested_by, NEW.asked_by, NEW.created_at, NEW.rollout::text,
        NEW.rollback::text, NEW.overrides))
  EXECUTE FUNCTION refuse_fixed_columns();
CREATE TRIGGER moves BEFORE UPDATE ON model_promotions FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION only_these_moves(
  'requested>pending_approval', 'requested>approved', 'requested>rejected', 'requested>quarantined', 'requested>remediation',
  'requested>superseded', 'pending_approval>approved', 'pending_approval>rejected', 'pending_approval>quarantined',
  'pending_approval>remediation', 'pending_approval>expired', 'pending_approval>superseded', 'approved>applied', 'approved>rejected',
  'approved>expired', 'approved>superseded', 'approved>rolling_out', 'rolling_out>applied', 'rolling_out>rolled_back',
  'rolling_out>rejected', 'rolling_out>expired', 'rolling_out>superseded', 'applied>rolled_back');

CREATE TRIGGER no_delete BEFORE DELETE ON environment_pointers FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON environment_pointers EXECUTE FUNCTION refuse_change();
CREATE TRIGGER fixed_columns BEFORE UPDATE ON environment_pointers FOR EACH ROW
  WHEN ((OLD.environment, OLD.model)
    IS DISTINCT FROM (NEW.environment, NEW.model))
  EXECUTE FUNCTION refuse_fixed_columns();
CREATE TRIGGER moves BEFORE UPDATE ON environment_pointers FOR EACH ROW EXECUTE FUNCTION sequence_rises_by_one();

CREATE TRIGGER no_update BEFORE UPDATE ON audit_outbox FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_update BEFORE UPDATE ON request_ids FOR EACH ROW EXECUTE FUNCTION refuse_change();

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

-- Jobs -----------------------------------------------------------------------------------------------------------------------------

-- Who runs a job now and until when; how often it was begun; which Prefect run does it. It says how far work has come and proves nothing.
-- Without a holder, token_digest is that of the last lease, so that its end can be asked for twice; a lease that was lost leaves none.
CREATE TABLE job_leases (
  job_id        uuid PRIMARY KEY REFERENCES training_jobs (id),
  attempts      integer NOT NULL CHECK (attempts >= 0),
  holder        text,
  token_digest  text CHECK (token_digest ~ '^[0-9a-f]{64}$'),
  expires_at    timestamptz,
  flow_run_id   uuid,
  updated_at    timestamptz NOT NULL,
  CHECK ((holder IS NULL) = (expires_at IS NULL))
);
CREATE INDEX job_leases_by_end ON job_leases (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX training_jobs_by_model ON training_jobs (model, created_at DESC, id DESC);
CREATE INDEX training_jobs_by_code ON training_jobs (code_ref, created_at DESC, id DESC);

-- Cards ----------------------------------------------------------------------------------------------------------------------------

-- What people say about a model (version is NULL) or a version of it: each row replaces the one before, and all of them stay.
CREATE TABLE model_cards (
  id           uuid PRIMARY KEY,
  model        text NOT NULL REFERENCES models (name),
  version      integer,
  revision     integer NOT NULL CHECK (revision > 0),
  description  text NOT NULL,
  tags         json NOT NULL,
  card         text NOT NULL,
  written_by   text NOT NULL,
  created_at   timestamptz NOT NULL,
  FOREIGN KEY (model, version) REFERENCES model_artifacts (model, version)
);
CREATE UNIQUE INDEX model_cards_of_versions ON model_cards (model, version, revision);
CREATE UNIQUE INDEX model_cards_of_models ON model_cards (model, revision) WHERE version IS NULL;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON model_cards FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON model_cards EXECUTE FUNCTION refuse_change();

-- Imports --------------------------------------------------------------------------------------------------------------------------

-- Records of a service this one replaces, as they came and signed as imported; artifact_id is what was registered of it, if its bytes were read.
CREATE TABLE imports (
  id           uuid PRIMARY KEY,
  source       text NOT NULL,
  kind         text NOT NULL CHECK (kind IN ('job', 'artifact', 'promotion')),
  original_id  text NOT NULL,
  document     json NOT NULL,
  artifact_id  uuid REFERENCES model_artifacts (id),
  outcome      text NOT NULL,
  attestation  text NOT NULL REFERENCES attestations (digest),
  imported_by  text NOT NULL,
  created_at   timestamptz NOT NULL,
  UNIQUE (source, kind, original_id)
);
CREATE INDEX imports_by_artifact ON imports (artifact_id);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON imports FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON imports EXECUTE FUNCTION refuse_change();

-- Tombstones -----------------------------------------------------------------------------------------------------------------------

-- Artifacts whose bytes were removed, and why; the registration and all evidence stay.
CREATE TABLE artifact_tombstones (
  artifact_id  uuid PRIMARY KEY REFERENCES model_artifacts (id),
  reason       text NOT NULL,
  rule         json NOT NULL,
  attestation  text NOT NULL REFERENCES attestations (digest),
  pruned_by    text NOT NULL,
  created_at   timestamptz NOT NULL
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON artifact_tombstones FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON artifact_tombstones EXECUTE FUNCTION refuse_change();
CREATE INDEX model_artifacts_by_uri ON model_artifacts (artifact_uri text_pattern_ops);

-- Whether bytes were removed from a place, from one it lies in, or from one in it. The subquery is no join, so it is one probe for each.
CREATE FUNCTION was_pruned(place text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
  parts CONSTANT text[] := string_to_array(place, '/');
BEGIN
  RETURN EXISTS (SELECT FROM artifact_tombstones) AND (EXISTS (
    SELECT FROM model_artifacts AS other
    WHERE other.artifact_uri = ANY (ARRAY(SELECT array_to_string(parts[1:part], '/') FROM generate_series(4, cardinality(parts)) AS part))
      AND (SELECT tombstone.artifact_id FROM artifact_tombstones AS tombstone WHERE tombstone.artifact_id = other.id) IS NOT NULL
  ) OR EXISTS (
    SELECT FROM model_artifacts AS other WHERE other.artifact_uri ~>=~ (place || '/') AND other.artifact_uri ~<~ (place || '0')
      AND (SELECT tombstone.artifact_id FROM artifact_tombstones AS tombstone WHERE tombstone.artifact_id = other.id) IS NOT NULL));
END $$;

-- Nothing is registered where bytes were removed. Whoever prunes takes the lock alone; what is looked for afterwards is seen as it is by then.
CREATE FUNCTION refuse_pruned_place() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtext('artifact_tombstones'));
  IF was_pruned(NEW.artifact_uri) THEN
    RAISE EXCEPTION 'bytes were removed from %', NEW.artifact_uri USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'not_pruned';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER not_pruned BEFORE INSERT ON model_artifacts FOR EACH ROW EXECUTE FUNCTION refuse_pruned_place();

-- Search ---------------------------------------------------------------------------------------------------------------------------

-- What searches are answered from. All of it follows from the tables above, is kept by triggers and made again by refill_search();
-- it proves nothing.

CREATE INDEX model_artifacts_of_model ON model_artifacts (model, created_at DESC, id DESC);
CREATE INDEX model_artifacts_trained ON model_artifacts (created_at DESC, id DESC) WHERE training_job_id IS NOT NULL;
CREATE INDEX model_artifacts_untrained ON model_artifacts (created_at DESC, id DESC) WHERE training_job_id IS NULL;
CREATE INDEX model_promotions_newest ON model_promotions (created_at DESC, id DESC);
CREATE INDEX model_promotions_of_model ON model_promotions (model, created_at DESC, id DESC);
CREATE INDEX model_promotions_into ON model_promotions (environment, created_at DESC, id DESC);
CREATE INDEX model_promotions_by_status ON model_promotions (status, created_at DESC, id DESC);
CREATE INDEX model_promotions_by_requester ON model_promotions (requested_by, created_at DESC, id DESC);
CREATE INDEX model_promotions_applied ON model_promotions (environment, model, sequence_seen) WHERE applied_at IS NOT NULL;
CREATE INDEX environment_pointers_to ON environment_pointers (artifact_id);

-- Which artifacts have to do with what: a term is the first half of the SHA-256 of KIND:VALUE, created_at is the artifact's.
CREATE TABLE search_terms (
  term         bytea NOT NULL CHECK (length(term) = 16),
  created_at   timestamptz NOT NULL,
  artifact_id  uuid NOT NULL,
  source_id    uuid NOT NULL,
  PRIMARY KEY (term, created_at, artifact_id, source_id)
);

-- How an artifact scored: what was measured last by an evaluation that was run, else by its training, else claimed last.
CREATE TABLE search_metrics (
  artifact_id    uuid NOT NULL,
  metric         text NOT NULL,
  value          double precision NOT NULL,
  model          text NOT NULL,
  measured       boolean NOT NULL,
  evaluated_at   timestamptz NOT NULL,
  evaluation_id  uuid NOT NULL,
  by_pipeline    boolean NOT NULL,
  PRIMARY KEY (artifact_id, metric)
);
CREATE INDEX search_metrics_by_value ON search_metrics (metric, value, artifact_id);
CREATE INDEX search_metrics_of_model ON search_metrics (model, metric, value, artifact_id);

CREATE FUNCTION search_term(kind text, value text) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT substring(sha256(convert_to(kind || ':' || value, 'UTF8')) FOR 16)
$$;

-- JSON of the kind that was asked for, else nothing of that kind: an escaped NUL, which text cannot hold, must not stop a write.
CREATE FUNCTION searchable(document json, kind text) RETURNS json LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN json_typeof(document) = kind AND position('\u0000' IN document::text) = 0 THEN document
    WHEN kind = 'array' THEN '[]'::json ELSE '{}'::json
  END
$$;

CREATE VIEW search_inputs AS
  SELECT search_term('codeRef', job.code_ref) AS term, artifact.created_at, artifact.id AS artifact_id, job.id AS source_id
  FROM model_artifacts artifact JOIN training_jobs job ON job.id = artifact.training_job_id
  UNION
  SELECT search_term('dataset', named.value), artifact.created_at, artifact.id, job.id
  FROM model_artifacts artifact JOIN training_jobs job ON job.id = artifact.training_job_id
  CROSS JOIN json_array_elements(searchable(job.dataset_refs, 'array')) AS ref
  CROSS JOIN LATERAL (VALUES (ref ->> 'name'), (ref ->> 'sha256')) AS named (value);

CREATE VIEW search_scores AS
  SELECT artifact.id AS artifact_id, score.metric,
    CASE WHEN score.text ~ '^-?[0-9]{1,25}(\.[0-9]{1,25})?([eE][-+]?[0-9]{1,2})?$' THEN score.text::double precision END AS value,
    artifact.model, evaluation.kind = 'measured' AS measured, evaluation.created_at AS evaluated_at, evaluation.id AS evaluation_id,
    evaluation.spec_digest IS NOT NULL AS by_pipeline
  FROM evaluations evaluation JOIN model_artifacts artifact ON artifact.id = evaluation.artifact_id
  CROSS JOIN LATERAL (
    SELECT DISTINCT ON (key) key AS metric, value::text AS text FROM json_each(searchable(evaluation.metrics, 'object'))
    WHERE json_typeof(value) = 'number' AND length(key) <= 128
  ) AS score;

CREATE FUNCTION keep_search_inputs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO search_terms SELECT * FROM search_inputs WHERE artifact_id = NEW.id ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;

CREATE FUNCTION keep_search_metrics() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO search_metrics AS kept SELECT * FROM search_scores WHERE evaluation_id = NEW.id AND value IS NOT NULL
  ON CONFLICT (artifact_id, metric) DO UPDATE
    SET (value, measured, by_pipeline, evaluated_at, evaluation_id)
      = (EXCLUDED.value, EXCLUDED.measured, EXCLUDED.by_pipeline, EXCLUDED.evaluated_at, EXCLUDED.evaluation_id)
    WHERE (EXCLUDED.measured, EXCLUDED.by_pipeline, EXCLUDED.evaluated_at, EXCLUDED.evaluation_id)
      > (kept.measured, kept.by_pipeline, kept.evaluated_at, kept.evaluation_id);
  RETURN NULL;
END $$;

CREATE FUNCTION keep_search_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO search_terms
      SELECT search_term('status', NEW.status), created_at, id, NEW.id FROM model_artifacts WHERE id = NEW.artifact_id
      ON CONFLICT DO NOTHING;
  ELSE
    UPDATE search_terms SET term = search_term('status', NEW.status)
      FROM model_artifacts artifact
      WHERE artifact.id = NEW.artifact_id AND term = search_term('status', OLD.status)
        AND search_terms.created_at = artifact.created_at AND artifact_id = artifact.id AND source_id = NEW.id;
  END IF;
  RETURN NULL;
END $$;

CREATE FUNCTION keep_search_current() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' THEN
    DELETE FROM search_terms USING model_artifacts artifact
      WHERE artifact.id = OLD.artifact_id AND term = search_term('environment', OLD.environment)
        AND search_terms.created_at = artifact.created_at AND artifact_id = artifact.id AND source_id = OLD.promotion_id;
  END IF;
  INSERT INTO search_terms
    SELECT search_term('environment', NEW.environment), created_at, id, NEW.promotion_id FROM model_artifacts WHERE id = NEW.artifact_id
    ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;

CREATE FUNCTION refill_search() RETURNS void LANGUAGE sql AS $$
  DELETE FROM search_terms;
  INSERT INTO search_terms
    SELECT * FROM search_inputs
    UNION ALL
    SELECT search_term('status', promotion.status), artifact.created_at, artifact.id, promotion.id
    FROM model_promotions promotion JOIN model_artifacts artifact ON artifact.id = promotion.artifact_id
    UNION ALL
    SELECT search_term('environment', pointer.environment), artifact.created_at, artifact.id, pointer.promotion_id
    FROM environment_pointers pointer JOIN model_artifacts artifact ON artifact.id = pointer.artifact_id;
  DELETE FROM search_metrics;
  INSERT INTO search_metrics
    SELECT DISTINCT ON (artifact_id, metric) * FROM search_scores WHERE value IS NOT NULL
    ORDER BY artifact_id, metric, measured DESC, by_pipeline DESC, evaluated_at DESC, evaluation_id DESC;
$$;

CREATE TRIGGER search AFTER INSERT ON model_artifacts FOR EACH ROW WHEN (NEW.training_job_id IS NOT NULL) EXECUTE FUNCTION keep_search_inputs();
CREATE TRIGGER search AFTER INSERT ON evaluations FOR EACH ROW EXECUTE FUNCTION keep_search_metrics();
CREATE TRIGGER search_new AFTER INSERT ON model_promotions FOR EACH ROW EXECUTE FUNCTION keep_search_status();
CREATE TRIGGER search_moved AFTER UPDATE ON model_promotions FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
  EXECUTE FUNCTION keep_search_status();
CREATE TRIGGER search AFTER INSERT OR UPDATE ON environment_pointers FOR EACH ROW EXECUTE FUNCTION keep_search_current();

-- Policies -------------------------------------------------------------------------------------------------------------------------

-- Policies as they were applied, with everything that is overridden for an environment and a model; digest is the SHA-256 of document.
CREATE TABLE policies (
  digest      text PRIMARY KEY CHECK (digest ~ '^[0-9a-f]{64}$'),
  name        text NOT NULL,
  version     text NOT NULL,
  document    json NOT NULL,
  created_at  timestamptz NOT NULL
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON policies FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON policies EXECUTE FUNCTION refuse_change();

-- What each gate said about a promotion: when it was asked for and, where it waited for people, again before it was applied.
-- inputs is all that the local policy's rules could see; a remote gate keeps its own.
CREATE TABLE policy_decisions (
  id            uuid PRIMARY KEY,
  promotion_id  uuid NOT NULL REFERENCES model_promotions (id),
  gate          text NOT NULL CHECK (gate IN ('local', 'sentinelnet')),
  stage         text NOT NULL CHECK (stage IN ('request', 'apply')),
  allowed       boolean NOT NULL,
  decision      json NOT NULL,
  inputs        json,
  created_at    timestamptz NOT NULL,
  UNIQUE (promotion_id, gate, stage)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON policy_decisions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON policy_decisions EXECUTE FUNCTION refuse_change();

-- Reproductions --------------------------------------------------------------------------------------------------------------------

-- Trainings that were run again from their provenance; report is the comparison file by file.
CREATE TABLE reproductions (
  id                   uuid PRIMARY KEY,
  artifact_id          uuid NOT NULL REFERENCES model_artifacts (id),
  request_id           text NOT NULL,
  outcome              text NOT NULL CHECK (outcome IN ('identical', 'within_tolerance', 'different', 'failed')),
  reproduced_checksum  text CHECK (reproduced_checksum ~ '^[0-9a-f]{64}$'),
  report               json NOT NULL,
  attestation          text NOT NULL REFERENCES attestations (digest) DEFERRABLE INITIALLY DEFERRED,
  reproduced_by        text NOT NULL,
  started_at           timestamptz NOT NULL,
  finished_at          timestamptz NOT NULL,
  created_at           timestamptz NOT NULL
);
CREATE INDEX reproductions_by_artifact ON reproductions (artifact_id, created_at DESC);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON reproductions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON reproductions EXECUTE FUNCTION refuse_change();

-- Scans ----------------------------------------------------------------------------------------------------------------------------

-- Whether loading an artifact runs code: no_code (its formats cannot), safe (only what is known to be harmless), suspicious, unsafe, or
-- unknown (nobody could tell).
CREATE TABLE artifact_scans (
  id           uuid PRIMARY KEY,
  artifact_id  uuid NOT NULL REFERENCES model_artifacts (id),
  scanner      text NOT NULL,
  verdict      text NOT NULL CHECK (verdict IN ('no_code', 'safe', 'suspicious', 'unsafe', 'unknown')),
  findings     json NOT NULL,
  attestation  text NOT NULL REFERENCES attestations (digest) DEFERRABLE INITIALLY DEFERRED,
  scanned_by   text NOT NULL,
  created_at   timestamptz NOT NULL
);
CREATE INDEX artifact_scans_by_artifact ON artifact_scans (artifact_id, created_at DESC);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON artifact_scans FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON artifact_scans EXECUTE FUNCTION refuse_change();

-- Approvals ------------------------------------------------------------------------------------------------------------------------

-- Who agreed to a promotion: a signed statement over its exact manifest, by a key of theirs or vouched for by the service that knew them.
CREATE TABLE approvals (
  id            uuid PRIMARY KEY,
  promotion_id  uuid NOT NULL REFERENCES model_promotions (id),
  manifest      text NOT NULL REFERENCES attestations (digest),
  approver      text NOT NULL,
  means         text NOT NULL CHECK (means IN ('key', 'identity')),
  roles         json NOT NULL,
  comment       text,
  attestation   text NOT NULL UNIQUE REFERENCES attestations (digest) DEFERRABLE INITIALLY DEFERRED,
  expires_at    timestamptz NOT NULL,
  created_at    timestamptz NOT NULL
);
CREATE INDEX approvals_by_promotion ON approvals (promotion_id, created_at);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON approvals FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON approvals EXECUTE FUNCTION refuse_change();

CREATE TABLE approval_withdrawals (
  approval_id   uuid PRIMARY KEY REFERENCES approvals (id),
  reason        text,
  attestation   text NOT NULL UNIQUE REFERENCES attestations (digest) DEFERRABLE INITIALLY DEFERRED,
  withdrawn_by  text NOT NULL,
  created_at    timestamptz NOT NULL
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON approval_withdrawals FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON approval_withdrawals EXECUTE FUNCTION refuse_change();

-- Rollouts -------------------------------------------------------------------------------------------------------------------------

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
