-- What the gate looks at and what it says: policies, decisions one by one, measured evaluations, reproductions, scans, approvals.

BEGIN;

DO $$
DECLARE
  taken text;
BEGIN
  SELECT string_agg(name, ', ') INTO taken FROM unnest(ARRAY['policies', 'policy_decisions', 'reproductions', 'artifact_scans', 'approvals',
    'approval_withdrawals'])
    AS name WHERE to_regclass(name) IS NOT NULL;
  IF taken IS NOT NULL THEN
    RAISE EXCEPTION 'this database already has tables that are not ours: %; use an empty database', taken;
  END IF;
END $$;

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

-- Evaluations ----------------------------------------------------------------------------------------------------------------------

-- What was run to measure it; NULL where the training itself measured, or somebody claimed it.
ALTER TABLE evaluations ADD COLUMN spec json;
ALTER TABLE evaluations ADD COLUMN spec_digest text CHECK (spec_digest ~ '^[0-9a-f]{64}$');
ALTER TABLE evaluations ADD CONSTRAINT evaluations_once_by_spec UNIQUE (artifact_id, spec_digest);
ALTER TABLE evaluations ADD CONSTRAINT evaluations_spec_is_named CHECK ((spec IS NULL) = (spec_digest IS NULL));
ALTER TABLE evaluations ADD CONSTRAINT evaluations_spec_is_measured CHECK (spec IS NULL OR kind = 'measured');

-- A search by metric finds what a promotion is judged on: what was run to measure it comes before what its training measured.
ALTER TABLE search_metrics ADD COLUMN by_pipeline boolean NOT NULL DEFAULT false;
ALTER TABLE search_metrics ALTER COLUMN by_pipeline DROP DEFAULT;
CREATE OR REPLACE VIEW search_scores AS
  SELECT artifact.id AS artifact_id, score.metric,
    CASE WHEN score.text ~ '^-?[0-9]{1,25}(\.[0-9]{1,25})?([eE][-+]?[0-9]{1,2})?$' THEN score.text::double precision END AS value,
    artifact.model, evaluation.kind = 'measured' AS measured, evaluation.created_at AS evaluated_at, evaluation.id AS evaluation_id,
    evaluation.spec_digest IS NOT NULL AS by_pipeline
  FROM evaluations evaluation JOIN model_artifacts artifact ON artifact.id = evaluation.artifact_id
  CROSS JOIN LATERAL (
    SELECT DISTINCT ON (key) key AS metric, value::text AS text FROM json_each(searchable(evaluation.metrics, 'object'))
    WHERE json_typeof(value) = 'number' AND length(key) <= 128
  ) AS score;

CREATE OR REPLACE FUNCTION keep_search_metrics() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO search_metrics AS kept SELECT * FROM search_scores WHERE evaluation_id = NEW.id AND value IS NOT NULL
  ON CONFLICT (artifact_id, metric) DO UPDATE
    SET (value, measured, by_pipeline, evaluated_at, evaluation_id)
      = (EXCLUDED.value, EXCLUDED.measured, EXCLUDED.by_pipeline, EXCLUDED.evaluated_at, EXCLUDED.evaluation_id)
    WHERE (EXCLUDED.measured, EXCLUDED.by_pipeline, EXCLUDED.evaluated_at, EXCLUDED.evaluation_id)
      > (kept.measured, kept.by_pipeline, kept.evaluated_at, kept.evaluation_id);
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION refill_search() RETURNS void LANGUAGE sql AS $$
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

-- What a promotion waits for (role -> how many owners) and until when; both are set with its manifest and stay.
ALTER TABLE model_promotions ADD COLUMN approvals_required json;
ALTER TABLE model_promotions ADD COLUMN pending_until timestamptz;
-- Who asked for it in the name of requested_by, where that was somebody else; neither of them may approve it.
ALTER TABLE model_promotions ADD COLUMN asked_by text;
ALTER TABLE model_promotions DROP CONSTRAINT model_promotions_status_check;
ALTER TABLE model_promotions ADD CONSTRAINT model_promotions_status_check CHECK (status IN ('requested', 'pending_approval', 'approved',
  'applied', 'rejected', 'quarantined', 'remediation', 'expired', 'superseded', 'rolled_back'));
ALTER TABLE model_promotions ADD CONSTRAINT model_promotions_no_has_reason CHECK (status NOT IN ('quarantined', 'remediation') OR
  reason IS NOT NULL);
ALTER TABLE model_promotions ADD CONSTRAINT model_promotions_waits_for_something CHECK (status <> 'pending_approval' OR
  (decision IS NOT NULL AND manifest IS NOT NULL AND signature IS NOT NULL AND approvals_required IS NOT NULL AND pending_until IS NOT NULL));
CREATE INDEX model_promotions_waiting ON model_promotions (pending_until)
  WHERE pending_until IS NOT NULL AND status IN ('pending_approval', 'approved');
DROP TRIGGER fixed_columns ON model_promotions;
CREATE TRIGGER fixed_columns BEFORE UPDATE ON model_promotions FOR EACH ROW
  WHEN ((OLD.id, OLD.request_id, OLD.artifact_id, OLD.model, OLD.environment, OLD.evaluation::text, OLD.evaluation_kind,
        OLD.evaluation_digest, OLD.sequence_seen, OLD.follows, OLD.requested_by, OLD.asked_by, OLD.created_at)
    IS DISTINCT FROM (NEW.id, NEW.request_id, NEW.artifact_id, NEW.model, NEW.environment, NEW.evaluation::text, NEW.evaluation_kind,
        NEW.evaluation_digest, NEW.sequence_seen, NEW.follows, NEW.requested_by, NEW.asked_by, NEW.created_at))
  EXECUTE FUNCTION refuse_fixed_columns();
DROP TRIGGER moves ON model_promotions;
CREATE TRIGGER moves BEFORE UPDATE ON model_promotions FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION only_these_moves(
  'requested>pending_approval', 'requested>approved', 'requested>rejected', 'requested>quarantined', 'requested>remediation',
  'requested>superseded', 'pending_approval>approved', 'pending_approval>rejected', 'pending_approval>quarantined',
  'pending_approval>remediation', 'pending_approval>expired', 'pending_approval>superseded', 'approved>applied', 'approved>rejected',
  'approved>expired', 'approved>superseded', 'applied>rolled_back');

INSERT INTO aiinfra_migrations (name) VALUES ('004_gate');

COMMIT;
