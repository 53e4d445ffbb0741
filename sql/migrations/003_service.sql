-- What the service needs: who runs a job now, what people say about a model, what came from elsewhere, whose bytes were removed.

BEGIN;

DO $$
DECLARE
  taken text;
BEGIN
  SELECT string_agg(name, ', ') INTO taken FROM unnest(ARRAY['job_leases', 'model_cards', 'imports', 'artifact_tombstones', 'search_terms',
    'search_metrics'])
    AS name WHERE to_regclass(name) IS NOT NULL;
  IF taken IS NOT NULL THEN
    RAISE EXCEPTION 'this database already has tables that are not ours: %; use an empty database', taken;
  END IF;
END $$;

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

-- A job whose executor is gone goes back; one whose executor cannot even be started fails.
DROP TRIGGER moves ON training_jobs;
CREATE TRIGGER moves BEFORE UPDATE ON training_jobs FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION only_these_moves(
  'queued>running', 'queued>failed', 'running>queued', 'running>completed', 'running>failed');

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

-- How an artifact scored: what was measured last, or claimed last where nothing was measured.
CREATE TABLE search_metrics (
  artifact_id    uuid NOT NULL,
  metric         text NOT NULL,
  value          double precision NOT NULL,
  model          text NOT NULL,
  measured       boolean NOT NULL,
  evaluated_at   timestamptz NOT NULL,
  evaluation_id  uuid NOT NULL,
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
    artifact.model, evaluation.kind = 'measured' AS measured, evaluation.created_at AS evaluated_at, evaluation.id AS evaluation_id
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
    SET (value, measured, evaluated_at, evaluation_id) = (EXCLUDED.value, EXCLUDED.measured, EXCLUDED.evaluated_at, EXCLUDED.evaluation_id)
    WHERE (EXCLUDED.measured, EXCLUDED.evaluated_at, EXCLUDED.evaluation_id) > (kept.measured, kept.evaluated_at, kept.evaluation_id);
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
    ORDER BY artifact_id, metric, measured DESC, evaluated_at DESC, evaluation_id DESC;
$$;

CREATE TRIGGER search AFTER INSERT ON model_artifacts FOR EACH ROW WHEN (NEW.training_job_id IS NOT NULL) EXECUTE FUNCTION keep_search_inputs();
CREATE TRIGGER search AFTER INSERT ON evaluations FOR EACH ROW EXECUTE FUNCTION keep_search_metrics();
CREATE TRIGGER search_new AFTER INSERT ON model_promotions FOR EACH ROW EXECUTE FUNCTION keep_search_status();
CREATE TRIGGER search_moved AFTER UPDATE ON model_promotions FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
  EXECUTE FUNCTION keep_search_status();
CREATE TRIGGER search AFTER INSERT OR UPDATE ON environment_pointers FOR EACH ROW EXECUTE FUNCTION keep_search_current();

SELECT refill_search();

INSERT INTO aiinfra_migrations (name) VALUES ('003_service');

COMMIT;
