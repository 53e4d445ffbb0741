"""The whole way of a model through the flows, against a real Prefect server, database, store and signatures."""

import base64
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from prefect import State, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.logging.handlers import APILogHandler
from sqlalchemy import select

from aiinfra_core import database, verifying
from aiinfra_core.domain.promotion import PromotionRequest, PromotionStatus
from aiinfra_core.errors import EvidenceBroken, TrainingFailed, Unavailable
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings
from aiinfra_core.tables import attestations, model_promotions
from flows.outcomes import PipelineOutcome, PromotionOutcome, VerificationOutcome
from flows.pipeline import pipeline
from flows.promote import promote
from flows.register import register
from flows.requests import PipelineRequest, TrainingRequest
from flows.train import train
from flows.verify import verify
from tests import factories
from tests.simulators import kms_proxy, sentinelnet
from tests.simulators.scripted_server import answers, unused_url
from tests.simulators.whole_state import whole_state

pytestmark = pytest.mark.usefixtures("prefect_api")


def _request(code_ref: str, **changes: Any) -> PipelineRequest:
    return PipelineRequest(spec=factories.training_spec(code_ref), requested_by="ada", **changes)


def _ended(flow: Any, *arguments: Any) -> State[Any]:
    state: State[Any] = flow(*arguments, return_state=True)
    return state


def _run_id(state: State[Any]) -> UUID:
    assert state.state_details.flow_run_id is not None
    return state.state_details.flow_run_id


def test_a_good_model_goes_from_training_to_prod_signed_and_with_its_provenance(settings: Settings, code_ref: str) -> None:
    outcome = pipeline(_request(code_ref))
    assert [(one.environment, one.status) for one in outcome.promotions] == [("staging", "applied"), ("prod", "applied")]
    assert (outcome.registered.model, outcome.registered.version, outcome.registered.signer_id) == ("rainfall", 1, "test")
    artifact, steps = verifying.verify_model(settings, "rainfall@prod")
    assert artifact.id == outcome.registered.artifact_id
    assert [step for step in steps if not step.passed] == []
    with database.transaction(settings) as tx:
        events = list(tx.execute(select(audit_events.c.event_type).order_by(audit_events.c.seq)).scalars())
        predicates = set(tx.execute(select(attestations.c.predicate_type)).scalars())
    first = ["promotion.requested", "policy.adopted", "policy.decision", "promotion.approved", "promotion.applied"]
    second = [event for event in first if event != "policy.adopted"]
    training = ["training.requested", "training.started", "training.completed"]
    assert events == [*training, "artifact.registered", "artifact.scanned", "evaluation.recorded", *first, *second]
    assert {"https://slsa.dev/provenance/v1", "https://slsa.dev/verification_summary/v1"} <= predicates


@pytest.mark.slow
def test_the_pipeline_run_twice_does_nothing_twice(settings: Settings, code_ref: str) -> None:
    first = pipeline(_request(code_ref))
    before = whole_state(settings)
    assert pipeline(_request(code_ref)) == first
    assert whole_state(settings) == before


def test_a_weak_model_is_refused_on_the_record_and_prod_is_never_asked(settings: Settings, tmp_path: Path) -> None:
    state = _ended(pipeline, _request(factories.make_training_repository(tmp_path / "weak", quality=0.6)))
    assert (state.is_completed(), state.name) == (True, "Rejected")
    assert state.message is not None
    assert "0.6" in state.message
    outcome: PipelineOutcome = state.result()
    assert [(one.environment, one.status) for one in outcome.promotions] == [("staging", PromotionStatus.REJECTED)]
    with database.transaction(settings) as tx:
        (row,) = tx.execute(select(model_promotions)).mappings()
    assert (row["environment"], row["status"], row["signature"], '"allowed":false' in row["decision"]) == (
        "staging",
        "rejected",
        None,
        True,
    )


def test_a_training_that_fails_fails_the_run_with_its_reason(code_ref: str) -> None:
    request = PipelineRequest(spec=factories.training_spec(code_ref, entry_point="fail.py"), requested_by="ada")
    state = _ended(pipeline, request)
    assert state.is_failed()
    assert state.message is not None
    assert "the data has no rows" in state.message
    with pytest.raises(TrainingFailed, match="the data has no rows"):
        pipeline(request)


