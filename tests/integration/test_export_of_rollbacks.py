"""A rollback in an export: a promotion that says so, judged again by the rules about rollbacks and no others."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiinfra_core import canonical_json, rolling_back
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.domain.rollout import RollbackRequest
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence.verification import recorded_inputs, records
from aiinfra_core.evidence.verification.report import Step
from aiinfra_core.evidence.verification.story import Story
from aiinfra_core.settings import Settings
from tests.simulators.exports import checked, exported, installation, problems, promoted, trained

POLICY = """
name: tried
version: "1"
rules:
  - {id: only-forward, expression: current == null || current.version < artifact.version, reason: that is older than what is current}
  - {id: one-at-a-time, on: rollback, expression: rollback.fromVersion - rollback.toVersion == 1, reason: too far}
"""


@pytest.fixture(scope="module")
def story(postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Give the export of a model that went back, as it verified."""
    folder = tmp_path_factory.mktemp("rollbacks")
    (policy := folder / "policy.yaml").write_text(POLICY)
    with installation(postgres_server, migrated_template, folder) as made:
        settings: Settings = made.model_copy(update={"policy": str(policy)})
        for seed in (1, 2):
            promoted(settings, trained(settings, seed=seed))
        asked = RollbackRequest(model="rainfall", environment="prod", reason="it lost the coast", requested_by="olga")
        assert rolling_back.roll_back(settings, asked).status is PromotionStatus.APPLIED
        assert settings.trust_root is not None
        report = checked(exported(settings, "rainfall@prod", folder / "out"), settings.trust_root)
        assert problems(report) == []
        assert report.steps[7].found == "each policy is here as named (1); its rules were judged again (promotions: 3)"
        assert report.story is not None
        yield report.story


@pytest.mark.parametrize(
    "edit",
    [
        lambda it: it.pop("rollback"),
        lambda it: it.update(rollback=None),
        lambda it: it["rollback"].update(reason="nobody liked it"),
        lambda it: it["rollback"].update(fromVersion=3),
        lambda it: it["rollback"].update(toVersion=2),
        lambda it: it["rollback"].update(more=1),
    ],
)
def test_what_rules_saw_of_a_rollback_is_what_is_proven(story: Story, edit: Callable[[dict[str, Any]], object]) -> None:
    manifest = story.manifests()[-1]
    assert manifest.said.rollback
    (entry,) = story.answers(manifest.said.promotion_id)
    inputs = canonical_json.loads(story.value(entry.row("policy_decisions")["inputs"]) or "")
    registered = records.check_inputs(story, Step(8))
    recorded_inputs.check(story, manifest, registered, entry, inputs)
    edit(inputs)
    with pytest.raises(EvidenceBroken, match="the rollback that the rules saw"):
        recorded_inputs.check(story, manifest, registered, entry, inputs)
