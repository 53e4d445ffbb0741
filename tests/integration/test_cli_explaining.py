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
    assert explained.out.splitlines()[-1] == f"Next: aiinfra models show {version}"
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


def test_each_rule_is_a_block_of_short_lines(installation: Settings, run: Run, version: str, tmp_path: Path) -> None:
    run(f"promote {version} --to prod --metric quality=0.9")
    file = policies.under(installation, tmp_path).policy
    lines = run(f"policy explain {version} --to prod --policy {file}").out.splitlines()
    first, second = (lines.index(f"Rule {rule}") for rule in ("scored", "looks-at-everything"))
    assert [line.split()[0] for line in lines[first + 1 : second]] == ["says", "why", "saw", "parameters.least", "expression"]
    seen = [line.strip() for line in lines[second:] if " = " in line]
    assert any(line.removeprefix("saw").strip().startswith("current = {") and line.endswith("…") for line in seen)
    assert max(map(len, seen)) < 200


def test_a_policy_that_is_not_in_force_can_be_tried_on_what_could_be_promoted(
    installation: Settings, run: Run, version: str, tmp_path: Path
) -> None:
    file = policies.under(installation, tmp_path, policies.SEES_EVERYTHING.replace(">= parameters.least", "!= 7 || true")).policy
    allowed = run(f"policy explain {version} --to prod --policy {file}")
    assert (allowed.code, "sees-everything 1" in allowed.out, "Next:" in allowed.out) == (0, True, False), allowed.out
    assert run(f"policy explain {version} --to prod").code == 3
    assert "promotion.requested" not in approvers.events(installation)
    promotion = run(f"promote {version} --to prod --metric quality=0.9 --json").json["id"]
    refused = run(f"policy explain {promotion} --policy {file}")
    assert (refused.code, "--to ENVIRONMENT" in refused.error) == (2, True)
    assert run(f"policy explain {version} --to prod --policy nobody").code == 2


def test_no_claim_is_advised_where_another_policy_than_the_default_decides(
    installation: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.json").write_text("[1]")
    assert run(f"register --model rain {tmp_path / 'one.json'}").out.splitlines()[-1].endswith("--to staging --metric quality=SCORE")
    monkeypatch.setenv("AI_INFRA_POLICY", str(policies.under(installation, tmp_path).policy))
    (tmp_path / "two.json").write_text("[2]")
    assert run(f"register --model rain {tmp_path / 'two.json'}").out.splitlines()[-1] == "Next: aiinfra policy explain rain:2 --to staging"
    promoted = run("promote rain:2 --to staging --metric quality=0.9")
    assert (promoted.code, promoted.out.splitlines()[-1]) == (0, "Next: aiinfra promote rain:2 --to prod")
    refused = run("promote rain:2 --to prod")
    assert (refused.code, refused.out.splitlines()[-1].startswith("Next: aiinfra policy explain ")) == (3, True)


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
    for nowhere in ("nobody", "nope.yaml"):
        missing = run(f"policy simulate --policy {nowhere}")
        assert (missing.code, f"{nowhere} cannot be read" in missing.error) == (2, True)
