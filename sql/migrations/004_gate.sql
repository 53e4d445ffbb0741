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
ALTER TABLE evaluations ADD CONSTRAINT evaluations_spec_is_named CHECK ((spec IS NULL) = (spec_digest IS NULL));
ALTER TABLE evaluations ADD CONSTRAINT evaluations_spec_is_measured CHECK (spec IS NULL OR kind = 'measured');

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
ALTER TABLE model_promotions DROP CONSTRAINT model_promotions_status_check;
ALTER TABLE model_promotions ADD CONSTRAINT model_promotions_status_check CHECK (status IN ('requested', 'pending_approval', 'approved',
  'applied', 'rejected', 'quarantined', 'remediation', 'expired', 'superseded', 'rolled_back'));
ALTER TABLE model_promotions ADD CONSTRAINT model_promotions_no_has_reason CHECK (status NOT IN ('quarantined', 'remediation') OR
  reason IS NOT NULL);
ALTER TABLE model_promotions ADD CONSTRAINT model_promotions_waits_for_something CHECK (status <> 'pending_approval' OR
  (decision IS NOT NULL AND manifest IS NOT NULL AND signature IS NOT NULL AND approvals_required IS NOT NULL AND pending_until IS NOT NULL));
CREATE INDEX model_promotions_waiting ON model_promotions (pending_until) WHERE status = 'pending_approval';
DROP TRIGGER moves ON model_promotions;
CREATE TRIGGER moves BEFORE UPDATE ON model_promotions FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION only_these_moves(
  'requested>pending_approval', 'requested>approved', 'requested>rejected', 'requested>quarantined', 'requested>remediation',
  'requested>superseded', 'pending_approval>approved', 'pending_approval>rejected', 'pending_approval>quarantined',
  'pending_approval>remediation', 'pending_approval>expired', 'pending_approval>superseded', 'approved>applied', 'approved>rejected',
  'approved>expired', 'approved>superseded', 'applied>rolled_back');

INSERT INTO aiinfra_migrations (name) VALUES ('004_gate');

COMMIT;
