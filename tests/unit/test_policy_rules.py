import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core.domain.promotion import Part, Stage
from aiinfra_core.policy import local, sample
from aiinfra_core.rules import judging, sandbox
from aiinfra_core.rules.document import Policy, Rule
from aiinfra_core.rules.judging import Outcome

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def policy(*rules: Rule | str, **fields: Any) -> Policy:
    named = [Rule(id=f"rule-{at}", expression=rule, reason="no") if isinstance(rule, str) else rule for at, rule in enumerate(rules)]
    return Policy.model_validate({"name": "tried", "version": "1", "allow_id": "yes", "deny_id": "no", "rules": named, **fields})


def said(expression: str, **inputs: Any) -> Outcome:
    """Return what one rule says, which has to be the same in this process and in the sandbox."""
    here = judging.judge(policy(expression), inputs, Stage.REQUEST)
    assert here == sandbox.judge(policy(expression), inputs, Stage.REQUEST, 10)
    return here[0]


@pytest.mark.parametrize(
    ("expression", "inputs"),
    [
        ("evaluation.metrics.quality >= 0.8", {"evaluation": {"metrics": {}}}),
        ("evaluation.metrics.quality >= 0.8", {"evaluation": None}),
        ("evaluation.metrics.quality >= 0.8", {}),
        ("evaluation.metrics.quality >= 0.8", {"evaluation": {"metrics": {"quality": None}}}),
        ("evaluation.metrics.quality >= 0.8", {"evaluation": {"metrics": {"quality": "0.9"}}}),
        ("evaluation.metrics.quality >= 0.8", {"evaluation": {"metrics": {"quality": True}}}),
        ("evaluation.metrics.quality >= 0.8", {"evaluation": {"metrics": {"quality": math.nan}}}),
        ("!(evaluation.metrics.quality < 0.8)", {"evaluation": {"metrics": {"quality": math.nan}}}),
        ("evaluation.metrics.quality >= 0.8", {"evaluation": {"metrics": {"quality": math.inf}}}),
        ('double("nan") >= 0.8', {}),
        ("!(0.0 / 0.0 < 0.8)", {}),
        ("1", {}),
        ("1.0", {}),
        ('"true"', {}),
        ("[true]", {}),
        ("null", {}),
        ("1 / 0 > 0", {}),
        ("9223372036854775807 + 1 > 0", {}),
        ("evaluations[0].kind == 'measured'", {"evaluations": []}),
        ('timestamp(now) > timestamp("yesterday")', {"now": "2026-06-01T12:00:00Z"}),
        ("nobody_knows(now)", {"now": "2026-06-01T12:00:00Z"}),
        ("scan.verdict", {"scan": {"verdict": "safe"}}),
        ("(((", {}),
    ],
)
def test_what_cannot_be_told_is_an_error_and_never_a_yes(expression: str, inputs: dict[str, Any]) -> None:
    outcome = said(expression, **inputs)
    assert (outcome.verdict, outcome.rule) == ("error", "rule-0")
    assert outcome.reason.startswith("It cannot be told whether rule-0 holds: ")


def test_a_number_may_be_whole_or_not() -> None:
    assert said("evaluation.metrics.quality >= 0.8", evaluation={"metrics": {"quality": 1}}).verdict == "yes"
    assert said("evaluation.metrics.quality >= 1", evaluation={"metrics": {"quality": 0.5}}).verdict == "no"


@given(JSON)
def test_only_a_value_that_is_exactly_true_is_a_yes(value: Any) -> None:
    outcome = judging.judge(policy("parameters.value"), {"parameters": {"value": value}}, Stage.REQUEST)[0]
    assert outcome.verdict == ("yes" if value is True else "no" if value is False else "error")


@given(JSON, JSON)
def test_a_comparison_is_a_yes_only_between_numbers(left: Any, right: Any) -> None:
    outcome = judging.judge(policy("parameters.left >= parameters.right"), {"parameters": {"left": left, "right": right}}, Stage.REQUEST)[0]
    numbers = all(isinstance(side, (int, float)) and not isinstance(side, bool) and math.isfinite(side) for side in (left, right))
    texts = isinstance(left, str) and isinstance(right, str)
    flags = isinstance(left, bool) and isinstance(right, bool)
    if outcome.verdict == "yes":
        assert left >= right
        assert numbers or texts or flags
    elif numbers:
        assert left < right