def test_an_unknown_environment_is_found_before_anything_is_trained(settings: Settings, code_ref: str) -> None:
    state = _ended(pipeline, _request(code_ref, environments=("staging", "moon")))
    assert state.is_failed()
    assert state.message is not None
    assert "known are staging, prod" in state.message
    assert whole_state(settings)["training_jobs"] == []


@pytest.mark.slow
def test_a_gate_that_is_down_fails_the_run_and_a_rerun_succeeds_when_it_is_back(
    code_ref: str, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setenv("AI_INFRA_SENTINEL_URL", unused_url())
    state = _ended(pipeline, _request(code_ref))
    assert state.is_failed()
    assert state.message is not None
    assert "unavailable:sentinelnet" in state.message
    with pytest.raises(Unavailable):
        pipeline(_request(code_ref))
    with sentinelnet.serve(sentinelnet.judges(0.8)) as gate:
        monkeypatch.setenv("AI_INFRA_SENTINEL_URL", gate.url)
        assert pipeline(_request(code_ref)).status is PromotionStatus.APPLIED
    with database.transaction(settings) as tx:
        statuses = sorted(tx.execute(select(model_promotions.c.status)).scalars())
    assert statuses == ["applied", "applied", "rejected", "rejected"]


@pytest.mark.slow
def test_production_is_another_word_for_prod(code_ref: str) -> None:
    pipeline(_request(code_ref, environments=("staging",)))
    state = _ended(promote, PromotionRequest(artifact="rainfall@staging", environment="production", requested_by="rita"))
    assert state.name == "Completed"
    outcome: PromotionOutcome = state.result()
    assert (outcome.environment, outcome.version, outcome.status) == ("prod", 1, PromotionStatus.APPLIED)


def _kms(monkeypatch: pytest.MonkeyPatch, url: str, key: Ed25519PrivateKey) -> None:
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    monkeypatch.delenv("AI_INFRA_SIGNER_KEY_B64")
    monkeypatch.delenv("AI_INFRA_SIGNER_ID")
    monkeypatch.setenv("AI_INFRA_KMS_ENDPOINT", url)
    monkeypatch.setenv("AI_INFRA_KMS_PUBLIC_KEY_B64", base64.b64encode(public).decode())


def _times_run(state: State[Any], task: str) -> int:
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [_run_id(state)]}))
    (run,) = [run for run in runs if run.name.startswith(task)]
    return run.run_count


def test_a_task_is_tried_again_when_a_required_part_was_away_for_a_moment(code_ref: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key, away = Ed25519PrivateKey.generate(), answers(503)
    # The core itself asks three times; only then the task fails and is run again.
    with kms_proxy.serve(away, away, away, kms_proxy.signs(key)) as kms:
        _kms(monkeypatch, kms.url, key)
        state = _ended(train, TrainingRequest(spec=factories.training_spec(code_ref), requested_by="ada"))
    assert state.is_completed()
    assert _times_run(state, "run_training") == 2


def test_a_task_is_not_tried_again_when_it_cannot_help(code_ref: str, settings: Settings) -> None:
    trained = train(TrainingRequest(spec=factories.training_spec(code_ref), requested_by="ada"))
    request = {
        "model": "rainfall",
        "artifact_uri": f"{settings.artifact_root}/nothing",
        "checksum": trained.checksum,
        "registered_by": "ada",
    }
    state: State[Any] = register(request, return_state=True)  # as the API and the UI send it
    assert state.is_failed()
    assert _times_run(state, "register_artifact") == 1


def test_a_verification_that_finds_nothing_says_what_it_checked(code_ref: str) -> None:
    pipeline(_request(code_ref))
    outcome: VerificationOutcome = verify("rainfall:1")
    assert outcome.events == 15
    assert {"registration", "training", "bytes", "current in prod"} <= set(outcome.checks)
    assert verify() == outcome.model_copy(update={"checks": ()})


def test_a_changed_artifact_fails_the_verification_and_the_place_is_named(code_ref: str, settings: Settings) -> None:
    pipeline(_request(code_ref))
    (stored,) = (Path(str(settings.artifact_root).removeprefix("file://")) / "artifacts").rglob("*.model")
    file = stored if stored.is_file() else next(stored.iterdir())
    file.chmod(0o644)
    file.write_bytes(file.read_bytes().replace(b"0.9", b"0.8"))
    state = _ended(verify, "rainfall")
    assert state.is_failed()
    assert state.message is not None
    assert "bytes: " in state.message
    assert verify().events == 15


@pytest.mark.slow
def test_a_changed_row_fails_the_verification_and_the_place_is_named(code_ref: str, settings: Settings) -> None:
    pipeline(_request(code_ref))
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url.get_secret_value()) as owner:
        owner.execute("ALTER TABLE model_artifacts DISABLE TRIGGER USER")
        owner.execute("UPDATE model_artifacts SET registered_by = 'eve'")
    with pytest.raises(EvidenceBroken, match=r"model_artifacts .*registered_by"):
        verify()


