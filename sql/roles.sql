-- The role every connection of the product takes on: it may add, and change state columns, and nothing else.
-- Repeatable: run it after each migration, as the owner of the tables, who needs CREATEROLE only the first time.

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'aiinfra_app') THEN
    CREATE ROLE aiinfra_app NOLOGIN;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL; -- somebody else made it at the same moment
END $$;

DO $$
BEGIN
  IF NOT pg_has_role(current_user, 'aiinfra_app', 'MEMBER') THEN
    EXECUTE format('GRANT aiinfra_app TO %I', current_user);
  END IF;
END $$;

DO $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO aiinfra_app', current_schema());
END $$;
GRANT SELECT ON aiinfra_migrations TO aiinfra_app;
GRANT SELECT, INSERT, DELETE ON request_ids, audit_outbox TO aiinfra_app;
GRANT SELECT, INSERT ON attestations, training_jobs, models, model_artifacts, evaluations, model_promotions, environment_pointers,
  audit_events TO aiinfra_app;
GRANT UPDATE (status, updated_at, started_at, finished_at, exit_code, error, artifact_uri, digest_kind, checksum, size_bytes, metrics,
  training_record_sha256, training_record_uri, log_uri, attestation) ON training_jobs TO aiinfra_app;
GRANT UPDATE (last_version) ON models TO aiinfra_app;
GRANT UPDATE (status, decision, reason, manifest, signature, signer_id, updated_at, applied_at, approvals_required, pending_until) ON model_promotions TO aiinfra_app;
GRANT UPDATE (sequence, promotion_id, artifact_id, updated_at, rollout_id, changes) ON environment_pointers TO aiinfra_app;
GRANT SELECT, INSERT ON audit_checkpoints TO aiinfra_app;
GRANT SELECT, INSERT ON audit_tiles TO aiinfra_app;
GRANT UPDATE (hashes) ON audit_tiles TO aiinfra_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON audit_deliveries, audit_dead_letters TO aiinfra_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON job_leases TO aiinfra_app;
GRANT SELECT, INSERT ON model_cards, imports, artifact_tombstones TO aiinfra_app;
GRANT SELECT, INSERT ON policies, policy_decisions, reproductions, artifact_scans, approvals, approval_withdrawals TO aiinfra_app;
GRANT SELECT, INSERT ON rollouts, canary_looks, rollout_orders, rollout_batches TO aiinfra_app;
GRANT UPDATE (status, step, weight, looks, frozen, reason, step_started_at, heard_at, looked_at, updated_at, ended_at) ON rollouts TO aiinfra_app;
GRANT SELECT, INSERT, UPDATE ON rollout_reporters, rollout_counts, rollout_units TO aiinfra_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON search_terms, search_metrics TO aiinfra_app;
GRANT SELECT ON search_inputs, search_scores TO aiinfra_app;
