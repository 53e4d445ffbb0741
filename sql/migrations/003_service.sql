-- What the service needs: who runs a job now, what people say about a model, what came from elsewhere, whose bytes were removed.

BEGIN;

DO $$
DECLARE
  taken text;
BEGIN
  SELECT string_agg(name, ', ') INTO taken FROM unnest(ARRAY['job_leases', 'model_cards', 'imports', 'artifact_tombstones'])
    AS name WHERE to_regclass(name) IS NOT NULL;
  IF taken IS NOT NULL THEN
    RAISE EXCEPTION 'this database already has tables that are not ours: %; use an empty database', taken;
  END IF;
END $$;

-- Jobs -----------------------------------------------------------------------------------------------------------------------------

-- Who runs a job now and until when; how often it was begun; which Prefect run does it. It says how far work has come and proves nothing.
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

-- Cards ----------------------------------------------------------------------------------------------------------------------------

-- What people say about a model (version is NULL) or a version of it: each row replaces the one before, and all of them stay.
CREATE TABLE model_cards (
  id           uuid PRIMARY KEY,
  model        text NOT NULL REFERENCES models (name),
  version      integer,
  description  text NOT NULL,
  tags         json NOT NULL,
  card         text NOT NULL,
  written_by   text NOT NULL,
  created_at   timestamptz NOT NULL,
  FOREIGN KEY (model, version) REFERENCES model_artifacts (model, version)
);
CREATE INDEX model_cards_newest ON model_cards (model, version, created_at DESC);
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
  attestation  text NOT NULL REFERENCES attestations (digest),
  pruned_by    text NOT NULL,
  created_at   timestamptz NOT NULL
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON artifact_tombstones FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON artifact_tombstones EXECUTE FUNCTION refuse_change();

-- Search ---------------------------------------------------------------------------------------------------------------------------

INSERT INTO aiinfra_migrations (name) VALUES ('003_service');

COMMIT;
