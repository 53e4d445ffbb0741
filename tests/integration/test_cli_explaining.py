"""`aiinfra policy explain` and `simulate`: every rule with what it saw, and which decisions another policy would change."""

from pathlib import Path
from typing import Any

import pytest

from aiinfra_core.settings import Settings
from tests.simulators import approvers, command_line, policies
from tests.simulators.command_line import Run

installation, run = command_line.installation, command_line.run


@pytest.fixture
def version(installation: Settings) -> str:
    artifact = approvers.registered(installation)
    return f"{artifact.model}:{artifact.version}"


def test_what_would_be_decided_is_explained_rule_by_rule_and_nothing_is_recorded(installation: Settings, run: Run, version: str) -> None:
    explained = run(f"policy explain {version} --to production --requested-by paul")
    assert explained.code == 3
    assert f"{version} would be refused in prod if paul asked now; nothing was recorded." in explained.out
    assert "The evaluation has no quality score; at least 0.8 is required." in explained.out
    assert "evaluation.metrics.quality = null" in explained.out
    assert "evaluation.metrics.quality >= parameters.minimum_quality" in explained.out
    assert f"Next: aiinfra promote {version} --to prod" in explained.out
    said = run(f"policy explain {version} --to prod --json").json
    (decision,) = said["decisions"]
    assert (decision["allowed"], [rule["verdict"] for rule in decision["rules"]]) == (False, ["error", "error"])
    assert decision["inputs"]["parameters"] == {"minimum_quality": 0.8}
    assert "promotion.requested" not in approvers.events(installation)


def test_a_promotion_is_explained_by_what_was_kept(
    installation: Settings, run: Run, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promotion = run(f"promote {version} --to prod --metric quality=0.9 --json").json
    changed = policies.under(installation, tmp_path)
    monkeypatch.setenv("AI_INFRA_POLICY", str(changed.policy))
    explained = run(f"policy explain {promotion['id']}")
    assert (explained.code, explained.out.splitlines()[0]) == (0, f"{version} to prod: applied")
    assert "The quality score 0.9 is at least the required 0.8." in explained.out
    assert "evaluation.metrics.quality = 0.9" in explained.out
    (decision,) = run(f"policy explain {promotion['id']} --json").json["decisions"]
    assert (decision["gate"], decision["stage"], decision["policyId"]) == ("local", "request", "sentinel-allow")
    assert decision["inputs"]["evaluation"]["source"] == "caller"
    assert "where: --to ENVIRONMENT" in run("policy explain rainfall").error


def test_another_policy_is_replayed_over_the_past(installation: Settings, run: Run, version: str, tmp_path: Path) -> None:
    for quality in (0.4, 0.6, 0.9):
        run(f"promote {version} --to staging --metric quality={quality}")
    assert "3 past promotions replayed with default 1: 3 would be decided as they were" in run("policy simulate").out
    file = policies.under(installation, tmp_path).policy
    replayed = run(f"policy simulate --policy {file} --environment staging --model rainfall")
    assert "2 would be decided as they were, 0 would be refused, 1 would be allowed." in replayed.out
    said: dict[str, Any] = run(f"policy simulate --policy {file} --json").json
    assert (said["replayed"], said["same"], [one["name"] for one in said["policies"]]) == (3, 2, ["sees-everything"])
    (changed,) = said["changed"]
    assert (changed["was"], changed["wouldBe"], changed["gate"], changed["environment"]) == (False, True, "local", "staging")
    assert run("policy simulate --since 2999-01-01 --json").json["replayed"] == 0
    assert run("policy simulate --since yesterday").code == 2
    assert run("policy simulate --policy nobody").code == 6
