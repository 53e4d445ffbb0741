import math
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.promotion import Decision
from aiinfra_core.errors import Misconfigured
from aiinfra_core.evidence import claims
from aiinfra_core.policy import gate, local
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
    decision = local.decide(question({"quality": quality}), 0.8)
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
    unchecked = question({}).model_copy(update={"evaluation": {"quality": value}})
    assert not local.decide(unchecked, 0.8).allowed


def test_a_missing_score_is_a_no() -> None:
    decision = local.decide(question({"accuracy": "0.99"}), 0.8)
    assert not decision.allowed
    assert decision.reason == "The evaluation has no quality score; at least 0.8 is required."


def test_the_reason_states_the_score_and_the_minimum() -> None:
    assert local.decide(question({"quality": 0.8641}), 0.8).reason == "The quality score 0.8641 is at least the required 0.8."
    assert local.decide(question({"quality": 0.5}), 0.8).reason == "The quality score 0.5 is below the required 0.8."


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_the_rule_is_the_comparison_for_every_number(quality: float, minimum: float) -> None:
    assert local.decide(question({"quality": quality}), minimum).allowed == (quality >= minimum)


def test_the_policy_digest_changes_with_the_minimum_only() -> None:
    rule = b'{"minimum":"0.8","rule":"evaluation.quality >= minimum"}'
    assert local.policy_digest(0.8) == sha256_hex(rule) == local.decide(question({}), 0.8).policy_digest
    assert local.policy_digest(1) == local.policy_digest(1.0) != local.policy_digest(0.8)


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


def test_without_a_url_the_local_rule_decides_with_the_minimum_of_the_settings() -> None:
    settings = Settings.model_validate({"home": "/nowhere", "min_promo_score": 0.5})
    assert gate.decide(settings, question({"quality": 0.6})).allowed
    assert not gate.decide(settings, question({"quality": 0.4})).allowed


@pytest.mark.parametrize("url", ["sentinel.example", "ftp://sentinel.example", "http://", "http://user:pw@sentinel.example", ""])
def test_a_gate_without_a_usable_url_is_named_to_the_operator(url: str) -> None:
    settings = Settings.model_validate({"home": "/nowhere", "sentinel_url": url})
    with pytest.raises(Misconfigured, match="AI_INFRA_SENTINEL_URL"):
        gate.decide(settings, question({"quality": 0.9}))


def test_a_policy_has_a_name_that_is_a_uri() -> None:
    decision = Decision(allowed=True, policy_id="quality gate/2", reason="yes", source="sentinelnet")
    assert claims.policy_uri(decision) == "urn:ai-infra:policy:sentinelnet:quality%20gate%2F2"
    assert claims.policy_uri(decision.model_copy(update={"policy_id": None})) == "urn:ai-infra:policy:sentinelnet:unnamed"