def _artifacts(state: State[Any]) -> list[tuple[str | None, str | None, str]]:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[_run_id(state)])))
    return [(artifact.type, artifact.key, str(artifact.data)) for artifact in found]


def _names(state: State[Any]) -> set[str]:
    below = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[_run_id(state)]))
    with get_client(sync_client=True) as client:
        return {client.read_flow_run(_run_id(state)).name, *(run.name for run in client.read_flow_runs(flow_run_filter=below))}


@pytest.mark.slow
def test_the_runs_are_named_after_model_version_and_environment(code_ref: str) -> None:
    state = _ended(pipeline, _request(code_ref))
    assert _names(state) == {"rainfall to staging, prod", "rainfall", "rainfall:1", "rainfall:1 to staging", "rainfall:1 to prod"}


def test_a_training_shows_its_progress_its_scores_and_where_its_bytes_are(code_ref: str) -> None:
    state = _ended(train, TrainingRequest(spec=factories.training_spec(code_ref), requested_by="ada"))
    shown = _artifacts(state)
    assert {(kind, key) for kind, key, _ in shown} == {
        ("progress", "training-progress"),
        ("markdown", "rainfall-training"),
        ("table", "rainfall-metrics"),
        ("markdown", "rainfall-artifact"),
    }
    content = {key: data for _, key, data in shown}
    assert float(content["training-progress"]) == 100
    assert "quality" in content["rainfall-metrics"]
    assert ".model" in content["rainfall-artifact"]


def test_a_promotion_shows_digest_signer_decision_and_how_to_verify_it(code_ref: str) -> None:
    outcome = pipeline(_request(code_ref, environments=("staging",)))
    state = _ended(promote, PromotionRequest(artifact="rainfall:1", environment="prod", requested_by="rita"))
    content = {key: data for _, key, data in _artifacts(state)}
    summary = content["rainfall-to-prod"]
    for said in (outcome.registered.checksum, "| signer | test |", "| decision | yes", "aiinfra verify rainfall:1"):
        assert said in summary
    assert {"rainfall-to-prod-metrics", "rainfall-artifact"} <= content.keys()


@pytest.mark.slow
def test_what_a_training_prints_is_in_the_log_of_the_run(code_ref: str) -> None:
    state = _ended(train, TrainingRequest(spec=factories.training_spec(code_ref), requested_by="ada"))
    assert "step 3 of 4" in _log(_run_id(state))


def _log(run: UUID) -> str:
    APILogHandler().flush()
    with get_client(sync_client=True) as client:
        logs = client.read_logs(log_filter=LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])), limit=200)
    return "\n".join(log.message for log in logs)


def test_no_secret_is_in_anything_prefect_keeps(
    code_ref: str, environment: dict[str, str], prefect_api: str, prefect_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = f"pw{uuid4().hex}"
    state = _ended(pipeline, _request(code_ref))
    monkeypatch.setenv("AI_INFRA_DATABASE_URL", f"postgresql://nobody:{password}@127.0.0.1:1/nothing")
    monkeypatch.setattr(verify_history_task(), "retries", 0)
    broken = _ended(verify)
    assert broken.is_failed()
    for run in (_run_id(state), _run_id(broken)):
        _log(run)
    seen = httpx.post(f"{prefect_api}/flow_runs/filter", json={"limit": 200}).text
    seen += httpx.post(f"{prefect_api}/task_runs/filter", json={"limit": 200}).text
    seen += httpx.post(f"{prefect_api}/artifacts/filter", json={"limit": 200}).text
    assert str(_run_id(state)) in seen
    kept = b"".join(path.read_bytes() for path in (prefect_home / "prefect").glob("prefect.db*")) + seen.encode()
    assert str(_run_id(broken)).encode() in kept
    for secret in (environment["AI_INFRA_SIGNER_KEY_B64"], password):
        assert secret.encode() not in kept


def verify_history_task() -> Any:
    """Return the task, to be run once only."""
    from tasks import verification

    return verification.verify_history