@given(st.lists(JSON, max_size=4))
def test_a_decision_is_a_yes_only_if_every_rule_is(values: list[Any]) -> None:
    names = [f"parameters.values[{at}]" for at in range(len(values))]
    decision = local.decide(policy("true", *names), {"parameters": {"values": values}}, Stage.REQUEST, 10)
    assert decision.allowed == all(value is True for value in values)
    assert decision.allowed == (decision.rule_id is None) == (decision.conditions is not None)


def test_the_first_rule_that_is_no_yes_is_named_with_its_reason() -> None:
    rules = [
        Rule(id="good", expression="true", reason="-"),
        Rule(id="bad", expression="evaluation.metrics.quality > 2", reason="Only {evaluation.metrics.quality} by {evaluation.kind}."),
        Rule(id="worse", expression="false", reason="-"),
    ]
    decision = local.decide(policy(*rules), sample.inputs(), Stage.REQUEST, 10)
    assert (decision.rule_id, decision.reason, decision.policy_id, decision.policy_version) == ("bad", "Only 0.93 by measured.", "no", "1")
    assert decision.policy_digest == policy(*rules).digest()


def test_what_is_missing_is_told_in_the_words_of_the_rule() -> None:
    rule = Rule(id="scanned", expression='scan.verdict == "safe"', reason="It is {scan.verdict}.", missing="Scan {artifact.model} first.")
    assert judging.judge(policy(rule), sample.inputs() | {"scan": None}, Stage.REQUEST)[0].reason == "Scan rainfall first."
    assert judging.judge(policy(rule), sample.inputs() | {"scan": {}}, Stage.REQUEST)[0].reason == "Scan rainfall first."
    unsafe = sample.inputs() | {"scan": {"verdict": "unsafe"}}
    assert judging.judge(policy(rule), unsafe, Stage.REQUEST)[0].reason == "It is unsafe."


def test_a_rule_of_stage_apply_is_judged_only_before_it_is_applied() -> None:
    late = Rule(id="late", expression="false", reason="late", stage=Stage.APPLY)
    assert local.decide(policy("true", late), {}, Stage.REQUEST, 10).allowed
    assert local.decide(policy("true", late), {}, Stage.APPLY, 10).rule_id == "late"
    assert not local.decide(policy(late), {}, Stage.REQUEST, 10).allowed


@pytest.mark.parametrize(
    ("part", "people", "verdict"),
    [
        (Part.TRAINER, {"requester": "ada", "trainer": "tom"}, "yes"),
        (Part.TRAINER, {"requester": "ada", "trainer": None}, "error"),
        (Part.TRAINER, {"requester": "ada", "asker": "tom", "trainer": "tom"}, "no"),
        (Part.TRAINER, {"requester": "ada", "asker": None, "trainer": "tom"}, "error"),
        (Part.TRAINER, {"requester": "Ada", "asker": "Ada", "trainer": "ada"}, "no"),
        (Part.TRAINER, {"requester": "ada", "trainer": "ada"}, "no"),
        (Part.EVALUATOR, {"requester": "ada", "evaluators": ["tom", "ada"]}, "no"),
        (Part.EVALUATOR, {"requester": "ada", "evaluators": []}, "yes"),
        (Part.REGISTRAR, {"requester": "ada"}, "error"),
        (Part.REGISTRAR, {"registrar": "tom"}, "error"),
    ],
)
def test_who_asks_may_have_to_be_somebody_else(part: Part, people: dict[str, Any], verdict: str) -> None:
    kept_apart = policy("true", requester_is_not=[part])
    here = judging.judge(kept_apart, {"people": people}, Stage.REQUEST)
    assert here == sandbox.judge(kept_apart, {"people": people}, Stage.REQUEST, 10)
    assert (here[-1].rule, here[-1].verdict) == (f"requester-is-not-{part}", verdict)
    assert local.decide(kept_apart, {"people": people}, Stage.REQUEST, 10).allowed == (verdict == "yes")
    assert "people" in judging.names_used(kept_apart)


def test_the_inputs_a_policy_can_look_at_are_known_beforehand() -> None:
    rule = Rule(id="a", expression='scan.verdict == "safe"', reason="{people.trainer}", missing="{drift}")
    assert judging.names_used(policy(rule)) == {"scan", "people", "drift", "parameters"}


def test_the_values_that_were_looked_at_are_kept_and_long_ones_shortened() -> None:
    inputs = sample.inputs() | {"evaluations": [{"kind": "measured"}] * 50}
    used = judging.judge(
        policy("size(evaluations) > 1 && environments['staging'].version == 3 && now.startsWith('2026')"), inputs, Stage.REQUEST
    )
    assert used[0].used == {"evaluations": "50 entries", "environments.staging.version": 3, "now": "2026-06-01T12:00:00Z"}
