"""What becomes of a promotion is an event of Prefect, and the automations that are shipped are about such events."""

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prefect.events.schemas.events import ReceivedEvent, ResourceSpecification

from aiinfra_core import artifact_store, registering
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.domain.promotion import PromotionRequest, PromotionStatus
from aiinfra_core.domain.rollout import RolloutStatus
from aiinfra_core.registry.rollout_moves import ENDS
from aiinfra_core.settings import Settings
from flows.promote import promote

SHIPPED = Path(__file__).parents[2] / "deployments" / "automations.yaml"


def _registered(settings: Settings, tmp_path: Path) -> Artifact:
    source = tmp_path / "model.txt"
    source.write_text("weights")
    kept = artifact_store.put(artifact_store.location(settings), source, f"uploads/{uuid4()}")
    asked = RegistrationRequest(model="rain", artifact_uri=kept.uri, checksum=kept.checksum, registered_by="rita")
    return registering.register(settings, asked)


def _events(api: str, artifact: Artifact) -> list[dict[str, Any]]:
    """Return what the server was told about an artifact's promotions, once it is there: Prefect tells it in the background."""
    wanted = {"filter": {"event": {"prefix": ["aiinfra.promotion."]}}, "limit": 50}
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = httpx.post(f"{api}/events/filter", json=wanted).json()["events"]
        if mine := [one for one in found if one["payload"]["artifactId"] == str(artifact.id)]:
            return mine
        time.sleep(0.2)
    return []


@pytest.mark.parametrize(("quality", "status"), [(0.9, PromotionStatus.APPLIED), (0.1, PromotionStatus.REJECTED)])
def test_what_became_of_a_promotion_is_an_event(
    settings: Settings, prefect_api: str, tmp_path: Path, quality: float, status: PromotionStatus
) -> None:
    artifact = _registered(settings, tmp_path)
    request = PromotionRequest(
        artifact="rain:1", environment="prod", evaluation={"quality": quality}, requested_by="paul", request_id="one"
    )
    for _ in range(2):
        promote(request, return_state=True)
    (told,) = _events(prefect_api, artifact)
    assert told["event"] == f"aiinfra.promotion.{status}"
    assert told["resource"]["aiinfra.environment"] == "prod"
    assert told["payload"]["artifact"] == "rain:1"
    refusals = [one for one in _shipped() if "refused" in one.name]
    assert [_is_about(one, told) for one in refusals] == [status is PromotionStatus.REJECTED]


def _shipped() -> list[AutomationCore]:
    return [AutomationCore.model_validate(one) for one in yaml.safe_load(SHIPPED.read_text())["automations"]]


def _is_about(automation: AutomationCore, told: dict[str, Any]) -> bool:
    trigger, event = automation.trigger, ReceivedEvent.model_validate(told)
    assert isinstance(trigger, EventTrigger)
    assert isinstance(trigger.match, ResourceSpecification)
    return event.event in trigger.expect and trigger.match.matches(event.resource)


def test_the_automations_that_are_shipped_name_statuses_there_are() -> None:
    known = {f"aiinfra.promotion.{status}" for status in PromotionStatus}
    known |= {"aiinfra.rollout.advanced", *(f"aiinfra.rollout.{status}" for status in ENDS), f"aiinfra.rollout.{RolloutStatus.COMPLETED}"}
    for automation in _shipped():
        assert isinstance(automation.trigger, EventTrigger)
        assert automation.trigger.expect <= known
