import math
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aiinfra_core import canonical_json
from aiinfra_core.domain.promotion import Decision, Stage
from aiinfra_core.errors import Misconfigured
from aiinfra_core.evidence import claims
from aiinfra_core.policy import files, gate, local
from aiinfra_core.policy.question import Question
from aiinfra_core.settings import Settings


def question(evaluation: dict[str, Any]) -> Question:
    return Question(
        request_id="promote-1",
        actor="ada",
        artifact_id=UUID(int=1),
        model="rainfall",
        version=3,
        digest="ab" * 32,
        environment="prod",
        evaluation=evaluation,
        promotion_id=UUID(int=2),
    )


def decided(evaluation: dict[str, Any] | None, minimum: float = 0.8) -> Decision:
    settings = Settings.model_validate({"home": "/nowhere", "min_promo_score": minimum})
    policy = files.load(settings, "prod", "rainfall")
    inputs = {"evaluation": evaluation and {"metrics": evaluation}, "parameters": policy.parameters}
    return local.decide(policy, inputs, Stage.REQUEST, 10)


@pytest.mark.parametrize(
    ("quality", "allowed"),
    [
        (0.8, True),
        (1, True),
        (0.79999999999999, False),
        (0, False),
        (-1, False),
        ("0.8", False),
        ("0.7999", False),
        ("-0.9", False),
        ("0.9", False),
        ("NaN", False),
        ("nan", False),
        ("inf", False),
        ("Infinity", False),
        ("1e999", False),
        ("", False),
        (" 0.9", False),
        ("0.9\n", False),
        ("0_9", False),
        ("+0.9", False),
        (".9", False),
        ("\u0660.\u0669", False),
        ("high", False),
        (True, False),
        (None, False),
        ([0.9], False),
        ({"value": 0.9}, False),
    ],
)
def test_only_a_finite_number_that_reaches_the_minimum_is_a_yes(quality: Any, allowed: bool) -> None:
    decision = decided({"quality": quality})
    assert decision.allowed is allowed
    assert decision.policy_id == ("sentinel-allow" if allowed else "sentinel-low-quality")
    assert decision.decision == ("allow" if allowed else "deny")
    assert (decision.source, decision.unavailable) == ("local", False)
    assert "0.8" in decision.reason


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_cannot_even_be_asked_about(value: float) -> None:
    with pytest.raises(ValidationError):
        question({"quality": value})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_rule_itself_refuses_what_is_not_finite(value: float) -> None:
    decision = decided({"quality": value})
    assert (decision.allowed, decision.rule_id, "not finite" in decision.reason) == (False, "quality-is-a-number", True)


@pytest.mark.parametrize("evaluation", [{"accuracy": "0.99"}, None])
def test_a_missing_score_is_a_no(evaluation: dict[str, Any] | None) -> None:
    decision = decided(evaluation)
    assert not decision.allowed
    assert decision.reason == "The evaluation has no quality score; at least 0.8 is required."


def test_the_reason_states_the_score_and_the_minimum() -> None:
    assert decided({"quality": 0.8641}).reason == "The quality score 0.8641 is at least the required 0.8."
    assert decided({"quality": 0.5}).reason == "The quality score 0.5 is below the required 0.8."
    assert decided({"quality": "NaN"}).reason == "The quality score 'NaN' is not a finite number; at least 0.8 is required."


def test_the_answer_holds_every_rule_with_what_it_looked_at() -> None:
    decision = decided({"quality": 0.5})
    assert decision.rule_id == "quality"
    assert decision.answer is not None
    assert [(rule["id"], rule["verdict"]) for rule in decision.answer["rules"]] == [("quality-is-a-number", "yes"), ("quality", "no")]
    assert decision.answer["rules"][1]["used"] == {"evaluation.metrics.quality": 0.5, "parameters.minimum_quality": 0.8}


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_the_rule_is_the_comparison_for_every_number(quality: float, minimum: float) -> None:
    assert decided({"quality": quality}, minimum).allowed == (quality >= minimum)


def test_the_policy_digest_changes_with_the_minimum_only() -> None:
    digests = [decided({"quality": 0.9}, minimum).policy_digest for minimum in (1, 1.0, 0.8)]
    assert digests[0] == digests[1] != digests[2] == decided(None).policy_digest


def test_sentinelnet_is_asked_with_exactly_these_fields() -> None:
    asked = question({"quality": 0.8641, "note": "fine"}).model_copy(update={"manifest_signature_id": "sig-1"})
    metrics = {"quality": 0.8641, "note": "fine"}
    assert asked.body() == {
        "action": "model.promote",
        "request_id": "promote-1",
        "actor": "ada",
        "resource": {
            "artifactId": "00000000-0000-0000-0000-000000000001",
            "model": "rainfall",
            "version": 3,
            "digest": "ab" * 32,
            "target_env": "prod",
        },
        "context": {"metrics": metrics, "promotion_id": "00000000-0000-0000-0000-000000000002", "manifest_signature_id": "sig-1"},
        "artifactId": "00000000-0000-0000-0000-000000000001",
        "environment": "prod",
        "evaluation": metrics,
    }


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), st.text(st.characters(codec="utf-8"), max_size=9), max_size=4))
def test_every_question_can_be_written(evaluation: dict[str, str]) -> None:
    assert canonical_json.loads(canonical_json.dumps(question(evaluation).body()))


@pytest.mark.parametrize("url", ["sentinel.example", "ftp://sentinel.example", "http://", "http://user:pw@sentinel.example", ""])
def test_a_gate_without_a_usable_url_is_named_to_the_operator(url: str) -> None:
    settings = Settings.model_validate({"home": "/nowhere", "sentinel_url": url})
    with pytest.raises(Misconfigured, match="AI_INFRA_SENTINEL_URL"):
        gate.ask_sentinelnet(settings, question({"quality": 0.9}))


def test_a_policy_has_a_name_that_is_a_uri() -> None:
    decision = Decision(allowed=True, policy_id="quality gate/2", reason="yes", source="sentinelnet")
    assert claims.policy_uri(decision) == "urn:ai-infra:policy:sentinelnet:quality%20gate%2F2"
    assert claims.policy_uri(decision.model_copy(update={"policy_id": None})) == "urn:ai-infra:policy:sentinelnet:unnamed"
