"""What a policy has to say where a model goes back: by rules of its own, with people of its own, and the others are not asked."""

from typing import Any

import pytest
from pydantic.alias_generators import to_camel

from aiinfra_core.domain.promotion import Conditions, Decision, Part, Stage
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalSpec
from aiinfra_core.errors import BadInput
from aiinfra_core.policy import local, policy_file, sample
from aiinfra_core.rules import rollout_views
from aiinfra_core.rules.document import Policy

HEAD = "name: tried\nversion: '1'\n"
RULES = """
rules:
  - {id: scored, expression: evaluation.metrics.quality > 0.5, reason: too low}
  - {id: no-friday, on: both, expression: 'environment != "staging"', reason: not there}
  - {id: not-far, on: rollback, expression: rollback.fromVersion - rollback.toVersion == 1, reason: 'to {rollback.toVersion} is too far'}
"""
BACK = rollout_views.rollback("the coast is gone", 3, 2)


def policy(text: str, environment: str = "prod") -> Policy:
    data = (HEAD + text).encode()
    return policy_file.effective(policy_file.read(data, "p.yaml"), data, environment, "rainfall", {})


def decided(of: Policy, **inputs: Any) -> Decision:
    return local.decide(of, sample.merged(sample.inputs(), inputs), Stage.REQUEST, 5)


def test_rules_are_about_promotions_unless_they_say_otherwise() -> None:
    ours = policy(RULES)
    low = {"evaluation": {"metrics": {"quality": 0.1}}}
    assert decided(ours, **low).rule_id == "scored"
    assert decided(ours, **low, rollback=BACK).allowed
    assert decided(ours, rollback=None).allowed
    far = decided(ours, rollback=BACK | {"fromVersion": 9})
    assert (far.rule_id, far.reason) == ("not-far", "to 2 is too far")
    assert {decided(ours, environment="staging", rollback=back).rule_id for back in (None, BACK)} == {"no-friday"}


def test_what_has_no_rule_about_going_back_does_not_stand_in_the_way_and_a_promotion_without_one_is_refused() -> None:
    ours = policy("rules:\n  - {id: scored, stage: apply, expression: evaluation.metrics.quality > 0.5, reason: too low}\n")
    back = decided(ours, evaluation=None, rollback=BACK)
    assert (back.allowed, "no rule about that" in back.reason) == (True, True)
    assert not decided(ours).allowed
    assert (ours.is_judged_at_the_end(rollback=False), ours.is_judged_at_the_end(rollback=True)) == (True, False)


def test_whoever_trained_a_model_may_take_it_back() -> None:
    ours = policy(RULES + "separation_of_duties: {requester_is_not: [trainer], approver_is_not: [trainer]}\n")
    toms = {"requester": "tom", "people": {"requester": "tom", "asker": "tom"}}
    assert decided(ours, **toms).rule_id == "requester-is-not-trainer"
    assert decided(ours, **toms, rollback=BACK).allowed


def test_going_back_asks_nobody_unless_the_policy_has_people_for_it() -> None:
    people = "approvals: {roles: {security: 2}}\nseparation_of_duties: {approver_is_not: [trainer]}\n"
    silent = policy(RULES + people)
    assert decided(silent, rollback=BACK).conditions == Conditions(approver_is_not=(Part.TRAINER,))
    asks = policy(RULES + people + "environments:\n  prod: {rollback: {approvals: {roles: {on-call: 1}, pending_hours: 2}}}\n")
    expected = Conditions(approvals={"on-call": 1}, pending_hours=2, approver_is_not=(Part.TRAINER,))
    assert decided(asks, rollback=BACK).conditions == expected
    asked = decided(asks).conditions
    assert asked is not None
    assert asked.approvals == {"security": 2}


def test_a_policy_that_says_nothing_of_rollbacks_has_the_digest_it_had_before_there_were_any() -> None:
    old = policy("rules:\n  - {id: scored, expression: 'evaluation.metrics.quality > 0.5', reason: too low}\n")
    assert old.document() == (
        b'{"allowId":"tried-allow","conditions":{"approvalHours":168,"approvals":{},"approverIsNot":[],"pendingHours":72},'
        b'"denyId":"tried-deny","format":"urn:ai-infra:policy:v1","name":"tried","parameters":{},"requesterIsNot":[],"rules":[{"expression":'
        b'"evaluation.metrics.quality > 0.5","holds":null,"id":"scored","missing":null,"reason":"too low","stage":"request"}],'
        b'"sourceDigest":"' + (old.source_digest or "").encode() + b'","version":"1"}'
    )
    digests = {old.digest(), policy(RULES).digest(), policy(RULES + "rollback: {approvals: {roles: {on-call: 1}}}\n").digest()}
    assert len(digests) == 3
    again = policy(RULES + "rollback: {approvals: {roles: {on-call: 1}}}\n")
    assert Policy.model_validate_json(again.document()).digest() == again.digest()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (RULES.replace("on: both", "on: neither"), "rules.1.on"),
        (RULES + "rollback: {approvals: {roles: {on-call: 0}}}\n", "rollback.approvals.roles.on-call"),
        (RULES + "rollback: {rules: []}\n", "rollback.rules"),
        ("rules:\n  - {id: a, on: rollback, expression: 'true', reason: r}\n", "no rule is left"),
    ],
)
def test_what_is_wrong_about_rollbacks_is_named(text: str, problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        policy(text)


def test_nothing_that_a_rollout_may_say_is_kept_from_rules() -> None:
    seen, sampled = rollout_views.rollout(RolloutSpec(salt="once-more")), sample.inputs()["rollout"]
    assert seen is not None
    shown = {to_camel(name) for name in RolloutSpec.model_fields} - {"salt"}
    assert seen.keys() == shown | {"saltGiven", "digest", "fromOperator"}
    assert {name for one in seen["signals"] for name in one} == {to_camel(name) for name in SignalSpec.model_fields} - {"query"}
    assert (sampled.keys(), sampled["signals"][0].keys()) == (seen.keys(), seen["signals"][0].keys())
    assert (seen["saltGiven"], sampled | {"digest": "", "saltGiven": True, "fromOperator": False}) == (True, seen | {"digest": ""})


def test_rules_see_by_what_a_promotion_is_to_earn_its_traffic() -> None:
    spec = RolloutSpec(weights=(2.5, 100), margin=2)
    seen = rollout_views.rollout(spec)
    assert seen is not None
    assert (seen["weights"], seen["unit"], seen["digest"]) == ([2.5, 100.0], "request", spec.digest())
    assert [(one["name"], one["margin"]) for one in seen["signals"]] == [("errors", 2.0), ("latency", 2.0)]
    assert seen["fromOperator"] is False
    assert rollout_views.rollout(spec, from_operator=True) == seen | {"fromOperator": True}
    assert rollout_views.rollout(None) is rollout_views.rollout(RolloutSpec(weights=(100,))) is None
    ours = policy("rules:\n  - {id: slowly, expression: 'rollout.weights[0] <= 10', reason: '{rollout.weights}', missing: at once}\n")
    verdicts = [decided(ours, rollout=told) for told in (seen, seen | {"weights": [50, 100]}, None)]
    assert [(one.allowed, one.reason) for one in verdicts[1:]] == [(False, "[50, 100]"), (False, "at once")]
    assert verdicts[0].allowed
