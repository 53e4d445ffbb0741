"""A pipeline that comes to where people have to agree: it ends, says how to agree, and goes on from there when it is run again."""

import time
from pathlib import Path
from typing import Any

import pytest
from prefect import State, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowRunFilter, FlowRunFilterParentFlowRunId

from aiinfra_core import approving, database
from aiinfra_core.approving.statements import Vouched
from aiinfra_core.registry import promotions
from aiinfra_core.settings import Settings
from flows.pipeline import pipeline
from flows.requests import PipelineRequest
from flows.settle import settle
from tests import factories

pytestmark = pytest.mark.usefixtures("prefect_api")
POLICY = """
name: somebody-agrees
version: "1"
answers: {allow: ok, deny: no-ok}
rules: [{id: quality, expression: evaluation.metrics.quality >= 0.8, reason: too low}]
environments:
  staging: {approvals: {roles: {approver: 1}}}
"""


def _shown(state: State[Any]) -> dict[str, str]:
    """Return what the subflows of a run show, by key."""
    with get_client(sync_client=True) as client:
        parent = FlowRunFilterParentFlowRunId(any_=[state.state_details.flow_run_id])
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=parent))
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id for run in runs]))
        return {str(one.key): str(one.data) for one in client.read_artifacts(artifact_filter=wanted)}


@pytest.mark.slow
def test_a_pipeline_ends_where_people_have_to_agree_and_goes_on_from_there(
    settings: Settings, code_ref: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    monkeypatch.setenv("AI_INFRA_POLICY", str(tmp_path / "policy.yaml"))
    monkeypatch.setenv("AI_INFRA_PUBLIC_URL", "https://registry.example/")
    request = PipelineRequest(spec=factories.training_spec(code_ref), requested_by="ada")
    state: State[Any] = pipeline(request, return_state=True)
    (waits,) = state.result().promotions
    assert (state.is_completed(), state.name, waits.environment, waits.status) == (True, "PendingApproval", "staging", "pending_approval")
    assert state.message is not None
    assert "it needs 1 as approver until" in state.message and f"aiinfra approve {waits.promotion_id}" in state.message

    with database.autocommit(settings) as connection:
        promotion = promotions.get(connection, waits.promotion_id)
    shown = _shown(state)
    page = f"https://registry.example/ai-infra/promotions/{promotion.id}/page"
    assert page in shown["rainfall-to-staging-approval-page"]
    assert f"[{page}]({page})" in shown["rainfall-to-staging-approval"]
    command = f"aiinfra approve {promotion.id} --manifest {promotion.manifest} --server https://registry.example"
    assert command in shown["rainfall-to-staging-approval"]

    grace = Vouched("grace", ("approver",), "https://id.example")
    approving.approve(settings, promotion.id, manifest=promotion.manifest or "", identity=grace)
    went_on = pipeline(request)
    assert [(one.environment, one.status) for one in went_on.promotions] == [("staging", "applied"), ("prod", "applied")]
    assert went_on.promotions[0].promotion_id == promotion.id


@pytest.mark.slow
def test_what_waited_too_long_is_ended_by_the_flow_that_settles(
    settings: Settings, code_ref: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY.replace("{roles: {approver: 1}}", "{roles: {approver: 1}, pending_hours: 0.0001}"))
    monkeypatch.setenv("AI_INFRA_POLICY", str(tmp_path / "policy.yaml"))
    (waits,) = pipeline(PipelineRequest(spec=factories.training_spec(code_ref), requested_by="ada")).promotions
    assert waits.status == "pending_approval"
    time.sleep(0.4)
    assert settle().promotions == {waits.promotion_id: "expired"}
    assert settle().promotions == {}
