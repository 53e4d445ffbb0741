"""What rules see, and the same seen again of the past: replaying a policy, and telling beforehand what would be decided."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from aiinfra_core import canonical_json, database, deciding, evaluating, simulating
from aiinfra_core.domain.promotion import Decision, Promotion, PromotionStatus
from aiinfra_core.registry import dossier, past_promotions, policy_decisions, policy_inputs
from aiinfra_core.registry.past_promotions import Which
from aiinfra_core.settings import Settings
from tests.simulators import approvers, policies
from tests.simulators.evaluation_script import evaluation_spec
from tests.simulators.exports import trained

BY_ITS_BYTES = 'at["--metrics"].write_text(json.dumps({"quality": 0.7 + sum(Path(inputs["model"]).read_bytes()) % 29 / 100}))'


def _story(settings: Settings, tmp_path: Path) -> tuple[Settings, Promotion]:
    """Promote two versions that both were measured by one spec, the second over the first."""
    under, spec = policies.under(settings, tmp_path), evaluation_spec(tmp_path / "code", BY_ITS_BYTES)
    champion, challenger = trained(settings, seed=1), trained(settings, seed=2)
    for one, who in ((champion, "eva"), (challenger, "emil")):
        evaluating.evaluate(settings, one.id, spec, recorded_by=who, on_output=print)
    assert policies.promote(under, champion, quality=None).status is PromotionStatus.APPLIED
    policies.promote(under, champion, "staging", quality=0.95)
    policies.promote(under, challenger, quality=0.2)
    return under, policies.promote(under, challenger, quality=None)


def test_rules_see_all_there_is_and_the_past_as_it_was(settings: Settings, tmp_path: Path) -> None:
    under, promotion = _story(settings, tmp_path)
    with database.transaction(settings) as tx:
        (kept,) = policy_decisions.of_promotion(tx, promotion.id)
    assert kept.inputs is not None
    seen = kept.inputs
    assert promotion.status is PromotionStatus.APPLIED
    assert (seen["provenance"]["kind"], seen["provenance"]["trainedBy"], seen["provenance"]["commit"]) == ("trained", "tess", "a" * 40)
    judged = seen["evaluation"]
    assert (judged["kind"], judged["source"], judged["recordedBy"], [one["name"] for one in judged["datasets"]]) == (
        "measured",
        "pipeline",
        "emil",
        ["days"],
    )
    assert [one["source"] for one in seen["evaluations"]][:1] == ["pipeline"]
    assert (seen["current"]["version"], seen["current"]["sequence"]) == (1, 1)
    comparison = seen["comparison"]
    assert comparison["specDigest"] == judged["specDigest"]
    difference = comparison["challenger"]["quality"] - comparison["champion"]["quality"]
    assert comparison["difference"] == {"quality": pytest.approx(difference)}
    assert (seen["reproduction"], seen["approvals"], seen["scan"]["verdict"]) == (None, [], "no_code")
    assert {name: place["version"] for name, place in seen["environments"].items()} == {"staging": 1, "prod": 1}
    assert seen["people"]["evaluators"] == ["emil"]
    assert (seen["people"]["trainer"], seen["requester"], seen["environment"], seen["stage"]) == ("tess", "paul", "prod", "request")
    then = _seen_of_the_past(under)
    for one, again in then:
        assert {**again, "now": ""} == {**one, "now": ""}
    assert len(then) == 4


def _seen_of_the_past(settings: Settings) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    with database.transaction(settings) as tx:
        pasts = past_promotions.page(tx, Which(), (datetime.min.replace(tzinfo=UTC), UUID(int=0)), 100)
        again = policy_inputs.gather(tx, [past.case for past in pasts], sorted(_INPUTS), settings.environments)
        kept = [policy_decisions.of_promotion(tx, past.id)[0].inputs or {} for past in pasts]
    named = [{name: value for name, value in one.items() if name != "parameters"} for one in kept]
    return [(one, json.loads(canonical_json.dumps(two))) for one, two in zip(named, again, strict=True)]


_INPUTS = {
    "provenance", "evaluations", "current", "comparison", "reproduction", "scan", "approvals", "environments", "people",
    "overrides", "tries",
}  # fmt: skip


def test_a_policy_replayed_over_its_own_past_changes_nothing_and_another_changes_what_it_names(settings: Settings, tmp_path: Path) -> None:
    under, promotion = _story(settings, tmp_path)
    told: list[tuple[str, int, int]] = []
    before = approvers.events(settings)
    same = simulating.simulate(under, Which(), lambda *progress: told.append(progress))
    assert (same.replayed, same.changed, [policy.name for policy in same.policies]) == (4, (), ["sees-everything"])
    assert told == [("promotions", 4, 4)]
    nothing_stood = policies.SEES_EVERYTHING.replace("evaluation.metrics.quality >= parameters.least", "current == null")
    other = simulating.simulate(policies.under(settings, tmp_path, nothing_stood), Which(environment="prod"), lambda *_: None)
    assert other.replayed == 3
    assert [(one.past.id, one.past.allowed, one.decision.allowed, one.decision.rule_id) for one in other.changed] == [
        (promotion.id, True, False, "scored")
    ]
    assert simulating.simulate(under, Which(model="nobody"), lambda *_: None).replayed == 0
    later = Which(since=datetime.now(UTC) + timedelta(hours=1))
    assert simulating.simulate(under, later, lambda *_: None).replayed == 0
    assert approvers.events(settings) == before


def test_what_is_previewed_is_what_is_decided_and_nothing_is_recorded(settings: Settings, tmp_path: Path) -> None:
    under, _ = _story(settings, tmp_path)
    before = approvers.events(settings)
    _, policy, answer = deciding.preview(under, "rainfall:1", "prod", "paul")
    assert approvers.events(settings) == before
    with database.transaction(settings) as tx:
        artifact = dossier.candidate(tx, "rainfall:1", "prod").artifact
    promotion = policies.promote(under, artifact, quality=None, request_id="again")
    assert promotion.decision is not None
    assert _without_values(promotion.decision) == _without_values(answer.decision)
    assert answer.decision.policy_digest == policy.digest()


def _without_values(decision: Decision) -> dict[str, Any]:
    """A decision without what depends on the moment."""
    rules = [(rule["id"], rule["verdict"], rule["reason"]) for rule in (decision.answer or {})["rules"]]
    return {**decision.model_dump(exclude={"answer"}), "rules": rules}
