"""What is stated about traffic and about rollouts: every field, how long it may be, and for which environment it counts."""

import json
from typing import Any

import pytest

from aiinfra_core.checksums import sha256_hex
from aiinfra_core.errors import BadInput
from aiinfra_core.evidence import dsse, statement
from aiinfra_core.evidence.predicates import PROMOTION_EXTENSION
from tests.simulators.sample_statements import (
    HEX,
    ID,
    WRITTEN,
    approval,
    artifact,
    evaluation,
    order,
    promotion,
    routing,
    withdrawal,
)


def claim(payload: bytes) -> dict[str, Any]:
    value = json.loads(payload)
    assert value["subject"] == [{"name": "rainfall", "digest": {"sha256": HEX}}]
    predicate: dict[str, Any] = value["predicate"]
    return predicate


def test_a_manifest_names_a_spec_or_a_rollout_it_overrides_only_where_there_is_one() -> None:
    said, plain = (claim(payload)[PROMOTION_EXTENSION] for payload in (promotion(rollout_digest=HEX, overrides=ID), promotion()))
    assert said == plain | {"rolloutDigest": HEX, "overrides": str(ID)}


def test_an_order_about_a_rollout_is_stated_in_full_with_its_reason_by_digest() -> None:
    assert json.loads(order())["predicateType"] == "urn:ai-infra:attestation:rollout-order:v1"
    assert claim(order()) == {
        "rolloutId": str(ID),
        "model": "rainfall",
        "environment": "prod",
        "manifest": HEX,
        "action": "pause",
        "step": 1,
        "reasonDigest": sha256_hex(b"a load test"),
        "orderedBy": "grace",
        "orderedAt": WRITTEN,
    }


def test_a_routing_is_stated_in_full_and_without_a_challenger_has_no_split() -> None:
    assert json.loads(routing())["predicateType"] == "urn:ai-infra:attestation:routing:v1"
    said = claim(routing())
    arm = {"artifactId": str(ID), "artifactUri": "s3://models/x", "digestKind": "sha256", "checksum": HEX, "manifest": HEX}
    assert said == {
        "environment": "prod",
        "model": "rainfall",
        "sequence": 3,
        "changes": 1,
        "champion": arm | {"version": 3},
        "challenger": arm | {"version": 4},
        "weight": 500,
        "salt": "salt-of-prod",
        "unit": "user",
        "rolloutId": str(ID),
        "step": 0,
        "issuedAt": WRITTEN,
        "expiresAt": WRITTEN.replace("10:22", "10:32"),
    }
    alone = dict.fromkeys(("challenger", "salt", "unit", "rolloutId", "step"))
    assert claim(routing(challenger=None, split=None)) == said | alone | {"weight": 0}


def test_a_key_of_one_environment_counts_for_statements_about_that_one_only() -> None:
    about = {statement.environment_of(statement.parse(payload)) for payload in (promotion(), approval(), withdrawal(), order(), routing())}
    assert about == {"prod"}
    assert statement.environment_of(statement.parse(evaluation())) is None


def test_a_routing_with_the_longest_names_and_addresses_can_be_signed_and_a_longer_one_says_so() -> None:
    long = artifact(model="m" * 128, artifact_uri="s3://" + "x" * 1000)
    assert dsse.fits(routing(champion=(long, HEX), challenger=(long, HEX)))
    endless = artifact(artifact_uri="s3://" + "x" * 2000)
    with pytest.raises(BadInput, match="most that can be signed"):
        routing(champion=(endless, HEX), challenger=(endless, HEX))
